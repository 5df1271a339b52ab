"""R1. Quotes: what a swap costs and how long it locks, as integers, for a stated time.

Same id, same answer: a quote is stored before it is sent. Rounding favours the gateway by at most one unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from gateway.bolt import bolt11
from gateway.btc.ports import TimeConstants
from gateway.cl.data.types import ChannelId
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.prices.model import Market
from gateway.profile import NetworkProfile
from gateway.swap import errors
from gateway.swap.limits import Limits, Usage, over
from gateway.swap.pricing import EVEN, PPM, Fees, fees, payment_price, receipt_price
from gateway.swap.timelock import MAX_BLOCKS, Clocks, cltv_limit, final_cltv_for, outgoing_needs
from gateway.units import BlockDelta, Lovelace, Ms, Msat, PosixMs, Rate

LONGEST_LIFE = Ms(14 * 86_400_000)  # of any cheque on any network


class Direction(StrEnum):
    CL_TO_BTC = "cl_to_btc"
    BTC_TO_CL = "btc_to_cl"


@dataclass(frozen=True, slots=True)
class SwapPolicy:
    """The operator's terms. `hop_blocks` is what a route may need beyond the payee's own delta."""

    rate: Rate
    base_fee: Lovelace
    proportional_ppm: int
    routing_fee_base: Msat
    routing_fee_ppm: int
    least: Msat
    most: Msat
    quote_life: Ms
    hop_blocks: BlockDelta
    receive_life: Ms  # cheque life that a btc_to_cl invoice is made for
    bitcoin_reserve: Msat  # never offered to swaps
    cardano_reserve: Lovelace  # of a channel, never offered to swaps
    slot_reserve: int  # cheque places of a channel kept free of swaps
    auto_add_most: Lovelace  # largest `add` that the gateway makes by itself on request; 0 = none
    spread_ppm: int = 0
    inventory_ppm: int = 0  # when all our funds lie on the side that a swap adds to
    volatility_ppm: int = 0  # of a day, as the market says at this moment
    option_percent: int = 100  # of the option's price that is asked for; 0: none
    option_free: frozenset[bytes] = frozenset()  # peers that pay no option
    limits: Limits = Limits()

    def at(self, market: Market) -> SwapPolicy:
        """The terms at the market's rate and volatility."""
        return replace(self, rate=market.rate, volatility_ppm=market.volatility_ppm)

    def fee(self, converted: Lovelace) -> tuple[Lovelace, Lovelace]:
        """Base and proportional part; the latter rounded up."""
        return self.base_fee, Lovelace(-(-converted.value * self.proportional_ppm // 1_000_000))

    def routing_budget(self, amount: Msat) -> Msat:
        return self.routing_fee_base + Msat(-(-amount.value * self.routing_fee_ppm // 1_000_000))


@dataclass(frozen=True, slots=True)
class Liquidity:
    """Live balances less what is at risk or reserved by open quotes and swaps, at one moment."""

    bitcoin_local: Msat
    bitcoin_remote: Msat
    channel_local: Lovelace  # ours in this channel, spendable
    channel_remote: Lovelace  # the partner's, spendable
    free_slots_in: int
    free_slots_out: int
    ada_share_ppm: int = EVEN  # of all our funds


@dataclass(frozen=True, slots=True)
class Quote:
    """pays: what the sender's leg carries; receives: what the receiver's leg carries."""

    id: bytes  # 32 bytes
    direction: Direction
    peer: bytes  # node id of the CL peer
    channel: ChannelId
    hashlock: Hashlock
    bitcoin: Msat  # on the BLN leg
    cardano: Lovelace  # on the CL leg
    rate: Rate
    base_fee: Lovelace
    proportional_fee: Lovelace
    routing_budget: Msat  # cl_to_btc: fee limit of the payment, inside `cardano`
    invoice: str  # cl_to_btc: the invoice to pay; btc_to_cl: empty until made
    final_cltv: BlockDelta  # cl_to_btc: of the payee; btc_to_cl: of our invoice
    cheque_timeout: PosixMs  # cl_to_btc: least timeout of the cheque; btc_to_cl: 0 until accepted
    valid_until: PosixMs
    eps: Fraction
    spread_fee: Lovelace = Lovelace(0)
    inventory_fee: Lovelace = Lovelace(0)
    option_fee: Lovelace = Lovelace(0)
    lock_life: Ms = LONGEST_LIFE  # of the cheque: cl_to_btc at its least timeout, btc_to_cl at most

    @property
    def fees(self) -> Fees:
        return Fees(
            self.base_fee, self.proportional_fee, self.spread_fee, self.inventory_fee, self.option_fee
        )


@dataclass(frozen=True, slots=True)
class InvoiceFacts:
    """What a BOLT 11 invoice says, as far as a swap needs it; see `read_invoice`."""

    text: str
    network: str
    payee: bytes
    hashlock: Hashlock
    amount: Msat | None
    expires_at: PosixMs
    final_cltv: BlockDelta
    unknown_required_feature: int | None


@dataclass(frozen=True, slots=True)
class QuoteContext:
    """Everything that a quote depends on, frozen."""

    id: bytes
    peer: bytes
    channel: ChannelId
    profile: NetworkProfile
    policy: SwapPolicy
    clocks: Clocks
    constants: TimeConstants
    liquidity: Liquidity
    own_node: bytes  # our LND's node id
    hash_in_use: bool
    usage: Usage = Usage()


_TYPICAL_CLTV = BlockDelta(80)  # LND's own default for its invoices (bitcoin.timelockdelta)


def typical_invoice(context: QuoteContext, hashlock: Hashlock, amount: Msat) -> InvoiceFacts:
    """An invoice as most wallets would make it, to price an amount without one."""
    return InvoiceFacts(
        text="",
        network=context.profile.bitcoin_network,
        payee=b"",
        hashlock=hashlock,
        amount=amount,
        expires_at=context.clocks.now + context.policy.quote_life,
        final_cltv=_TYPICAL_CLTV,
        unknown_required_feature=None,
    )


def _amount_limits(context: QuoteContext, amount: Msat) -> Rejection | None:
    policy = context.policy
    if amount < policy.least:
        return errors.AMOUNT_TOO_SMALL(
            field="amount_msat", got=amount.value, allowed=f">= {policy.least.value}"
        )
    if amount > policy.most:
        return errors.AMOUNT_TOO_LARGE(
            field="amount_msat", got=amount.value, allowed=f"<= {policy.most.value}"
        )
    return over(policy.limits, context.usage, amount)


def _check_invoice(context: QuoteContext, invoice: InvoiceFacts) -> Rejection | None:
    if invoice.network != context.profile.bitcoin_network:
        return errors.INVOICE_NETWORK(
            field="invoice", got=invoice.network, allowed=context.profile.bitcoin_network
        )
    if invoice.unknown_required_feature is not None:
        return errors.INVOICE_FEATURE(field="features", got=invoice.unknown_required_feature)
    if invoice.payee == context.own_node:
        return errors.INVOICE_OWN_NODE(field="payee", got=invoice.payee.hex())  # X16
    valid_until = context.clocks.now + context.policy.quote_life
    if invoice.expires_at < valid_until:
        # lives nest: the invoice must outlive the quote for it
        return errors.INVOICE_EXPIRED(
            field="expiry", got=invoice.expires_at.value, allowed=f">= {valid_until.value}"
        )
    return None


def quote_cl_to_btc(context: QuoteContext, invoice: InvoiceFacts) -> Quote | Rejection:
    """What the peer's cheque must carry, and until when it must live, for this invoice to be paid."""
    refusal = _check_invoice(context, invoice)
    if refusal is not None:
        return refusal
    if context.hash_in_use:
        return errors.HASH_IN_USE(field="payment_hash", got=invoice.hashlock.hex())
    amount = invoice.amount
    if amount is None or not amount:
        return errors.INVOICE_AMOUNTLESS(field="amount")
    refusal = _amount_limits(context, amount)
    if refusal is not None:
        return refusal
    policy, profile = context.policy, context.profile
    budget = policy.routing_budget(amount)
    available = context.liquidity.bitcoin_local - policy.bitcoin_reserve
    if amount + budget > available:
        return errors.NO_BITCOIN_LIQUIDITY(
            field="amount_msat", got=amount.value, allowed=f"<= {max(0, (available - budget).value)}"
        )
    if context.liquidity.free_slots_in <= policy.slot_reserve:
        return errors.NO_SLOT(field="channel", got=context.channel.hex())
    eps = profile.eps(amount.value)
    blocks = invoice.final_cltv + profile.padding + policy.hop_blocks
    too_long = errors.TIMELOCK_TOO_LONG(
        field="min_final_cltv_expiry_delta",
        got=invoice.final_cltv.value,
        allowed=f"a cheque life of at most {profile.max_cheque_life.value} ms",
    )
    if blocks > BlockDelta(MAX_BLOCKS):  # an invoice may ask for 2^60: the exact sum below is linear in it
        return too_long
    # the quote must still hold at the last moment of its life
    last = Clocks(context.clocks.now + policy.quote_life, context.clocks.height, context.clocks.stress)
    timeout = outgoing_needs(profile, last, blocks, eps)
    if timeout > context.clocks.now + profile.max_cheque_life:
        return too_long
    life = timeout - context.clocks.now  # the quote's own life is the first part of it
    worth = policy.rate.lovelace_up(amount + budget)
    parts = fees(policy, context.peer, worth, life, context.liquidity.ada_share_ppm)
    pays = payment_price(policy.rate, amount, budget, parts)
    if pays > context.liquidity.channel_remote:
        return errors.NO_CARDANO_LIQUIDITY(
            field="channel",
            got=pays.value,
            allowed=f"<= {context.liquidity.channel_remote.value}",
            detail="the payer's side of the channel holds less than the quote",
        )
    return Quote(
        id=context.id,
        direction=Direction.CL_TO_BTC,
        peer=context.peer,
        channel=context.channel,
        hashlock=invoice.hashlock,
        bitcoin=amount,
        cardano=pays,
        rate=policy.rate,
        base_fee=parts.base,
        proportional_fee=parts.proportional,
        routing_budget=budget,
        invoice=invoice.text,
        final_cltv=invoice.final_cltv,
        cheque_timeout=timeout,
        valid_until=context.clocks.now + policy.quote_life,
        eps=eps,
        spread_fee=parts.spread,
        inventory_fee=parts.inventory,
        option_fee=parts.option,
        lock_life=life,
    )


def quote_btc_to_cl(context: QuoteContext, hashlock: Hashlock, receive: Lovelace) -> Quote | Rejection:
    """What a payer on Bitcoin Lightning must send so that the peer receives exactly `receive`."""
    if context.hash_in_use:
        return errors.HASH_IN_USE(field="payment_hash", got=hashlock.hex())
    policy, profile = context.policy, context.profile
    if receive.value < 1:
        return errors.AMOUNT_TOO_SMALL(field="receive_lovelace", got=receive.value, allowed=">= 1")
    # the receiver decides as late as its cheque allows, so that is capped, and its price lies inside the amount
    life = max(policy.receive_life, profile.min_cheque_life)
    share = PPM - context.liquidity.ada_share_ppm
    parts = fees(policy, context.peer, receive, policy.quote_life + life, share)
    amount = receipt_price(policy.rate, receive, parts)
    refusal = _amount_limits(context, amount)
    if refusal is not None:
        return refusal
    if amount > context.liquidity.bitcoin_remote:
        return errors.NO_BITCOIN_LIQUIDITY(
            field="amount_msat",
            got=amount.value,
            allowed=f"<= {context.liquidity.bitcoin_remote.value}",
            detail="the gateway's Lightning node cannot receive more",
        )
    if context.liquidity.free_slots_out <= policy.slot_reserve:
        return errors.NO_SLOT(field="channel", got=context.channel.hex())
    available = context.liquidity.channel_local - policy.cardano_reserve
    if receive > available:
        return errors.NO_CARDANO_LIQUIDITY(
            field="receive_lovelace",
            got=receive.value,
            allowed=f"<= {max(0, available.value)}",
            detail=f"missing {(receive - available).value} lovelace",
        )
    eps = profile.eps(amount.value)
    small = amount.value < profile.small_swap_msat
    final = final_cltv_for(
        profile, context.constants, policy.receive_life, context.clocks.stress, eps, small=small
    )
    return Quote(
        id=context.id,
        direction=Direction.BTC_TO_CL,
        peer=context.peer,
        channel=context.channel,
        hashlock=hashlock,
        bitcoin=amount,
        cardano=receive,
        rate=policy.rate,
        base_fee=parts.base,
        proportional_fee=parts.proportional,
        routing_budget=Msat(0),
        invoice="",
        final_cltv=final,
        cheque_timeout=PosixMs(0),
        valid_until=context.clocks.now + policy.quote_life,
        eps=eps,
        spread_fee=parts.spread,
        inventory_fee=parts.inventory,
        option_fee=parts.option,
        lock_life=life,
    )


def payable_blocks(
    profile: NetworkProfile, clocks: Clocks, quote: Quote, timeout: PosixMs
) -> BlockDelta | Rejection:
    """cl_to_btc: the cltv limit of the payment, solved at every send; fails when it cannot reach the payee."""
    limit = cltv_limit(profile, clocks, timeout, quote.eps)
    least = quote.final_cltv + profile.padding
    if limit < least:
        return errors.TIMELOCK_TOO_SHORT(
            field="timeout_ms",
            got=timeout.value,
            allowed=f">= {outgoing_needs(profile, clocks, least, quote.eps).value}",
        )
    return limit


def read_invoice(text: str) -> InvoiceFacts | Rejection:
    """What a swap needs of a BOLT 11 invoice; malformed ones get a swap.invoice.* code with bolt11's detail."""
    invoice = bolt11.decode(text)
    if isinstance(invoice, Rejection):
        return errors.malformed(invoice)
    unknown = bolt11.unknown_required(invoice)
    return InvoiceFacts(
        text=invoice.text,
        network=invoice.network.value,
        payee=invoice.payee,
        hashlock=invoice.hashlock,
        amount=invoice.amount,
        expires_at=invoice.expires,
        final_cltv=invoice.min_final_cltv,
        unknown_required_feature=unknown[0] if unknown else None,
    )
