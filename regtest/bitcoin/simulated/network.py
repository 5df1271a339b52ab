"""The network's rules: payments in parts over routes, HTLCs that resolve hop by hop, blocks. No clock, no sockets.

Deterministic: time comes in as `now_ms`, randomness as a seed. Rules and texts follow LND 0.20 (lnrpc/routerrpc,
payments/db/errors.go). HTLCs are never taken to the chain: one whose payee slept past its expiry is failed when
the payee wakes.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.bolt import bolt11
from gateway.bolt.bolt11 import accepts_multi_part
from gateway.bolt.invoice import Invoice as PayRequest
from gateway.bolt.invoice import Network as Chain
from gateway.errors import Rejection
from gateway.units import PosixMs
from regtest.bitcoin.simulated.ledger import LndError
from regtest.bitcoin.simulated.registry import MAX_CLTV, Registry
from regtest.bitcoin.simulated.routing import BLOCK_PADDING, Ask, Graph, NoRoute
from regtest.bitcoin.simulated.state import FAILED, IN_FLIGHT, SUCCEEDED, Attempt, Block, Hop, Payment


@dataclass(frozen=True)
class Request:
    """A SendPaymentV2 request, as far as the simulation reads it."""

    payment_request: str
    amount_msat: int
    fee_limit_msat: int
    cltv_limit: int
    max_parts: int
    allow_self: bool


class Network(Registry):
    """Everything that nodes do; each public method leaves a consistent network with its changes noted."""

    # -- nodes, invoices and time ----------------------------------------------------------------

    def up(self, name: str, now_ms: int) -> None:
        self.online.add(name)
        self._expire_heights(name, now_ms)
        self._deliver_all(now_ms)

    def down(self, name: str) -> None:
        self.online.discard(name)

    def settle(self, name: str, preimage: bytes, now_ms: int) -> None:
        self.settle_invoice(name, preimage, now_ms)
        self._deliver_all(now_ms)

    def cancel(self, name: str, payment_hash: bytes, now_ms: int) -> None:
        self.cancel_invoice(name, payment_hash, now_ms)
        self._deliver_all(now_ms)

    def tick(self, now_ms: int) -> None:
        """What is due by the clock: expired invoices, parts that waited too long for the rest."""
        self._expire_times(now_ms)
        self._deliver_all(now_ms)

    # -- blocks ----------------------------------------------------------------------------------

    def mine(self, blocks: int, span_ms: int, now_ms: int) -> None:
        """Header times spread over `span_ms` from the tip's; they never end in the past, even after a long sleep."""
        start = max(self.rows.blocks[-1].time_ms, now_ms - span_ms)
        for number in range(1, blocks + 1):
            self._add_block(self.height + 1, start + span_ms * number // blocks)
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
        if isinstance(asked, Rejection) or asked.amount is None:
            raise LndError("invalid invoice")
        payee = self._name_of(asked.payee)
        if payee is None:
            raise LndError("unable to find a path to destination")
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
        if request.cltv_limit and request.cltv_limit <= asked.min_final_cltv.value + BLOCK_PADDING:
            least = asked.min_final_cltv.value + BLOCK_PADDING
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
