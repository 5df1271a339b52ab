"""The network's rules: invoices, payments in parts, HTLCs with expiry heights, blocks. No clock, socket or gRPC here.

Deterministic: time comes in as `now_ms`, randomness as a seed. Rules and texts follow LND 0.20 (invoices/update.go,
invoices/errors.go, payments/db/errors.go). HTLCs are never taken to the chain: one whose payee slept past its expiry
is failed when the payee wakes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.bolt import bolt11, bolt11_encode, crypto
from gateway.bolt.bolt11 import accepts_multi_part
from gateway.bolt.invoice import Description, Draft
from gateway.bolt.invoice import Hop as HintHop
from gateway.bolt.invoice import Invoice as PayRequest
from gateway.bolt.invoice import Network as Chain
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs
from regtest.bitcoin.simulated.routing import Ask, Graph, NoRoute
from regtest.bitcoin.simulated.state import (
    ACCEPTED,
    CANCELED,
    FAILED,
    IN_FLIGHT,
    OPEN,
    SETTLED,
    SUCCEEDED,
    Attempt,
    Block,
    Channel,
    Held,
    Hop,
    Invoice,
    Node,
    Payment,
    Row,
)

FEATURES = frozenset({8, 14, 17})  # TLV onions and payment secrets required, parts taken
MAX_CLTV = 2016  # LND routing.MaxCLTVDelta and the default max-cltv-expiry
MIN_CLTV = 18  # LND routing.MinCLTVDelta
DETAILS = "INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS"


class LndError(Exception):
    """An answer of LND's that is an error: its gRPC code by name, and its text."""

    def __init__(self, text: str, code: str = "UNKNOWN") -> None:
        super().__init__(text)
        self.text, self.code = text, code


@dataclass(frozen=True)
class Request:
    """A SendPaymentV2 request, as far as the simulation reads it."""

    payment_request: str
    amount_msat: int
    fee_limit_msat: int
    cltv_limit: int
    max_parts: int
    allow_self: bool


@dataclass
class Rows:
    """Everything that a restart must find again."""

    seed: str
    nodes: dict[str, Node] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    invoices: dict[str, Invoice] = field(default_factory=dict)
    payments: dict[str, Payment] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    counter: int = 0


class Network:
    """`online` holds the names of running nodes. `changed` rows are taken by whoever stores and notifies."""

    def __init__(self, rows: Rows, part_hold_ms: int = 120_000) -> None:
        self.rows = rows
        self.part_hold_ms = part_hold_ms
        self.online: set[str] = set()
        self.changed: dict[tuple[str, str], Row] = {}
        self.new_blocks: list[Block] = []

    # -- small things ----------------------------------------------------------------------------

    @property
    def height(self) -> int:
        return self.rows.blocks[-1].height

    def take_changes(self) -> tuple[list[Row], list[Block]]:
        rows, blocks = list(self.changed.values()), self.new_blocks
        self.changed, self.new_blocks = {}, []
        return rows, blocks

    def _touch(self, row: Row) -> None:
        self.changed[(row.table, row.key)] = row

    def _next(self) -> int:
        self.rows.counter += 1
        return self.rows.counter

    def _bytes(self, what: str) -> bytes:
        return hashlib.sha256(f"{self.rows.seed}/{what}/{self._next()}".encode()).digest()

    def channels_of(self, name: str) -> list[Channel]:
        return [c for c in self.rows.channels.values() if name in (c.a, c.b)]

    def pending(self, chan_id: int) -> list[tuple[Payment, Hop]]:
        """HTLCs that are locked in on a channel."""
        return [
            (p, h)
            for p in self.rows.payments.values()
            for a in p.attempts
            for h in a.hops
            if h.chan_id == chan_id and h.open
        ]

    # -- nodes and channels ----------------------------------------------------------------------

    def add_node(self, name: str, **options: int) -> Node:
        secret = hashlib.sha256(f"{self.rows.seed}/node/{name}".encode()).digest()
        node = Node(name, secret.hex(), crypto.public_key(secret).hex(), name, **options)
        self.rows.nodes[name] = node
        self._touch(node)
        return node

    def set_node(self, name: str, **values: int) -> None:
        node = self.rows.nodes[name]
        for key, value in values.items():
            setattr(node, key, value)
        self._touch(node)

    def add_channel(self, a: str, b: str, a_msat: int, b_msat: int) -> Channel:
        capacity = (a_msat + b_msat) // 1000
        index = len(self.rows.channels) + 1
        funding = hashlib.sha256(f"{self.rows.seed}/channel/{index}".encode()).hexdigest()
        chan_id = (self.rows.blocks[0].height << 40) | (index << 16)
        channel = Channel(chan_id, a, b, capacity, a_msat, b_msat, capacity // 100, f"{funding}:0")
        self.rows.channels[chan_id] = channel
        self._touch(channel)
        return channel

    def disable(self, name: str, disabled: bool) -> None:
        """Whether `name` still sends over its channels; balances stay as they are."""
        for channel in self.channels_of(name):
            channel.disabled = [n for n in channel.disabled if n != name] + ([name] if disabled else [])
            self._touch(channel)

    def up(self, name: str, now_ms: int) -> None:
        self.online.add(name)
        self._expire_heights(name, now_ms)
        self._deliver_all(now_ms)

    def down(self, name: str) -> None:
        self.online.discard(name)

    # -- blocks ----------------------------------------------------------------------------------

    def mine(self, blocks: int, span_ms: int, now_ms: int) -> None:
        for number in range(1, blocks + 1):
            start = self.rows.blocks[-1].time_ms
            self._add_block(
                self.height + 1, start + (span_ms * number // blocks - span_ms * (number - 1) // blocks)
            )
        for name in sorted(self.online):
            self._expire_heights(name, now_ms)
        self._deliver_all(now_ms)

    def start_chain(self, height: int, now_ms: int) -> None:
        self._add_block(height, now_ms)

    def reorganise(self, depth: int, now_ms: int) -> None:
        """The last `depth` blocks give way to `depth + 1` others."""
        gone = self.rows.blocks[-depth:]
        del self.rows.blocks[-depth:]
        step = max(1, (gone[-1].time_ms - self.rows.blocks[-1].time_ms) // depth)
        self.mine(depth + 1, step * (depth + 1), now_ms)

    def _add_block(self, height: int, time_ms: int) -> None:
        block = Block(height, self._bytes(f"block/{height}").hex(), time_ms)
        self.rows.blocks.append(block)
        self.new_blocks.append(block)
        self._touch(block)

    def _expire_heights(self, name: str, now_ms: int) -> None:
        """LND's expiry watcher: accepted hold invoices are cancelled this long before their first HTLC expires."""
        delta = self.rows.nodes[name].hold_delta
        for invoice in [i for i in self.rows.invoices.values() if i.node == name and i.state == ACCEPTED]:
            if min(h.expiry for h in invoice.accepted()) <= self.height + delta:
                self._cancel(invoice, now_ms)

    # -- invoices --------------------------------------------------------------------------------

    def find_invoice(self, name: str, payment_hash: bytes) -> Invoice:
        found = self.rows.invoices.get(f"{name}/{payment_hash.hex()}")
        if found is None:
            raise LndError("unable to locate invoice", "NOT_FOUND")
        return found

    def add_invoice(
        self,
        name: str,
        now_ms: int,
        *,
        value_msat: int,
        memo: str,
        expiry_s: int,
        cltv: int,
        hold_hash: bytes | None = None,
        preimage: bytes = b"",
        private: bool = False,
    ) -> Invoice:
        """`hold_hash` makes a hold invoice. Fails as LND does: a known hash, a bad CLTV delta, a long memo."""
        node = self.rows.nodes[name]
        if not hold_hash and not preimage:
            preimage = self._bytes("preimage")
        payment_hash = hold_hash or hashlib.sha256(preimage).digest()
        if len(payment_hash) != 32:
            raise LndError(f"invalid hash length of {len(payment_hash)}, want 32")
        if len(memo.encode()) > 1024:
            raise LndError(f"memo too large: {len(memo.encode())} bytes (maxsize=1024)")
        if value_msat < 0:
            raise LndError("payments of negative value are not allowed")
        if cltv > MAX_CLTV:
            raise LndError(f"CLTV delta of {cltv} is too large, max accepted is: 65535")
        if cltv and cltv < MIN_CLTV:
            raise LndError(f"CLTV delta of {cltv} must be greater than minimum of {MIN_CLTV}")
        key = f"{name}/{payment_hash.hex()}"
        if key in self.rows.invoices:
            raise LndError("invoice with payment hash already exists")
        address, cltv, expiry_s = self._bytes("address"), cltv or node.default_cltv, expiry_s or 86_400
        draft = Draft(
            network=Chain.REGTEST,
            amount=Msat(value_msat) if value_msat else None,
            created=PosixMs(now_ms // 1000 * 1000),
            hashlock=Hashlock(payment_hash),
            payment_secret=address,
            description=Description(memo),
            expiry=Ms(expiry_s * 1000),
            min_final_cltv=BlockDelta(cltv),
            features=FEATURES,
            hints=self._hints(name) if private else (),
        )
        secret = bytes.fromhex(node.secret)
        text = bolt11_encode.encode(
            draft, bytes.fromhex(node.pubkey), lambda digest: crypto.sign_recoverable(secret, digest)
        )
        if isinstance(text, Rejection):
            raise LndError(f"unable to encode the invoice: {text}")
        invoice = Invoice(
            node=name,
            hash=payment_hash.hex(),
            preimage="" if hold_hash else preimage.hex(),
            hold=hold_hash is not None,
            value_msat=value_msat,
            memo=memo,
            expiry_s=expiry_s,
            cltv=cltv,
            created_ms=now_ms,
            payment_addr=address.hex(),
            payment_request=text,
            add_index=self._next(),
        )
        self.rows.invoices[key] = invoice
        self._touch(invoice)
        return invoice

    def _hints(self, name: str) -> tuple[tuple[HintHop, ...], ...]:
        """LND's `private` adds hints for unannounced channels; all channels here are announced."""
        return ()

    def settle(self, name: str, preimage: bytes, now_ms: int) -> None:
        """SettleHodlInvoice; "already settled" is no error (LND swallows it)."""
        invoice = self.find_invoice_plain(name, hashlib.sha256(preimage).digest())
        if invoice.state == OPEN:
            raise LndError("invoice still open")
        if invoice.state == CANCELED:
            raise LndError("invoice already canceled")
        if invoice.state == SETTLED:
            return
        invoice.preimage = preimage.hex()
        self._settle(invoice, now_ms)
        self._deliver_all(now_ms)

    def cancel(self, name: str, payment_hash: bytes, now_ms: int) -> None:
        invoice = self.find_invoice_plain(name, payment_hash)
        if invoice.state == SETTLED:
            raise LndError("invoice already settled")
        if invoice.state != CANCELED:  # LND: cancelling again is no error
            self._cancel(invoice, now_ms)
            self._deliver_all(now_ms)

    def find_invoice_plain(self, name: str, payment_hash: bytes) -> Invoice:
        """Settle and cancel answer an unknown hash with code UNKNOWN, look-ups with NOT_FOUND."""
        try:
            return self.find_invoice(name, payment_hash)
        except LndError as error:
            raise LndError(error.text) from error

    def _settle(self, invoice: Invoice, now_ms: int) -> None:
        for held in invoice.accepted():
            held.state, held.resolve_ms = SETTLED, now_ms
            self._attempt_of(invoice, held).result = "settle"
        invoice.state, invoice.settled_ms, invoice.settle_index = SETTLED, now_ms, self._next()
        self._touch(invoice)

    def _cancel(self, invoice: Invoice, now_ms: int) -> None:
        for held in invoice.accepted():
            self._fail_held(invoice, held, DETAILS, now_ms)
        invoice.state = CANCELED
        self._touch(invoice)

    def _fail_held(self, invoice: Invoice, held: Held, code: str, now_ms: int) -> None:
        held.state, held.resolve_ms = CANCELED, now_ms
        attempt = self._attempt_of(invoice, held)
        attempt.result, attempt.failed_at = code, len(attempt.hops)
        self._touch(invoice)

    def _attempt_of(self, invoice: Invoice, held: Held) -> Attempt:
        payment = self.rows.payments[f"{held.payer}/{invoice.hash}"]
        self._touch(payment)
        return next(a for a in payment.attempts if a.attempt_id == held.attempt_id)

    # -- time ------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Open invoices past their expiry are cancelled; parts of an incomplete set are failed after a while."""
        for invoice in [i for i in self.rows.invoices.values() if i.state == OPEN and i.node in self.online]:
            if now_ms >= invoice.created_ms + invoice.expiry_s * 1000:
                self._cancel(invoice, now_ms)
                continue
            for held in invoice.accepted():
                if now_ms >= held.accept_ms + self.part_hold_ms:
                    self._fail_held(invoice, held, "MPP_TIMEOUT", now_ms)
        self._deliver_all(now_ms)

    def next_tick_ms(self) -> int | None:
        """When something is due by the clock; None when nothing is."""
        waiting = [i for i in self.rows.invoices.values() if i.state == OPEN and i.node in self.online]
        due = [i.created_ms + i.expiry_s * 1000 for i in waiting]
        due += [h.accept_ms + self.part_hold_ms for i in waiting for h in i.accepted()]
        return min(due, default=None)

    # -- payments --------------------------------------------------------------------------------

    def find_payment(self, name: str, payment_hash: bytes) -> Payment:
        found = self.rows.payments.get(f"{name}/{payment_hash.hex()}")
        if found is None:
            raise LndError("payment isn't initiated", "NOT_FOUND")
        return found

    def pay(self, name: str, request: Request, now_ms: int) -> Payment:
        """SendPaymentV2: all parts go out, or the payment fails with LND's reason. Raises what LND refuses."""
        asked = self._read_request(name, request, now_ms)
        amount = asked.amount.value if asked.amount is not None else request.amount_msat
        payment = self._start_payment(name, asked, amount, now_ms)
        payee = self._name_of(asked.payee)
        if payee is None:
            return self._fail_payment(payment, "FAILURE_REASON_NO_ROUTE")
        parts = request.max_parts or 16
        ask = Ask(
            source=name,
            target=payee,
            amount_msat=amount,
            fee_limit_msat=request.fee_limit_msat,
            final_cltv=asked.min_final_cltv.value,
            cltv_limit=request.cltv_limit or MAX_CLTV,
            max_parts=parts if accepts_multi_part(asked) else 1,
            height=self.height,
        )
        plan = Graph(self.rows.nodes, self.rows.channels.values(), self.online).plan(ask)
        if isinstance(plan, NoRoute):
            return self._fail_payment(payment, plan.reason)
        self._send(payment, plan, now_ms)
        return payment

    def send_part(self, name: str, text: str, amount_msat: int, now_ms: int) -> Payment:
        """SendToRouteV2: one part of the invoice's amount, whatever becomes of the rest."""
        asked = bolt11.decode(text)
        assert not isinstance(asked, Rejection) and asked.amount is not None
        payee = self._name_of(asked.payee)
        assert payee is not None
        payment = self.rows.payments.get(f"{name}/{asked.hashlock.hex()}")
        if payment is None or payment.status != IN_FLIGHT:
            payment = self._start_payment(name, asked, asked.amount.value, now_ms)
        ask = Ask(name, payee, amount_msat, amount_msat, asked.min_final_cltv.value, MAX_CLTV, 1, self.height)
        plan = Graph(self.rows.nodes, self.rows.channels.values(), self.online).plan(ask)
        if isinstance(plan, NoRoute):
            raise LndError(plan.reason)
        self._send(payment, plan, now_ms)
        return payment

    def _read_request(self, name: str, request: Request, now_ms: int) -> PayRequest:
        asked = bolt11.decode(request.payment_request)
        if isinstance(asked, Rejection):
            raise LndError(f"invalid invoice: {asked.code}")
        if asked.network is not Chain.REGTEST:
            raise LndError("invoice not for current active network 'regtest'")
        if asked.is_expired(PosixMs(now_ms)):
            raise LndError(f"invoice expired. Valid until {asked.expires.value // 1000}")
        if asked.amount is None and not request.amount_msat:
            raise LndError("amount must be specified when paying a zero amount invoice")
        if asked.amount is not None and request.amount_msat:
            raise LndError("amount must not be specified when paying a non-zero amount invoice")
        if request.cltv_limit > MAX_CLTV:
            raise LndError(f"total time lock of {request.cltv_limit} exceeds max allowed {MAX_CLTV}")
        if request.cltv_limit and request.cltv_limit <= asked.min_final_cltv.value + 3:
            least = asked.min_final_cltv.value + 3
            raise LndError(f"cltv limit {request.cltv_limit} should be greater than {least}")
        if not request.allow_self and asked.payee.hex() == self.rows.nodes[name].pubkey:
            raise LndError("self-payments not allowed")
        return asked

    def _start_payment(self, name: str, asked: PayRequest, amount: int, now_ms: int) -> Payment:
        old = self.rows.payments.get(f"{name}/{asked.hashlock.hex()}")
        if old is not None and old.status == IN_FLIGHT:
            raise LndError("payment is in transition", "ALREADY_EXISTS")
        if old is not None and old.status == SUCCEEDED:
            raise LndError("invoice is already paid", "ALREADY_EXISTS")
        payment = Payment(
            node=name,
            hash=asked.hashlock.hex(),
            amount_msat=amount,
            payment_request=asked.text,
            payment_addr=asked.payment_secret.hex(),
            index=self._next(),
            created_ms=now_ms,
        )
        self.rows.payments[payment.key] = payment
        self._touch(payment)
        return payment

    def _fail_payment(self, payment: Payment, reason: str) -> Payment:
        payment.status, payment.reason = FAILED, reason
        self._touch(payment)
        return payment

    def _name_of(self, pubkey: bytes) -> str | None:
        return next((n.name for n in self.rows.nodes.values() if n.pubkey == pubkey.hex()), None)

    # -- HTLCs -----------------------------------------------------------------------------------

    def _send(self, payment: Payment, routes: list[list[Hop]], now_ms: int) -> None:
        for hops in routes:
            attempt = Attempt(self._next(), hops, created_ms=now_ms)
            payment.attempts.append(attempt)
            for hop in hops:  # locked in one after the other, up to the payee
                channel = self.rows.channels[hop.chan_id]
                channel.add(hop.source, -hop.amount_msat)
                hop.htlc_index, hop.open = self._next(), True
                self._touch(channel)
        for attempt in payment.attempts:
            if attempt.status == IN_FLIGHT and not attempt.result:
                self._receive(payment, attempt, now_ms)
        self._touch(payment)
        self._deliver_all(now_ms)

    def _receive(self, payment: Payment, attempt: Attempt, now_ms: int) -> None:
        """The payee's invoice registry takes an HTLC, or refuses it (LND invoices/update.go, updateMpp)."""
        last = attempt.hops[-1]
        invoice = self.rows.invoices.get(f"{last.target}/{payment.hash}")
        if invoice is not None and any(h.attempt_id == attempt.attempt_id for h in invoice.htlcs):
            return
        if invoice is None or not self._fits(invoice, payment, last):
            attempt.result, attempt.failed_at = DETAILS, len(attempt.hops)
            return
        held = Held(
            payer=payment.node,
            attempt_id=attempt.attempt_id,
            chan_id=last.chan_id,
            htlc_index=last.htlc_index,
            amount_msat=last.amount_msat,
            total_msat=payment.amount_msat,
            expiry=last.expiry,
            accept_height=self.height,
            accept_ms=now_ms,
        )
        invoice.htlcs.append(held)
        self._touch(invoice)
        if sum(h.amount_msat for h in invoice.accepted()) < held.total_msat:
            return
        if invoice.hold:
            invoice.state = ACCEPTED
        else:
            self._settle(invoice, now_ms)

    def _fits(self, invoice: Invoice, payment: Payment, last: Hop) -> bool:
        node = self.rows.nodes[invoice.node]
        return (
            invoice.state == OPEN
            and payment.payment_addr == invoice.payment_addr
            and payment.amount_msat >= invoice.value_msat
            and all(h.total_msat == payment.amount_msat for h in invoice.accepted())
            and last.expiry >= self.height + max(node.reject_delta, invoice.cltv)
        )

    def _deliver_all(self, now_ms: int) -> None:
        """Results travel back to the payer over nodes that run; what a sleeping node blocks stays in flight."""
        for payment in [p for p in self.rows.payments.values() if p.status == IN_FLIGHT]:
            for attempt in payment.attempts:
                if attempt.status == IN_FLIGHT and attempt.result:
                    self._deliver(payment, attempt, now_ms)
            self._conclude(payment)

    def _deliver(self, payment: Payment, attempt: Attempt, now_ms: int) -> None:
        for hop in reversed(attempt.hops):
            if not hop.open:
                continue
            if hop.source not in self.online or hop.target not in self.online:
                return
            channel = self.rows.channels[hop.chan_id]
            channel.add(hop.target if attempt.result == "settle" else hop.source, hop.amount_msat)
            hop.open = False
            self._touch(channel)
            self._touch(payment)
        if attempt.result == "settle":
            payment.preimage = self.rows.invoices[f"{attempt.hops[-1].target}/{payment.hash}"].preimage
        attempt.status = SUCCEEDED if attempt.result == "settle" else FAILED
        attempt.resolved_ms = now_ms
        self._touch(payment)

    def _conclude(self, payment: Payment) -> None:
        """Ended once no attempt is in flight: settled if any part was, for the payee took the whole set."""
        if any(a.status == IN_FLIGHT for a in payment.attempts):
            return
        if any(a.status == SUCCEEDED for a in payment.attempts):
            payment.status = SUCCEEDED
        else:
            codes = {a.result for a in payment.attempts}
            payment.status = FAILED
            payment.reason = (
                "FAILURE_REASON_TIMEOUT"
                if codes == {"MPP_TIMEOUT"}
                else "FAILURE_REASON_INCORRECT_PAYMENT_DETAILS"
            )
        self._touch(payment)


def balance_check(rows: Rows) -> Callable[[], None]:
    """An oracle for tests: msat on both sides and in HTLCs of every channel are its capacity, always."""

    def check() -> None:
        network = Network(rows)
        for channel in rows.channels.values():
            locked = sum(h.amount_msat for _, h in network.pending(channel.chan_id))
            total = channel.a_msat + channel.b_msat + locked
            assert total == channel.capacity_sat * 1000, (channel.chan_id, total)

    return check
