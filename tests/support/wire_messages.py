"""Hypothesis strategies and one fixed example for every wire message, derived from the codec's own tables."""

import dataclasses
from typing import Any

from hypothesis import strategies as st

from gateway.cl.data.types import ChannelId
from gateway.cl.wire import codec
from gateway.cl.wire.codec import Envelope
from gateway.cl.wire.fields import Bytes, Choice, Flag, Int, Kind, Many, Maybe, One, Spec, Sub, SubMany, Text
from gateway.cl.wire.scope import Body, Presence


def _scalar(scalar: Any) -> st.SearchStrategy[Any]:
    match scalar:
        case Int(wrap, least, most):
            return st.integers(least, most).map(wrap)
        case Bytes(least, most, wrap):
            raw = st.binary(min_size=least, max_size=min(most, 300))
            return raw if wrap is None else raw.map(wrap)
        case Text(most):
            return st.text(st.characters(exclude_categories=("Cs",)), max_size=min(most // 4, 60))
        case Choice(members):
            return st.sampled_from(list(members))
        case Flag():
            return st.booleans()
    raise TypeError(type(scalar))


def of_kind(kind: Kind) -> st.SearchStrategy[Any]:
    match kind:
        case One(scalar):
            return _scalar(scalar)
        case Maybe(inner, absent):
            return st.one_of(st.just(absent), of_kind(inner))
        case Many(scalar, most, wrap):
            return st.lists(_scalar(scalar), max_size=min(most, 5)).map(lambda found: wrap(tuple(found)))
        case Sub(spec):
            return of_spec(spec)
        case SubMany(spec, most):
            return st.lists(of_spec(spec), max_size=min(most, 3)).map(tuple)
    raise TypeError(type(kind))


def of_spec(spec: Spec) -> st.SearchStrategy[Any]:
    def build(given: dict[str, Any]) -> Any:
        try:
            return spec.cls(**given)
        except ValueError:
            return None

    fields = st.fixed_dictionaries({name: of_kind(kind) for name, kind in spec.fields.items()})
    return fields.map(build).filter(lambda made: made is not None)


def _there(presence: Presence, value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    if presence is Presence.MUST_NOT:
        return st.none()
    return value if presence is Presence.MUST else st.one_of(st.none(), value)


def envelopes(body: Body) -> st.SearchStrategy[Envelope]:
    return st.builds(
        Envelope,
        message=of_spec(body.spec),
        channel=_there(body.channel, st.binary(min_size=20, max_size=20).map(ChannelId)),
        conversation=_there(body.conversation, st.integers(0, codec.MAX_CONVERSATION)),
    )


def _fixed_scalar(scalar: Any, seed: int) -> Any:
    match scalar:
        case Int(wrap, least, most):
            return wrap(min(most, max(least, 1_000 + seed)))
        case Bytes(least, most, wrap):
            raw = bytes((seed + i) % 256 for i in range(max(least, min(most, 4))))
            return raw if wrap is None else wrap(raw)
        case Text():
            return f"text {seed}"
        case Choice(members):
            return list(members)[seed % len(members)]
        case Flag():
            return seed % 2 == 1
    raise TypeError(type(scalar))


def _fixed_kind(kind: Kind, seed: int) -> Any:
    match kind:
        case One(scalar):
            return _fixed_scalar(scalar, seed)
        case Maybe(inner):
            return _fixed_kind(inner, seed)
        case Many(scalar, most, wrap):
            return wrap(tuple(_fixed_scalar(scalar, seed + i) for i in range(min(2, most))))
        case Sub(spec):
            return fixed_message(spec, seed)
        case SubMany(spec, most):
            return tuple(fixed_message(spec, seed + 10 * i) for i in range(min(2, most)))
    raise TypeError(type(kind))


def fixed_message(spec: Spec, seed: int = 1) -> Any:
    """Every field set, the same for ever: what the golden bytes are made of."""
    return spec.cls(**{n: _fixed_kind(k, seed + at) for at, (n, k) in enumerate(spec.fields.items())})


def fixed_envelope(body: Body) -> Envelope:
    return Envelope(
        fixed_message(body.spec),
        None if body.channel is Presence.MUST_NOT else ChannelId(bytes(range(20))),
        None if body.conversation is Presence.MUST_NOT else 6,
    )


def is_covered(body: Body) -> bool:
    """Every attribute of the dataclass has a form on the wire."""
    return {f.name for f in dataclasses.fields(body.spec.cls)} == set(body.spec.fields)
