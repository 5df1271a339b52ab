"""The rows of the simulated network. Plain data; every field is JSON, so that a row is its own stored form."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, TypeVar

IN_FLIGHT, SUCCEEDED, FAILED = "IN_FLIGHT", "SUCCEEDED", "FAILED"
OPEN, ACCEPTED, SETTLED, CANCELED = "OPEN", "ACCEPTED", "SETTLED", "CANCELED"

R = TypeVar("R", bound="Row")


@dataclass
class Row:
    table: ClassVar[str] = ""

    @property
    def key(self) -> str:
        raise TypeError("a row names its key")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Node(Row):
    """Defaults are LND's (lncfg, config.go), but for a forward's 80 blocks. `hold_delta`:
    invoices.holdexpirydelta; `reject_delta`: blocks that an HTLC must have left to be taken."""

    table: ClassVar[str] = "node"
    name: str
    secret: str  # hex
    pubkey: str  # hex
    alias: str
    fee_base_msat: int = 1_000
    fee_ppm: int = 1
    cltv_delta: int = 40
    hold_delta: int = 12
    reject_delta: int = 13
    default_cltv: int = 80
    version: str = "0.20.1-beta commit=v0.20.1-beta"

    @property
    def key(self) -> str:
        return self.name


@dataclass
class Channel(Row):
    """Between nodes `a` and `b`; what is locked in HTLCs is on neither side's balance."""

    table: ClassVar[str] = "channel"
    chan_id: int
    a: str
    b: str
    capacity_sat: int
    a_msat: int
    b_msat: int
    reserve_sat: int
    funding: str  # txid:index
    disabled: list[str] = field(default_factory=list)  # nodes that do not send over it

    @property
    def key(self) -> str:
        return str(self.chan_id)

    def other(self, name: str) -> str:
        return self.b if name == self.a else self.a

    def balance(self, name: str) -> int:
        return self.a_msat if name == self.a else self.b_msat

    def can_send(self, name: str) -> int:
        return max(0, self.balance(name) - self.reserve_sat * 1000)

    def add(self, name: str, msat: int) -> None:
        if name == self.a:
            self.a_msat += msat
        else:
            self.b_msat += msat


@dataclass
class Hop:
    """One HTLC of a route: `amount_msat` and `expiry` as `source` offers them to `target`."""

    chan_id: int
    source: str
    target: str
    amount_msat: int
    expiry: int
    htlc_index: int = 0
    open: bool = False  # locked in and not resolved


@dataclass
class Attempt:
    """`result`: "" until the payee (or a hop) decided; then it travels back hop by hop to the payer."""

    attempt_id: int
    hops: list[Hop]
    status: str = IN_FLIGHT
    result: str = ""  # "settle" or the name of a failure code of LND's
    failed_at: int = 0  # index of the node on the route that failed it
    created_ms: int = 0
    resolved_ms: int = 0


@dataclass
class Payment(Row):
    """`terminal`: no further attempt will be made, with `reason` if it fails."""

    table: ClassVar[str] = "payment"
    node: str
    hash: str
    amount_msat: int
    payment_request: str
    payment_addr: str
    index: int
    created_ms: int
    status: str = IN_FLIGHT
    reason: str = "FAILURE_REASON_NONE"
    preimage: str = ""
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.node}/{self.hash}"


@dataclass
class Held:
    """An HTLC that paid to an invoice."""

    payer: str
    attempt_id: int
    chan_id: int
    htlc_index: int
    amount_msat: int
    total_msat: int
    expiry: int
    accept_height: int
    accept_ms: int
    state: str = ACCEPTED
    resolve_ms: int = 0


@dataclass
class Invoice(Row):
    table: ClassVar[str] = "invoice"
    node: str
    hash: str
    preimage: str  # hex; "" while a hold invoice's is not known
    hold: bool
    value_msat: int
    memo: str
    expiry_s: int
    cltv: int
    created_ms: int
    payment_addr: str
    payment_request: str
    add_index: int
    state: str = OPEN
    settle_index: int = 0
    settled_ms: int = 0
    htlcs: list[Held] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.node}/{self.hash}"

    def accepted(self) -> list[Held]:
        return [h for h in self.htlcs if h.state == ACCEPTED]


@dataclass
class Block(Row):
    table: ClassVar[str] = "block"
    height: int
    hash: str
    time_ms: int

    @property
    def key(self) -> str:
        return str(self.height)


def load_payment(raw: dict[str, Any]) -> Payment:
    attempts = [Attempt(**(a | {"hops": [Hop(**h) for h in a["hops"]]})) for a in raw["attempts"]]
    return Payment(**(raw | {"attempts": attempts}))


def load_invoice(raw: dict[str, Any]) -> Invoice:
    return Invoice(**(raw | {"htlcs": [Held(**h) for h in raw["htlcs"]]}))
