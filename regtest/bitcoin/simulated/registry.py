"""Every node's invoice registry: which HTLCs it takes, holds, settles and fails (LND invoices/update.go).

Texts follow LND's invoices/errors.go and lnrpc/invoicesrpc/addinvoice.go. Results stay on the attempts; the
network carries them back to the payer.
"""

from __future__ import annotations

import hashlib

from gateway.bolt import bolt11_encode, crypto
from gateway.bolt.invoice import Description, Draft
from gateway.bolt.invoice import Network as Chain
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.units import BlockDelta, Ms, Msat, PosixMs
from regtest.bitcoin.simulated.ledger import Ledger, LndError
from regtest.bitcoin.simulated.state import (
    ACCEPTED,
    CANCELED,
    OPEN,
    SETTLED,
    Attempt,
    Held,
    Hop,
    Invoice,
    Node,
    Payment,
)

FEATURES = frozenset({8, 14, 17})  # TLV onions and payment secrets required, parts taken
MAX_CLTV = 2016  # LND routing.MaxCLTVDelta and the default max-cltv-expiry
MIN_CLTV = 18  # LND routing.MinCLTVDelta
DETAILS = "INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS"


class Registry(Ledger):
    def find_invoice(self, name: str, payment_hash: bytes) -> Invoice:
        found = self.rows.invoices.get(f"{name}/{payment_hash.hex()}")
        if found is None and not any(i.node == name for i in self.rows.invoices.values()):
            raise LndError("there are no existing invoices")  # LND says so until the first one is made
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
    ) -> Invoice:
        """`hold_hash` makes a hold invoice. Fails as LND does: a known hash, a bad CLTV delta, a long memo.
        All channels are announced, so LND's `private` would add no hints."""
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
        terms = Draft(
            network=Chain.REGTEST,
            amount=Msat(value_msat) if value_msat else None,
            created=PosixMs(now_ms // 1000 * 1000),
            hashlock=Hashlock(payment_hash),
            payment_secret=address,
            description=Description(memo),
            expiry=Ms(expiry_s * 1000),
            min_final_cltv=BlockDelta(cltv),
            features=FEATURES,
        )
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
            payment_request=_signed(terms, node),
            add_index=self._next(),
        )
        self.rows.invoices[key] = invoice
        self._touch(invoice)
        return invoice

    def settle_invoice(self, name: str, preimage: bytes, now_ms: int) -> None:
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

    def cancel_invoice(self, name: str, payment_hash: bytes, now_ms: int) -> None:
        invoice = self.find_invoice_plain(name, payment_hash)
        if invoice.state == SETTLED:
            raise LndError("invoice already settled")
        if invoice.state != CANCELED:  # LND: cancelling again is no error
            self._cancel(invoice, now_ms)

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

    def _expire_heights(self, name: str, now_ms: int) -> None:
        """LND's expiry watcher: accepted hold invoices are cancelled this long before their first HTLC expires."""
        delta = self.rows.nodes[name].hold_delta
        for invoice in [i for i in self.rows.invoices.values() if i.node == name and i.state == ACCEPTED]:
            if min(h.expiry for h in invoice.accepted()) <= self.height + delta:
                self._cancel(invoice, now_ms)

    def _expire_times(self, now_ms: int) -> None:
        """Open invoices past their expiry are cancelled; parts of an incomplete set are failed after a while."""
        for invoice in [i for i in self.rows.invoices.values() if i.state == OPEN and i.node in self.online]:
            if now_ms >= invoice.created_ms + invoice.expiry_s * 1000:
                self._cancel(invoice, now_ms)
                continue
            for held in invoice.accepted():
                if now_ms >= held.accept_ms + self.part_hold_ms:
                    self._fail_held(invoice, held, "MPP_TIMEOUT", now_ms)

    def next_tick_ms(self) -> int | None:
        """When something is due by the clock; None when nothing is."""
        waiting = [i for i in self.rows.invoices.values() if i.state == OPEN and i.node in self.online]
        due = [i.created_ms + i.expiry_s * 1000 for i in waiting]
        due += [h.accept_ms + self.part_hold_ms for i in waiting for h in i.accepted()]
        return min(due, default=None)

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


def _signed(terms: Draft, node: Node) -> str:
    secret = bytes.fromhex(node.secret)
    text = bolt11_encode.encode(
        terms, bytes.fromhex(node.pubkey), lambda digest: crypto.sign_recoverable(secret, digest)
    )
    if isinstance(text, Rejection):
        raise LndError(f"unable to encode the invoice: {text}")
    return text
