"""R1. Double entry: what each event of a swap, payment or receipt moves, between which accounts, to the last unit.

Assets are positive, income is negative, the legs of one entry sum to zero in each unit (the store refuses others).
An amount leaves one account when the event is stored that makes it leave, in the same transaction. `exchange` joins
the two units: what it holds of each is what the gateway has changed so far, at the swaps' own rates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.swap import events as e
from gateway.swap import payee, payer
from gateway.swap import state as s
from gateway.swap.quote import Direction, Quote
from gateway.units import Lovelace, Msat

LOVELACE, MSAT = "lovelace", "msat"
# what is ours
LIGHTNING, SENDING, UNKNOWN_FEE = "lightning", "lightning.sending", "lightning.fee_unknown"
CHANNELS, OFFERED = "channels", "channels.offered"
WALLET = "wallet"
# what is locked for us and not ours yet, against who locked it
HOLD, CHEQUE_HELD, PAYER, ISSUER = "lightning.held", "channels.held", "payer", "issuer"
EXCHANGE, OPERATOR, PURCHASES, RECEIPTS = "exchange", "operator", "payments", "receipts"
BASE, PROPORTIONAL, ROUTING, OTHER, ROUNDING = (
    "fee.base", "fee.proportional", "fee.routing", "fee.other", "rounding",
)  # fmt: skip
SPREAD, INVENTORY, OPTION = "fee.spread", "fee.inventory", "fee.option"
ROUTING_COST, CHAIN_COST = "cost.routing", "cost.chain"
PROFIT = (BASE, PROPORTIONAL, SPREAD, INVENTORY, OPTION, ROUTING, OTHER, ROUNDING, ROUTING_COST, CHAIN_COST)


@dataclass(frozen=True, slots=True)
class Row:
    """One leg; positive into the account."""

    account: str
    unit: str
    amount: int


Rows = tuple[Row, ...]
EXACT = Msat(0)


def _move(unit: str, amount: int, source: str, target: str) -> Rows:
    return (Row(source, unit, -amount), Row(target, unit, amount))


def _income(unit: str, total: int, parts: tuple[tuple[str, int], ...], asset: str) -> Rows:
    """`total` comes into `asset`: `parts` of it are income, the rest is the exchanged value."""
    rest = total - sum(amount for _, amount in parts)
    named = tuple(Row(account, unit, -amount) for account, amount in parts if amount)
    return (Row(asset, unit, total), Row(EXCHANGE, unit, -rest), *named)


def _named(quote: Quote) -> tuple[tuple[str, Lovelace], ...]:
    parts = quote.fees
    return (
        (BASE, parts.base), (PROPORTIONAL, parts.proportional), (SPREAD, parts.spread),
        (INVENTORY, parts.inventory), (OPTION, parts.option),
    )  # fmt: skip


def fee_parts(quote: Quote) -> tuple[tuple[str, int], ...]:
    """What the incoming leg carries beyond the exchanged value, by account, in the incoming leg's unit."""
    rate = quote.rate
    if quote.direction is Direction.CL_TO_BTC:
        value = rate.lovelace_down(quote.bitcoin)
        with_routing = quote.bitcoin + quote.routing_budget
        routing = rate.lovelace_down(with_routing) - value
        rounding = rate.lovelace_up(with_routing) - rate.lovelace_down(with_routing)
        known = value + routing + rounding + quote.fees.total
        return (
            *((account, part.value) for account, part in _named(quote)),
            (ROUTING, routing.value),
            (OTHER, (quote.cardano - known).value),
            (ROUNDING, rounding.value),
        )
    value_msat = rate.msat_down(quote.cardano)
    parts = tuple((account, rate.msat_down(part).value) for account, part in _named(quote))
    fees = rate.msat_up(quote.cardano + quote.fees.total)
    whole = Msat(-(-fees.value // 1000) * 1000)  # the invoice is in whole satoshis
    rounding_msat = min(whole, quote.bitcoin) - value_msat - Msat(sum(amount for _, amount in parts))
    return (
        *parts,
        (OTHER, max(Msat(0), quote.bitcoin - whole).value),
        (ROUNDING, rounding_msat.value),
    )


def swap_rows(before: s.State | None, event: e.Event) -> Rows:
    """What an event of a swap of this gateway moves; nothing for those that move no value."""
    if before is None:
        return ()
    quote = before.quote
    out = quote.direction is Direction.CL_TO_BTC
    sending = (quote.bitcoin + quote.routing_budget).value
    match event:
        case e.IncomingWasLocked(s.ChequeIn()):
            return _move(LOVELACE, quote.cardano.value, ISSUER, CHEQUE_HELD)
        case e.IncomingWasLocked(s.HoldIn(amount)):
            return _move(MSAT, amount.value, PAYER, HOLD)
        case e.OutgoingWasIntended():
            if out:
                return _move(MSAT, sending, LIGHTNING, SENDING)
            return _move(LOVELACE, quote.cardano.value, CHANNELS, OFFERED)
        case e.OutgoingProvedDead() if not isinstance(before, s.IncomingLocked):
            if out:
                return _move(MSAT, sending, SENDING, LIGHTNING)
            return _move(LOVELACE, quote.cardano.value, OFFERED, CHANNELS)
        case e.PreimageLearned(_, fee):
            return _sent(quote, fee) if out else _move(LOVELACE, quote.cardano.value, OFFERED, EXCHANGE)
        case e.IncomingClaimed() if out:
            given_back = _move(LOVELACE, quote.cardano.value, CHEQUE_HELD, ISSUER)
            return (*given_back, *_income(LOVELACE, quote.cardano.value, fee_parts(quote), CHANNELS))
        case e.IncomingClaimed():
            held = _held(before)
            over = (held - quote.bitcoin).value  # a payer may send more than the invoice asks for
            parts = (*fee_parts(quote), (OTHER, over))
            return (
                *_move(MSAT, held.value, HOLD, PAYER),
                *_income(MSAT, held.value, _merged(parts), LIGHTNING),
            )
        case e.IncomingReleased():
            if out:
                return _move(LOVELACE, quote.cardano.value, CHEQUE_HELD, ISSUER)
            return _move(MSAT, _held(before).value, HOLD, PAYER)
        case _:
            return ()


def _held(state: s.State) -> Msat:
    incoming = getattr(state, "incoming", None)
    assert isinstance(incoming, s.HoldIn)
    return incoming.amount


def _merged(parts: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    sums: dict[str, int] = {}
    for account, amount in parts:
        sums[account] = sums.get(account, 0) + amount
    return tuple(sums.items())


def _sent(quote: Quote, fee: Msat | None) -> Rows:
    """The payment is made: its value is exchanged, its routing fee is a cost. A preimage that came another way than
    from LND's record leaves the fee unknown: what was set aside for it stays in an account of its own."""
    amount, budget = quote.bitcoin.value, quote.routing_budget.value
    made = (Row(SENDING, MSAT, -(amount + budget)), Row(EXCHANGE, MSAT, amount))
    if fee is None:
        return (*made, Row(UNKNOWN_FEE, MSAT, budget)) if budget else made
    return (*made, Row(ROUTING_COST, MSAT, fee.value), Row(LIGHTNING, MSAT, budget - fee.value))


def payment_rows(before: payer.State | None, event: payer.Event) -> Rows:
    """A payment of this node's own out of a channel."""
    match before, event:
        case _, payer.Intended(offer, _):
            return _move(LOVELACE, offer.cardano.value, CHANNELS, OFFERED)
        case ((payer.ChequeIntended() | payer.ChequeLive()), payer.WasPaid()):
            return _move(LOVELACE, before.offer.cardano.value, OFFERED, PURCHASES)
        case ((payer.ChequeIntended() | payer.ChequeLive()), (payer.HasFailed() | payer.WasRefused())):
            return _move(LOVELACE, before.offer.cardano.value, OFFERED, CHANNELS)
        case _:
            return ()


def receipt_rows(before: payee.State | None, event: payee.Event) -> Rows:
    """A receipt of this node's own into a channel."""
    if not isinstance(before, payee.Fulfilling) or not isinstance(event, payee.WasReceived):
        return ()
    return _move(LOVELACE, before.request.receive.value, RECEIPTS, CHANNELS)


def whole(rows: Rows) -> Rows:
    """One row an account, none of nothing."""
    sums: dict[tuple[str, str], int] = {}
    for row in rows:
        sums[row.account, row.unit] = sums.get((row.account, row.unit), 0) + row.amount
    return tuple(Row(account, unit, amount) for (account, unit), amount in sums.items() if amount)


def is_balanced(rows: Rows) -> bool:
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.unit] = sums.get(row.unit, 0) + row.amount
    return not any(sums.values())


# -- against the networks ---------------------------------------------------------------------

Balances = dict[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a network has more (positive) or less than the ledger says."""

    lovelace: Lovelace
    msat: Msat | None  # None: the Lightning node cannot be asked
    slack: Msat = EXACT  # of `msat`: two that differ by no more are the same

    def is_same(self, other: Difference | None) -> bool:
        if other is None or self.lovelace != other.lovelace or (self.msat is None) != (other.msat is None):
            return False
        if self.msat is None or other.msat is None:
            return True
        return abs((self.msat - other.msat).value) <= self.slack.value

    def __bool__(self) -> bool:
        return self.lovelace.value != 0 or bool(self.msat and self.msat.value)

    def words(self) -> str:
        parts = []
        if self.lovelace.value:
            parts.append(f"the channels hold {self.lovelace.value:+d} lovelace against the ledger")
        if self.msat and self.msat.value:
            parts.append(f"the Lightning node holds {self.msat.value:+d} msat against the ledger")
        return "; ".join(parts)


def difference(
    sums: Balances, in_channels: Lovelace, in_lightning: Msat | None, slack: Msat = EXACT
) -> Difference:
    """`in_channels`: received less sent over all channels for life; `in_lightning`: owned in its channels, HTLCs of
    ours in flight and our commitment fees included. A fee that is not known is at most what was set aside;
    `slack`: how far `in_lightning` may be off by itself."""
    cl = sums.get((CHANNELS, LOVELACE), 0) + sums.get((OFFERED, LOVELACE), 0)
    off = Lovelace(in_channels.value - cl)
    if in_lightning is None:
        return Difference(off, None)
    least = sums.get((LIGHTNING, MSAT), 0) + sums.get((SENDING, MSAT), 0)
    most = least + sums.get((UNKNOWN_FEE, MSAT), 0)
    nearest = min(max(in_lightning.value, least - slack.value), most + slack.value)
    return Difference(off, Msat(in_lightning.value - nearest), slack)


def accepted(found: Difference) -> Rows:
    """The entry that takes a difference over as the operator's own doing."""
    rows = _move(LOVELACE, found.lovelace.value, OPERATOR, CHANNELS)
    if found.msat is not None:
        rows = (*rows, *_move(MSAT, found.msat.value, OPERATOR, LIGHTNING))
    return tuple(row for row in rows if row.amount)


# -- profit -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A stored leg, as far as profit is concerned."""

    entry: str
    row: Row
    at_ms: int


def profit(lines: Iterable[Line], *, by_swap: bool) -> dict[str, dict[str, int]]:
    """What was earned less what it cost, in each unit, by UTC day or by payment hash ("" for costs of channels)."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        if line.row.account not in PROFIT:
            continue
        key = swap_of(line.entry) if by_swap else _day(line.at_ms)
        sums = found.setdefault(key, {LOVELACE: 0, MSAT: 0})
        sums[line.row.unit] -= line.row.amount
    return found


def swap_of(entry: str) -> str:
    """The payment hash in the name of a swap's entry; empty for others."""
    kind, _, rest = entry.partition("/")
    return rest.partition(".")[0] if kind.startswith("swap.") else ""


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).date().isoformat()
