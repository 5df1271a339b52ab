"""The session: init first, what fits, pings, parity; one code for each breach."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cl.data.types import ChannelId
from gateway.cl.wire import codec, session
from gateway.cl.wire import session_messages as m
from gateway.cl.wire.codec import Envelope
from gateway.cl.wire.session import AwaitInit, Connected, Cut, Deliver, Ended, Noted, Output, Ready, Transmit
from gateway.cl.wire.swap_messages import SwapPhase, SwapRefused, SwapStatus, SwapStatusRequest
from gateway.errors import Rejection
from gateway.hashlock import Hashlock
from gateway.units import Ms, PosixMs

T0 = PosixMs(1_700_000_000_000)
INIT = m.Init(m.VERSION, 42, "regtest", (b"\x01" * 28, b"\x02" * 28), frozenset({m.SWAPS}), "a test")
HASH = Hashlock(b"\x05" * 32)
CHANNEL = ChannelId(bytes(20))


def local(initiator: bool = True, **changes: object) -> session.Local:
    return session.Local(replace(INIT, **changes), initiator)  # type: ignore[arg-type]


def raw(message: object, conversation: int | None = None, channel: ChannelId | None = None) -> bytes:
    return codec.encode(Envelope(message, channel, conversation))


def ready(initiator: bool = True) -> Ready:
    state, _ = session.start(local(initiator), T0)
    state, _ = session.receive(state, raw(INIT), T0)
    assert isinstance(state, Ready)
    return state


def sent(outputs: tuple[Output, ...]) -> list[object]:
    messages = []
    for one in outputs:
        if isinstance(one, Transmit):
            envelope = codec.decode(one.raw)
            assert isinstance(envelope, Envelope)
            messages.append(envelope.message)
    return messages


def cut_with(state: session.State, outputs: tuple[Output, ...]) -> str:
    """The session ended, and the peer was told the same code."""
    assert isinstance(state, Ended)
    (last,) = [one for one in outputs if isinstance(one, Cut)]
    assert last.rejection == state.why
    (told,) = sent(outputs)
    assert isinstance(told, m.Error)
    assert told.code == state.why.code
    return state.why.code


def test_init_goes_out_first_and_connects() -> None:
    state, outputs = session.start(local(), T0)
    assert sent(outputs) == [INIT]
    assert isinstance(session.send(state, Envelope(m.Error("a"))), Rejection)
    theirs = replace(INIT, validators=(b"\x02" * 28,), features=frozenset({1, 333}))
    state, outputs = session.receive(state, raw(theirs), T0)
    assert outputs == (Connected(theirs),)
    assert isinstance(state, Ready)
    assert session.send(state, Envelope(m.Error("a"))) == raw(m.Error("a"))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": 2}, "cl.session.version"),
        ({"version": 0}, "cl.session.version"),
        ({"cardano_magic": 764824073}, "cl.session.network"),
        ({"bitcoin_network": "mainnet"}, "cl.session.network"),
        ({"validators": ()}, "cl.session.validator"),
        ({"validators": (b"\x09" * 28,)}, "cl.session.validator"),
        ({"features": frozenset({4})}, "cl.session.feature"),
    ],
)
def test_init_that_does_not_fit(changes: dict[str, object], code: str) -> None:
    state, _ = session.start(local(), T0)
    assert cut_with(*session.receive(state, raw(replace(INIT, **changes)), T0)) == code  # type: ignore[arg-type]


def test_features() -> None:
    ours = session.Local(replace(INIT, features=frozenset({2})), True, frozenset({0, 2}))
    assert session.judge_init(ours, replace(INIT, features=frozenset({2}))) is None
    assert session.judge_init(ours, replace(INIT, features=frozenset({3, 0}))) is None
    missing = session.judge_init(ours, replace(INIT, features=frozenset()))
    assert missing is not None
    assert missing.allowed == "bit 2 or 3"
    unknown = session.judge_init(ours, replace(INIT, features=frozenset({2, 8})))
    assert unknown is not None
    assert unknown.got == "bit 8 required"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (raw(m.Ping(1)), "cl.session.init_expected"),
        (raw(m.Warning("x")), "cl.session.init_expected"),
        (raw(SwapStatusRequest(HASH), 1, CHANNEL), "cl.session.init_expected"),
        (raw(INIT)[:-1], "cl.wire.truncated"),
        (b"GET / HTTP/1.1\r\n", "cl.wire.malformed"),
        (b"", "cl.wire.unknown_type"),
    ],
)
def test_anything_before_init(first: bytes, code: str) -> None:
    state, _ = session.start(local(), T0)
    assert cut_with(*session.receive(state, first, T0)) == code


def test_the_peer_refuses_our_init() -> None:
    state, _ = session.start(local(), T0)
    state, outputs = session.receive(state, raw(m.Error("cl.session.network", "other")), T0)
    assert isinstance(state, Ended)
    assert [type(one) for one in outputs] == [Deliver, Cut]
    assert state.why.got == "cl.session.network"


def test_init_in_time() -> None:
    state, _ = session.start(local(), T0)
    assert session.tick(state, T0 + Ms(15_000), 1) == (state, ())
    assert cut_with(*session.tick(state, T0 + Ms(15_001), 1)) == "cl.session.init_expected"


def test_init_twice() -> None:
    assert cut_with(*session.receive(ready(), raw(INIT), T0)) == "cl.session.init_repeated"


def test_ping_is_answered_with_what_it_asks() -> None:
    state, outputs = session.receive(ready(), raw(m.Ping(9, 3, b"pad")), T0)
    assert sent(outputs) == [m.Pong(9, bytes(3))]
    assert isinstance(state, Ready)


def test_pings_of_ours() -> None:
    state: session.State = ready()
    assert session.tick(state, T0 + Ms(44_999), 5) == (state, ())
    at = T0 + Ms(45_000)
    state, outputs = session.tick(state, at, 5)
    assert sent(outputs) == [m.Ping(5)]
    assert session.tick(state, at + Ms(30_000), 6) == (state, ())  # one at a time
    answered, outputs = session.receive(state, raw(m.Pong(5)), at + Ms(10))
    assert outputs == ()
    assert isinstance(answered, Ready)
    assert answered.outstanding == ()
    assert cut_with(*session.tick(state, at + Ms(30_001), 6)) == "cl.session.pong_late"


@pytest.mark.parametrize("pong", [m.Pong(6), m.Pong(5, b"x")])
def test_pong_that_answers_nothing(pong: m.Pong) -> None:
    assert cut_with(*session.receive(ready(), raw(pong), T0)) == "cl.session.pong_unasked"
    asked, _ = session.tick(ready(), T0 + Ms(45_000), 5)
    assert cut_with(*session.receive(asked, raw(pong), T0 + Ms(45_001))) == "cl.session.pong_unasked"


def test_a_pong_counts_once() -> None:
    asked, _ = session.tick(ready(), T0 + Ms(45_000), 5)
    state, _ = session.receive(asked, raw(m.Pong(5)), T0 + Ms(45_001))
    assert cut_with(*session.receive(state, raw(m.Pong(5)), T0 + Ms(45_002))) == "cl.session.pong_unasked"


def test_ping_flood() -> None:
    state: session.State = ready()
    for number in range(30):
        state, outputs = session.receive(state, raw(m.Ping(number)), T0)
        assert len(sent(outputs)) == 1
    assert cut_with(*session.receive(state, raw(m.Ping(99)), T0 + Ms(60_000))) == "cl.session.ping_flood"
    state, outputs = session.receive(state, raw(m.Ping(99)), T0 + Ms(60_001))  # a new window
    assert len(sent(outputs)) == 1


@pytest.mark.threat("P13")
@pytest.mark.kind("SM")
@pytest.mark.parametrize("initiator", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_conversation_parity(initiator: bool, number: int) -> None:
    """The connection's initiator starts even conversations, the other side odd ones."""
    ours = number % 2 == (0 if initiator else 1)
    question = raw(SwapStatusRequest(HASH), number, CHANNEL)
    answer = raw(SwapRefused(HASH, "a.b"), number, CHANNEL)
    either = raw(SwapStatus(HASH, SwapPhase.DONE), number, CHANNEL)
    for message, fits in ((question, not ours), (answer, ours), (either, True)):
        state, outputs = session.receive(ready(initiator), message, T0)
        assert isinstance(state, Ready)
        if fits:
            assert outputs == (Deliver(codec.decode(message)),)
            assert state.breaches == 0
        else:
            assert isinstance(outputs[0], Noted)
            assert outputs[0].rejection.code == "cl.session.conversation_parity"
            assert [type(told) for told in sent(outputs)] == [m.Warning]
            assert state.breaches == 1


def test_conversations_of_ours() -> None:
    for initiator, numbers in ((True, [0, 2, 4]), (False, [1, 3, 5])):
        state, got = ready(initiator), []
        for _ in numbers:
            state, number = session.open_conversation(state)
            got.append(number)
        assert got == numbers


def test_bad_messages_are_dropped_and_counted() -> None:
    state: session.State = ready()
    for _ in range(20):
        state, outputs = session.receive(state, b"\x8a", T0)
        assert isinstance(outputs[0], Noted)
        (told,) = sent(outputs)
        assert isinstance(told, m.Warning)
        assert told.code == "cl.wire.truncated"
    state, outputs = session.receive(state, raw(m.Error("a.b", "still heard"), None, CHANNEL), T0)
    assert isinstance(outputs[0], Deliver)
    assert cut_with(*session.receive(state, b"\x8a", T0)) == "cl.session.breaches"


def test_a_bad_warning_is_not_answered_for_ever() -> None:
    """Two sessions that misread each other's warnings stop within the limit of breaches."""
    left: session.State = ready(True)
    right: session.State = ready(False)
    pending, turns = [b"\x8a"], 0
    while pending and turns < 1_000:
        turns += 1
        spoiled = pending.pop()[:-1]
        left, outputs = session.receive(left, spoiled, T0)
        pending = [one.raw for one in outputs if isinstance(one, Transmit)]
        left, right = right, left
    assert turns < 60


def test_ended_is_deaf() -> None:
    ended, _ = session.receive(ready(), raw(INIT), T0)
    assert session.receive(ended, raw(m.Ping(1)), T0) == (ended, ())
    assert session.tick(ended, T0 + Ms(10**9), 1) == (ended, ())
    assert isinstance(session.send(ended, Envelope(m.Error("a"))), Rejection)


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    raw(INIT),
                    raw(m.Ping(1, 10)),
                    raw(m.Pong(1)),
                    raw(m.Error("x")),
                    raw(m.Warning("x"), 3, CHANNEL),
                    raw(SwapStatusRequest(HASH), 0, CHANNEL),
                    raw(SwapStatusRequest(HASH), 1, CHANNEL),
                ]
            ),
            st.integers(0, 60_000),
        ),
        max_size=60,
    ),
)
def test_any_sequence(initiator: bool, script: list[bytes | int]) -> None:
    """Never raises; connects once at most; nothing is delivered before init but a refusal, nothing after the end."""
    state, _ = session.start(local(initiator), T0)
    now, seen = T0, []
    for one in script:
        was = state
        if isinstance(one, int):
            now = now + Ms(one)
            state, outputs = session.tick(state, now, 1)
        else:
            state, outputs = session.receive(state, one, now)
        if isinstance(was, Ended):
            assert outputs == ()
        if isinstance(was, AwaitInit) and any(isinstance(o, Deliver) for o in outputs):
            assert isinstance(state, Ended)
        assert isinstance(state, Ended) == (
            isinstance(was, Ended) or any(isinstance(o, Cut) for o in outputs)
        )
        seen += outputs
    assert sum(isinstance(o, Connected) for o in seen) <= 1
    assert sum(isinstance(o, Cut) for o in seen) <= 1
