"""R2. The forms of the connection's own messages."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.cl.wire import session_messages as m
from gateway.cl.wire.fields import Bytes, Int, Kind, Many, Maybe, One, Spec, Text, exactly
from gateway.cl.wire.scope import Body, Presence

MAX_PADDING = 60_000
CODE = Text(80)
PROSE = Text(1_000)


def optional_text(most: int) -> Kind:
    return Maybe(One(Text(most)), "")


def _rising(bits: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(bits))


_INIT = Spec(
    m.Init,
    {
        "version": One(Int(most=0xFFFF_FFFF)),
        "cardano_magic": One(Int(most=0xFFFF_FFFF)),
        "bitcoin_network": One(Text(20, cut=False)),
        "validators": Many(exactly(28), 32),
        "features": Many(Int(most=4_095), 128, frozenset, _rising),
        "software": optional_text(100),
    },
)
_PING = Spec(
    m.Ping,
    {
        "nonce": One(Int()),
        "pong_bytes": Maybe(One(Int(most=MAX_PADDING)), 0),
        "padding": Maybe(One(Bytes(0, MAX_PADDING)), b""),
    },
)
_PONG = Spec(m.Pong, {"nonce": One(Int()), "padding": Maybe(One(Bytes(0, MAX_PADDING)), b"")})
_ERROR = Spec(m.Error, {"code": One(CODE), "text": Maybe(One(PROSE), "")})
_WARNING = Spec(m.Warning, {"code": One(CODE), "text": Maybe(One(PROSE), "")})

_NO, _MAY = Presence.MUST_NOT, Presence.MAY
BODIES = (
    Body("init", _INIT, _NO, _NO),
    Body("ping", _PING, _NO, _NO),
    Body("pong", _PONG, _NO, _NO),
    Body("error", _ERROR, _MAY, _MAY),
    Body("warning", _WARNING, _MAY, _MAY),
)
