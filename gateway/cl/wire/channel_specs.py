"""R2. The forms of the messages about one channel (gateway/cl/channel/messages.py)."""

from __future__ import annotations

from gateway.cl.channel import messages as m
from gateway.cl.wire import channel_parts as p
from gateway.cl.wire.fields import Flag, Int, Maybe, One, Spec, Sub
from gateway.cl.wire.scope import Body, Presence, Turn
from gateway.cl.wire.session_specs import CODE, PROSE

_CODE, _DETAIL = One(CODE), Maybe(One(PROSE), "")

_TERMS = Spec(
    m.Terms,
    {
        "least_funding": p.AMOUNT,
        "least_respond_period": p.SPAN,
        "most_pending": One(Int(most=10_000)),
        "least_cheque": p.AMOUNT,
        "least_cheque_life": p.SPAN,
        "most_cheque_life": p.SPAN,
    },
    {
        "least_funding": "least_funding_lovelace",
        "least_respond_period": "least_respond_period_ms",
        "least_cheque": "least_cheque_lovelace",
        "least_cheque_life": "least_cheque_life_ms",
        "most_cheque_life": "most_cheque_life_ms",
    },
)
_OPEN = Spec(
    m.OpenChannel,
    {
        "seed": Sub(p.OUTPUT_REF),
        "opener_key": p.KEY,
        "amount": p.AMOUNT,
        "gift": p.AMOUNT,
        "respond_period": p.SPAN,
        "min_ada": p.AMOUNT,
    },
    {
        "amount": "amount_lovelace",
        "gift": "gift_lovelace",
        "respond_period": "respond_period_ms",
        "min_ada": "min_ada_lovelace",
    },
)
_ACCEPT = Spec(m.AcceptChannel, {"key": p.KEY})
_REFUSE = Spec(m.RefuseChannel, {"code": _CODE, "detail": _DETAIL})
_STAGED = Spec(m.Staged, {"funding": Sub(p.OUTPUT_REF)})
_ADD = Spec(m.AddCheque, {"cheque": Sub(p.CHEQUE), "signature": p.SIGNATURE})
_FULFIL = Spec(m.Fulfil, {"index": p.INDEX, "preimage": p.PREIMAGE})
_CANCEL = Spec(m.Cancel, {"index": p.INDEX, "code": _CODE, "signed": Sub(p.SIGNED_SNAPSHOT)})
_SQUASHED = Spec(m.Squashed, {"signed": Sub(p.SIGNED_SNAPSHOT)})
_TIMED_OUT = Spec(m.TimedOut, {"index": p.INDEX, "deadline": p.TIME}, {"deadline": "deadline_ms"})
_REESTABLISH = Spec(
    m.Reestablish,
    {"last_received": p.COUNT, "last_issued": p.COUNT, "held": Maybe(Sub(p.SIGNED_SNAPSHOT))},
)
_ASK_EXTENSION = Spec(m.AskExtension, {"index": p.INDEX, "timeout": p.TIME}, {"timeout": "timeout_ms"})
_ASK_RESOLUTION = Spec(m.AskResolution, {"index": p.INDEX})
_CLOSING = Spec(m.Closing, {"now": One(Flag()), "code": _CODE})
_PAYOUT = Spec(m.EndPayout, {"address": p.ADDRESS})
_PROPOSE = Spec(m.ProposeEnd, {"terms": Sub(p.END_TERMS)})
_END_SIGNATURE = Spec(m.EndSignature, {"signature": p.SIGNATURE})
_REFUSE_END = Spec(m.RefuseEnd, {"code": _CODE, "detail": _DETAIL})
_FAILED = Spec(m.ChannelFailed, {"code": _CODE, "detail": _DETAIL})

_MUST, _MAY = Presence.MUST, Presence.MAY
BODIES = (
    # asked before there is a channel
    Body("query_terms", Spec(m.QueryTerms, {}), _MAY, _MAY, Turn.STARTS),
    Body("terms", _TERMS, _MAY, _MAY, Turn.ANSWERS),
    Body("open_channel", _OPEN, _MUST, _MAY, Turn.STARTS),
    Body("accept_channel", _ACCEPT, _MUST, _MAY, Turn.ANSWERS),
    Body("refuse_channel", _REFUSE, _MUST, _MAY, Turn.ANSWERS),
    # idempotent statements, told apart by index and snapshot: a conversation adds nothing to them
    Body("staged", _STAGED, _MUST, _MAY),
    Body("add_cheque", _ADD, _MUST, _MAY),
    Body("fulfil", _FULFIL, _MUST, _MAY),
    Body("cancel", _CANCEL, _MUST, _MAY),
    Body("squashed", _SQUASHED, _MUST, _MAY),
    Body("timed_out", _TIMED_OUT, _MUST, _MAY),
    Body("reestablish", _REESTABLISH, _MUST, _MAY),
    Body("ask_extension", _ASK_EXTENSION, _MUST, _MAY),
    Body("ask_resolution", _ASK_RESOLUTION, _MUST, _MAY),
    Body("closing", _CLOSING, _MUST, _MAY),
    Body("channel_failed", _FAILED, _MUST, _MAY),
    Body("end_query", Spec(m.EndQuery, {}), _MUST, _MAY),
    Body("end_payout", _PAYOUT, _MUST, _MAY),
    Body("propose_end", _PROPOSE, _MUST, _MAY),
    Body("end_signature", _END_SIGNATURE, _MUST, _MAY),
    Body("refuse_end", _REFUSE_END, _MUST, _MAY),
)
