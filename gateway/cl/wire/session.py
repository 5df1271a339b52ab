"""R2. One connection's session: init first, then messages; pings; who may start which conversation.

Pure: bytes, times and nonces in; new state and outputs out. The shell owns the connection and
performs the outputs in order. A session lives as long as its connection and is never stored.

    AwaitInit --init that fits--> Ready --breach or silence--> Ended
    AwaitInit --anything else, or too late--> Ended

One breach gives one code: the peer is told by Warning (the message is dropped, the session
goes on) or by Error and a cut. Ended ignores every input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from gateway.cl.wire import codec, errors
from gateway.cl.wire import session_messages as m
from gateway.cl.wire.codec import Envelope
from gateway.cl.wire.scope import Turn
from gateway.errors import Rejection
from gateway.units import Ms, PosixMs


@dataclass(frozen=True, slots=True)
class Timing:
    """`pings` is how many pings the peer may send within `ping_window`."""

    init_within: Ms = Ms(15_000)
    ping_every: Ms = Ms(45_000)
    pong_within: Ms = Ms(30_000)
    ping_window: Ms = Ms(60_000)
    pings: int = 30
    breaches: int = 20  # bad messages on one connection before it is cut


@dataclass(frozen=True, slots=True)
class Local:
    """What this node says and asks. `known` are the even feature bits that it can honour."""

    init: m.Init
    initiator: bool
    known: frozenset[int] = frozenset()
    timing: Timing = Timing()


@dataclass(frozen=True, slots=True)
class AwaitInit:
    local: Local
    since: PosixMs


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A ping of ours without its pong."""

    nonce: int
    sent: PosixMs


@dataclass(frozen=True, slots=True)
class Ready:
    local: Local
    remote: m.Init
    next_conversation: int  # ours: even for the connection's initiator, odd for the other
    last_ping: PosixMs
    outstanding: tuple[Outstanding, ...] = ()
    window_began: PosixMs = PosixMs(0)
    pings_seen: int = 0
    breaches: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    why: Rejection


State: TypeAlias = AwaitInit | Ready | Ended


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send these bytes to the peer."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """The peer fits; channels and swaps may speak from now on."""

    remote: m.Init


@dataclass(frozen=True, slots=True)
class Deliver:
    """A checked message (never init, ping or pong) for the channel, swap or log that it names."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Noted:
    """A bad message was dropped and the peer warned."""

    rejection: Rejection


@dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection."""

    rejection: Rejection


Output: TypeAlias = Transmit | Connected | Deliver | Noted | Cut
Step: TypeAlias = tuple[State, tuple[Output, ...]]


def start(local: Local, now: PosixMs) -> Step:
    """A connection has been made: init goes out at once."""
    return AwaitInit(local, now), (_transmit(local.init),)


def receive(state: State, raw: bytes, now: PosixMs) -> Step:
    """One message of the peer's, however bad."""
    if isinstance(state, Ended):
        return state, ()
    envelope = codec.decode(raw)
    if isinstance(state, AwaitInit):
        return _first(state, envelope, now)
    if isinstance(envelope, Rejection):
        return _breach(state, envelope)
    return _message(state, envelope, now)


def tick(state: State, now: PosixMs, nonce: int) -> Step:
    """Time passes: call it every few seconds with a fresh random 63-bit nonce."""
    if isinstance(state, AwaitInit):
        if now - state.since > state.local.timing.init_within:
            allowed = f"within {state.local.timing.init_within.value} ms"
            return _cut(errors.INIT_EXPECTED(field="init", got="nothing", allowed=allowed))
    elif isinstance(state, Ready):
        timing = state.local.timing
        if any(now - ping.sent > timing.pong_within for ping in state.outstanding):
            return _cut(errors.PONG_LATE(field="pong", allowed=f"within {timing.pong_within.value} ms"))
        if not state.outstanding and now - state.last_ping >= timing.ping_every:
            asked = replace(state, last_ping=now, outstanding=(Outstanding(nonce, now),))
            return asked, (_transmit(m.Ping(nonce)),)
    return state, ()


def send(state: State, envelope: Envelope) -> bytes | Rejection:
    """The bytes of a message of ours; refused until the peer has introduced itself (cl.session.not_ready)."""
    match state:
        case Ready():
            return codec.encode(envelope)
        case AwaitInit():
            return errors.NOT_READY()
        case Ended(why):
            return why


def open_conversation(state: Ready) -> tuple[Ready, int]:
    """A number for a conversation that we start."""
    number = state.next_conversation
    return replace(state, next_conversation=number + 2), number


def judge_init(local: Local, remote: m.Init) -> Rejection | None:
    """Whether the two can work together at all."""
    ours = local.init
    if remote.version != ours.version:
        return errors.VERSION(field="version", got=remote.version, allowed=ours.version)
    if remote.cardano_magic != ours.cardano_magic:
        return errors.NETWORK(field="cardano_magic", got=remote.cardano_magic, allowed=ours.cardano_magic)
    if remote.bitcoin_network != ours.bitcoin_network:
        return errors.NETWORK(
            field="bitcoin_network", got=remote.bitcoin_network, allowed=ours.bitcoin_network
        )
    if not set(remote.validators) & set(ours.validators):
        allowed = ", ".join(v.hex() for v in ours.validators)
        return errors.VALIDATOR(field="validators", got=f"{len(remote.validators)} others", allowed=allowed)
    for bit in sorted(remote.features):  # an even bit of theirs: we must know it (BOLT 9)
        if bit % 2 == 0 and bit not in local.known:
            return errors.FEATURE(field="features", got=f"bit {bit} required", allowed="known bits")
    for bit in sorted(ours.features):  # an even bit of ours: they must offer it
        if bit % 2 == 0 and not {bit, bit + 1} & remote.features:
            return errors.FEATURE(field="features", got="not offered", allowed=f"bit {bit} or {bit + 1}")
    return None


def _transmit(message: m.SessionMessage) -> Transmit:
    return Transmit(codec.encode(Envelope(message)))


def _cut(why: Rejection, *before: Output) -> Step:
    """Tells the peer, then ends."""
    return Ended(why), (*before, _transmit(m.Error(why.code, str(why))), Cut(why))


def _first(state: AwaitInit, envelope: Envelope | Rejection, now: PosixMs) -> Step:
    if isinstance(envelope, Rejection):
        return _cut(envelope)
    match envelope.message:
        case m.Init() as remote:
            refusal = judge_init(state.local, remote)
            if refusal is not None:
                return _cut(refusal)
            number = 0 if state.local.initiator else 1
            return Ready(state.local, remote, number, now, window_began=now), (Connected(remote),)
        case m.Error(code, text):  # the peer refuses our init: its word is final
            why = errors.INIT_EXPECTED(field="init", got=code, detail=text)
            return Ended(why), (Deliver(envelope), Cut(why))
        case _:
            return _cut(errors.INIT_EXPECTED(field="init", got=type(envelope.message).__name__))


def _breach(state: Ready, why: Rejection) -> Step:
    count = state.breaches + 1
    if count > state.local.timing.breaches:
        return _cut(errors.TOO_MANY_BREACHES(got=count, allowed=state.local.timing.breaches, detail=why.code))
    return replace(state, breaches=count), (Noted(why), _transmit(m.Warning(why.code, str(why))))


def _message(state: Ready, envelope: Envelope, now: PosixMs) -> Step:
    match envelope.message:
        case m.Init():
            return _cut(errors.INIT_REPEATED(field="init"))
        case m.Ping() as ping:
            return _ping(state, ping, now)
        case m.Pong(nonce, padding):
            if padding or not any(ping.nonce == nonce for ping in state.outstanding):
                return _cut(errors.PONG_UNASKED(field="nonce", got=nonce))
            return replace(state, outstanding=()), ()
        case _:
            refusal = _judge_turn(state, envelope)
            return _breach(state, refusal) if refusal is not None else (state, (Deliver(envelope),))


def _ping(state: Ready, ping: m.Ping, now: PosixMs) -> Step:
    timing = state.local.timing
    fresh = now - state.window_began > timing.ping_window
    began, seen = (now, 1) if fresh else (state.window_began, state.pings_seen + 1)
    if seen > timing.pings:
        return _cut(errors.PING_FLOOD(got=seen, allowed=f"{timing.pings} in {timing.ping_window.value} ms"))
    answer = m.Pong(ping.nonce, bytes(ping.pong_bytes))
    return replace(state, window_began=began, pings_seen=seen), (_transmit(answer),)


def _judge_turn(state: Ready, envelope: Envelope) -> Rejection | None:
    """P13: a started conversation carries the starter's parity, an answer that of who asked."""
    number, turn = envelope.conversation, codec.BODIES[type(envelope.message)].turn
    if number is None or turn is Turn.ANY:
        return None
    started_by_us = number % 2 == (0 if state.local.initiator else 1)
    if started_by_us != (turn is Turn.ANSWERS):
        parity = "even" if state.local.initiator == (turn is Turn.ANSWERS) else "odd"
        return errors.PARITY(field="conversation", got=number, allowed=parity)
    return None
