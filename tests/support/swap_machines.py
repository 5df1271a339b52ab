"""The two swap machines run by hand: one quote, its contexts, and what the world may say to it."""

from __future__ import annotations

from fractions import Fraction

from gateway.btc import ports as b
from gateway.cl.data.types import ChannelId
from gateway.hashlock import Preimage
from gateway.outcome import Continue
from gateway.profile import REGTEST
from gateway.swap import btc_to_cl, cl_to_btc
from gateway.swap import effects as f
from gateway.swap import events as e
from gateway.swap import inputs as i
from gateway.swap import state as s
from gateway.swap.quote import Direction, Quote
from gateway.swap.timelock import Clocks
from gateway.swap.transitions import evolve
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Rate

SECRET = Preimage(b"\x07" * 32)
CHANNEL = ChannelId(b"c" * 20)
PEER = b"\x02" + b"p" * 32
NOW = PosixMs(1_700_000_000_000)
MEMO = f"swap {(b'q' * 8).hex()}"  # of an invoice that the gateway made for the quote below
CONSTANTS = b.TimeConstants(BlockDelta(18), BlockDelta(22), BlockDelta(19), BlockDelta(24))


def quote(direction: Direction) -> Quote:
    return Quote(
        id=b"q" * 32, direction=direction, peer=PEER, channel=CHANNEL, hashlock=SECRET.hashlock,
        bitcoin=Msat(10_000_000), cardano=Lovelace(25_000_000), rate=Rate(5, 2), base_fee=Lovelace(0),
        proportional_fee=Lovelace(0), routing_budget=Msat(1000),
        invoice="lnbcrt1…" if direction is Direction.CL_TO_BTC else "",
        final_cltv=BlockDelta(80), cheque_timeout=NOW + Ms(1_000_000), valid_until=NOW + Ms(60_000),
        eps=Fraction(1, 10**6),
    )  # fmt: skip


def clocks(after: int = 0, height: int = 600) -> Clocks:
    return Clocks(NOW + Ms(after), BlockHeight(height))


def out_context(after: int = 0, paused: str = "") -> cl_to_btc.Context:
    return cl_to_btc.Context(REGTEST, clocks(after), paused)


def in_context(after: int = 0, paused: str = "", height: int = 600) -> btc_to_cl.Context:
    return btc_to_cl.Context(REGTEST, clocks(after, height), CONSTANTS, 1, paused)


def cheque(amount: int = 25_000_000, life: int = 1_500_000, index: int = 3) -> i.ChequeLocked:
    return i.ChequeLocked(PEER, CHANNEL, index, Lovelace(amount), NOW + Ms(life))


def run(direction: Direction, *inputs: i.Input) -> tuple[s.State, list[f.Effect]]:
    state: s.State = evolve(None, e.QuoteGiven(quote(direction)))
    effects: list[f.Effect] = []
    for given_input in inputs:
        if direction is Direction.CL_TO_BTC:
            outcome = cl_to_btc.decide(state, given_input, out_context())
        else:
            outcome = btc_to_cl.decide(state, given_input, in_context())
        if isinstance(outcome, Continue):
            for event in outcome.events:
                state = evolve(state, event)
            effects += outcome.effects
    return state, effects


SETTLED = i.PaymentAnswer(b.PaymentSettled(SECRET, Msat(0)))
FAILED = i.PaymentAnswer(b.PaymentFailed("no_route", "FAILED, 0 attempts"))
NEVER_SENT = i.PaymentAnswer(b.PaymentFailed(b.NEVER_SENT, "LND has no record"))
UNKNOWN = i.PaymentAnswer(b.PaymentUnknown("stream lost", known=True))
HELD = i.InvoiceAnswer(b.InvoiceAccepted("lnbcrt1…", Msat(10_000_000), BlockHeight(760), MEMO))
CANCELLED = i.InvoiceAnswer(b.InvoiceCancelled(MEMO))
OPEN = i.InvoiceAnswer(b.InvoiceOpen("x", MEMO))
LND_SETTLED = i.InvoiceAnswer(b.InvoiceSettled(SECRET, Msat(10_000_000), MEMO))
READY = i.InvoiceCreated("lnbcrt1…")
