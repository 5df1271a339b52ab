"""R4. What the API speaks: JSON with unit suffixes, hex for bytes, ids as strings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Hex33 = Annotated[str, Field(pattern=r"^0[23][0-9a-f]{64}$")]
ChannelRef = Annotated[str, Field(pattern=r"^[0-9a-f]{4,40}$")]  # an id, or enough of its beginning
PositiveLovelace = Annotated[int, Field(ge=1, le=45_000_000_000_000_000, strict=True)]


class Model(BaseModel):
    """Strict: an unknown field is an error, so that a typing mistake never passes silently."""

    model_config = ConfigDict(extra="forbid")


class Problem(Model):
    """RFC 9457 (application/problem+json) with the code, the field and what to do."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    field: str = ""
    got: str = ""
    allowed: str = ""
    remedy: str = ""
    retry_after_ms: int | None = None


class ChainStatus(Model):
    ok: bool
    detail: str = ""
    height: int = 0
    slot: int = 0
    time_ms: int = 0


class BitcoinStatus(Model):
    configured: bool
    ok: bool = False
    detail: str = ""
    version: str = ""
    height: int = 0
    node_id: str = ""
    alias: str = ""
    hold_cancel_blocks: int = 0


class Status(Model):
    version: str
    network: str
    state: Literal["locked", "starting", "running", "draining", "stopped"]
    node_id: str = ""
    listen: str = ""
    alias: str = ""
    now_ms: int = 0
    cardano: ChainStatus
    bitcoin: BitcoinStatus
    peers: int = 0
    channels: int = 0
    swaps_live: int = 0
    swaps_at_risk: int = 0  # whose risk is at the alarm level or above
    worst_risk: str = ""  # the largest probability of loss of any open swap, as 1.0e-06
    paused: str = ""
    alarms: list[str] = []


class Unlock(Model):
    password: str = Field(min_length=1, max_length=1024)


class Address(Model):
    address: str


class WalletBalance(Model):
    lovelace: int
    reserved_lovelace: int
    utxos: int


class WalletUtxo(Model):
    ref: str
    lovelace: int
    assets: dict[str, int] = {}
    reserved: bool = False


class Send(Model):
    address: str = Field(min_length=10, max_length=200)
    lovelace: PositiveLovelace


class Transaction(Model):
    tx_id: str
    fee_lovelace: int = 0


class ConnectPeer(Model):
    node_id: Hex33
    host: str = Field(min_length=1, max_length=255)
    port: int = Field(ge=1, le=65535)


class Peer(Model):
    node_id: str
    address: str
    connected: bool
    inbound: bool = False
    channels: int = 0


class Provider(Model):
    """One provider of Cardano's chain. `url` without user, password or query."""

    name: str
    kind: str
    url: str
    state: str  # ok, lagging, disagrees, limited, down, refused
    code: str = ""
    detail: str = ""
    height: int = 0
    slot: int = 0
    behind_blocks: int = 0
    latency_ms: int = 0
    failures: int = 0
    retry_ms: int = 0


class Providers(Model):
    """`doubt`: why nothing new is risked on what they show; empty: a quorum shows it."""

    quorum: int
    doubt: str = ""
    providers: list[Provider]


class OpenChannel(Model):
    peer: Hex33
    lovelace: PositiveLovelace
    gift_lovelace: int = Field(default=0, ge=0)
    respond_period_ms: int | None = Field(default=None, ge=1)


class AddFunds(Model):
    lovelace: PositiveLovelace


class CloseChannel(Model):
    force: bool = False


class PendingCheque(Model):
    index: int
    sent: bool
    lovelace: int
    timeout_ms: int
    payment_hash: str
    status: str


class Channel(Model):
    id: str
    peer: str
    state: str
    stage: str = ""
    opener: Literal["local", "remote"]
    total_lovelace: int = 0
    local_lovelace: int = 0
    remote_lovelace: int = 0
    local_at_risk_lovelace: int = 0
    min_ada_lovelace: int = 0
    respond_period_ms: int = 0
    pending: list[PendingCheque] = []
    utxo: str = ""
    next_deadline_ms: int | None = None
    next_action: str = ""
    detail: str = ""
    transactions: list[str] = []


class DecodeInvoice(Model):
    invoice: str = Field(min_length=1, max_length=7089)


class DecodedInvoice(Model):
    network: str
    payment_hash: str
    amount_msat: int | None
    description: str = ""
    payee: str
    expires_at_ms: int
    min_final_cltv_blocks: int
    expired: bool


class Pay(Model):
    invoice: str = Field(min_length=1, max_length=7089)
    most_lovelace: PositiveLovelace | None = None
    channel: ChannelRef | None = None


class AskPrice(Model):
    invoice: str = Field(min_length=1, max_length=7089)
    channel: ChannelRef | None = None


class Price(Model):
    payment_hash: str
    channel: str
    amount_msat: int
    lovelace: int  # all that it would cost
    valid_until_ms: int


class Payment(Model):
    payment_hash: str
    state: str
    status: Literal["pending", "paid", "failed"]
    amount_msat: int = 0
    lovelace: int = 0
    preimage: str = ""
    code: str = ""  # of the refusal, as docs/errors.md lists it
    detail: str = ""
    remedy: str = ""  # what to do about `code`
    channel: str = ""
    created_ms: int = 0


class Receive(Model):
    lovelace: PositiveLovelace
    channel: ChannelRef | None = None


class Receipt(Model):
    payment_hash: str
    state: str
    status: Literal["waiting", "received", "cancelled"]
    invoice: str = ""
    lovelace: int = 0
    amount_msat: int = 0
    valid_until_ms: int = 0
    code: str = ""  # of the refusal, as docs/errors.md lists it
    detail: str = ""
    remedy: str = ""  # what to do about `code`
    channel: str = ""


class QuoteRequest(Model):
    invoice: str = Field(min_length=1, max_length=7089)
    channel: ChannelRef | None = None


class Pause(Model):
    reason: str = Field(default="paused by the operator", min_length=1, max_length=200)


class EstimateRequest(Model):
    """What would it cost now: to pay `amount_msat` out of a channel, or to receive `lovelace` into one."""

    amount_msat: Annotated[int, Field(ge=1, le=2_100_000_000_000_000_000, strict=True)] | None = None
    lovelace: PositiveLovelace | None = None
    channel: ChannelRef | None = None

    @model_validator(mode="after")
    def _one(self) -> EstimateRequest:
        if (self.amount_msat is None) == (self.lovelace is None):
            raise ValueError("either amount_msat or lovelace")
        return self


class QuoteAnswer(Model):
    """Firm: binding until valid_until_ms. Indicative (an estimate): no id, nothing is reserved, nobody is bound."""

    firm: bool = True
    id: str
    direction: str
    payment_hash: str
    amount_msat: int
    lovelace: int
    base_fee_lovelace: int
    proportional_fee_lovelace: int
    spread_fee_lovelace: int = 0
    inventory_fee_lovelace: int = 0
    option_fee_lovelace: int = 0
    routing_budget_msat: int
    rate_lovelace: int
    rate_msat: int
    cheque_timeout_ms: int
    lock_life_ms: int = 0
    valid_until_ms: int
    eps: str


class Swap(Model):
    id: str
    attempt: int
    direction: str
    state: str
    payment_hash: str
    amount_msat: int
    lovelace: int
    peer: str
    channel: str
    detail: str = ""
    invoice: str = ""
    proof: str = ""
    risk: str = (
        ""  # probability of losing one leg by the block laws, as 1.0e-06; empty when nothing is at stake
    )
    risk_level: str = ""  # calm, alarm (1e-4), act (1e-3)
    risk_detail: str = ""
    blocks_to_cancel: int | None = None  # btc_to_cl: until LND gives the held payment up by itself
    created_ms: int = 0
    events: list[dict[str, Any]] = []


class PriceSource(Model):
    """One source: its price as bitcoin for an ada, and why it is left out (empty: it counts)."""

    name: str
    ok: bool
    price: str = ""  # a decimal for people; rates are integers
    rate_lovelace: int = 0  # for one bitcoin
    age_ms: int | None = None
    code: str = ""
    got: str = ""
    allowed: str = ""
    detail: str = ""


class PriceStatus(Model):
    """The price that quotes are made with, or why there is none."""

    source: Literal["fixed", "exchanges", "oracle"]
    ok: bool
    code: str = ""
    detail: str = ""
    price: str = ""  # bitcoin for an ada
    rate_lovelace: int = 0
    rate_msat: int = 0
    age_ms: int | None = None
    spread_ppm: int = 0
    volatility_daily_ppm: int = 0
    volatility_measured: bool = False
    history_samples: int = 0
    history_ms: int = 0
    sources: list[PriceSource] = []


class Why(Model):
    """What a swap waits for, in words."""

    id: str
    state: str
    waits_for: str
    since_ms: int
    risk: str = ""
    risk_level: str = ""
    worst_case: str = ""
    can_do: list[str] = []


class LedgerAccount(Model):
    account: str
    unit: str
    amount: int


class Ledger(Model):
    """Balances by account, and what the networks hold more (positive) or less than that."""

    accounts: list[LedgerAccount]
    difference_lovelace: int
    difference_msat: int | None = None  # none: the Lightning node cannot be asked
    detail: str = ""
    stopped: str = ""  # why new swaps are refused, if the ledger is the reason


class LedgerRow(Model):
    id: int
    entry: str
    account: str
    unit: str
    amount: int
    memo: str
    at_ms: int


class Profit(Model):
    """`key`: a day (UTC) or a payment hash; empty for costs that belong to no swap."""

    key: str
    lovelace: int
    msat: int


class AcceptDifference(Model):
    reason: str = Field(min_length=3, max_length=300)


class LogLine(Model):
    line: str
