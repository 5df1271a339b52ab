"""Two BOLT 8 sessions that have shaken hands, without any network."""

from gateway.bolt import bolt8, crypto
from gateway.errors import Rejection

INITIATOR_KEY, RESPONDER_KEY = b"\x11" * 32, b"\x21" * 32
INITIATOR, RESPONDER = crypto.public_key(INITIATOR_KEY), crypto.public_key(RESPONDER_KEY)


def ecdh(secret: bytes, point: bytes) -> bytes:
    shared = crypto.ecdh(secret, point)
    assert shared is not None
    return shared


def sessions(ephemeral: bytes = b"\x12" * 32) -> tuple[bolt8.Session, bolt8.Session]:
    started = bolt8.start_initiator(RESPONDER, INITIATOR, ephemeral)
    assert not isinstance(started, Rejection)
    act_one, wait_two = started
    asked = bolt8.start_responder(RESPONDER, b"\x22" * 32).feed(act_one)
    assert not isinstance(asked, Rejection)
    answered = asked.provide(ecdh(RESPONDER_KEY, asked.point))
    assert not isinstance(answered, Rejection)
    act_two, wait_three = answered
    second = wait_two.feed(act_two)
    assert not isinstance(second, Rejection)
    ours = second.provide(ecdh(INITIATOR_KEY, second.point))
    theirs = wait_three.feed(ours.output)
    assert not isinstance(theirs, Rejection)
    return ours.session, theirs.session
