"""R2. The forms of the swap messages."""

from __future__ import annotations

from gateway.cl.wire import swap_messages as m
from gateway.cl.wire.fields import Bytes, Choice, Int, Maybe, One, Spec, Sub, Text, exactly
from gateway.cl.wire.scope import Body, Presence, Turn
from gateway.cl.wire.session_specs import CODE, optional_text
from gateway.hashlock import Hashlock, Preimage
from gateway.units import Lovelace, Ms, Msat, PosixMs, Rate

MAX_INVOICE = 7_089  # as in BOLT 11's reader

LOCK = One(exactly(32, Hashlock))
LOVELACE, MSAT, TIME = One(Int(Lovelace)), One(Int(Msat)), One(Int(PosixMs))
_INVOICE = Text(MAX_INVOICE, cut=False)
_HASH = {"hashlock": "payment_hash"}

_RATE = Spec(Rate, {"lovelace": One(Int(least=1)), "msat": One(Int(least=1))})
_PAY = Spec(m.SwapPayRequest, {"invoice": One(_INVOICE)})
_RECEIVE = Spec(
    m.SwapReceiveRequest,
    {"hashlock": LOCK, "receive": One(Int(Lovelace, least=1)), "memo": optional_text(600)},
    {**_HASH, "receive": "receive_lovelace"},
)
_QUOTE = Spec(
    m.SwapQuote,
    {
        "id": One(exactly(32)),
        "direction": One(Choice(m.SwapDirection)),
        "hashlock": LOCK,
        "bitcoin": MSAT,
        "cardano": LOVELACE,
        "rate": Sub(_RATE),
        "base_fee": LOVELACE,
        "proportional_fee": LOVELACE,
        "routing_budget": MSAT,
        "invoice": One(_INVOICE),
        "cheque_timeout": TIME,
        "valid_until": TIME,
        "eps_denominator": One(Int(least=1)),
        "spread_fee": LOVELACE,
        "inventory_fee": LOVELACE,
        "option_fee": LOVELACE,
        "lock_life": One(Int(Ms)),
        "signature": One(exactly(65)),
    },
    {
        **_HASH,
        "bitcoin": "bitcoin_msat",
        "cardano": "cardano_lovelace",
        "base_fee": "base_fee_lovelace",
        "proportional_fee": "proportional_fee_lovelace",
        "routing_budget": "routing_budget_msat",
        "cheque_timeout": "cheque_timeout_ms",
        "valid_until": "valid_until_ms",
        "spread_fee": "spread_fee_lovelace",
        "inventory_fee": "inventory_fee_lovelace",
        "option_fee": "option_fee_lovelace",
        "lock_life": "lock_life_ms",
    },
)
_ACCEPT = Spec(m.SwapAccept, {"quote_id": One(exactly(32))})
_REFUSED = Spec(
    m.SwapRefused,
    {
        "hashlock": Maybe(LOCK),
        "code": One(CODE),
        "field": optional_text(80),
        "got": optional_text(400),
        "allowed": optional_text(400),
        "detail": optional_text(1_000),
        "retry_after_ms": Maybe(One(Int())),
    },
    _HASH,
)
_ASK_STATUS = Spec(m.SwapStatusRequest, {"hashlock": LOCK}, _HASH)
_STATUS = Spec(
    m.SwapStatus,
    {
        "hashlock": LOCK,
        "phase": One(Choice(m.SwapPhase)),
        "quote_id": Maybe(One(Bytes(32, 32)), b""),
        "code": Maybe(One(CODE), ""),
        "preimage": Maybe(One(exactly(32, Preimage))),
    },
    _HASH,
)

_MUST = Presence.MUST
BODIES = tuple(
    Body(name, spec, _MUST, _MUST, turn)
    for name, spec, turn in (
        ("swap_pay_request", _PAY, Turn.STARTS),
        ("swap_receive_request", _RECEIVE, Turn.STARTS),
        ("swap_quote", _QUOTE, Turn.ANSWERS),
        ("swap_accept", _ACCEPT, Turn.STARTS),
        ("swap_refused", _REFUSED, Turn.ANSWERS),
        ("swap_status_request", _ASK_STATUS, Turn.STARTS),
        ("swap_status", _STATUS, Turn.ANY),  # also unasked, when something happens
    )
)
