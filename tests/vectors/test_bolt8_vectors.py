"""BOLT 8, appendix A: every handshake case and the message encryption with two key rotations."""

import json
from pathlib import Path

import pytest

from gateway.bolt import bolt8, crypto
from gateway.errors import Rejection

VECTORS = json.loads((Path(__file__).parent / "bolt8.json").read_text())
REASONS = {
    "READ_FAILED": "bolt8.handshake.short",
    "BAD_VERSION": "bolt8.handshake.version",
    "BAD_PUBKEY": "bolt8.handshake.key",
    "BAD_TAG": "bolt8.handshake.mac",
    "BAD_CIPHERTEXT": "bolt8.handshake.mac",
}


def _node_ecdh(case: dict, point: bytes) -> bytes:
    shared = crypto.ecdh(bytes.fromhex(case["ls.priv"]), point)
    assert shared is not None
    return shared


def _initiate(case: dict) -> list[list[str]]:
    """What an initiator does with the case's inputs, in the form of its steps."""
    started = bolt8.start_initiator(
        bytes.fromhex(case["rs.pub"]), bytes.fromhex(case["ls.pub"]), bytes.fromhex(case["e.priv"])
    )
    assert not isinstance(started, Rejection)
    act_one, state = started
    did = [["output", act_one.hex()]]
    (act_two,) = [s[1] for s in case["steps"] if s[0] == "input"]
    did.append(["input", act_two])
    asked = state.feed(bytes.fromhex(act_two))
    if isinstance(asked, Rejection):
        return [*did, ["error", asked.code]]
    done = asked.provide(_node_ecdh(case, asked.point))
    return [*did, ["output", done.output.hex()], _keys(done.session, initiator=True)]


def _respond(case: dict) -> list[list[str]]:
    state = bolt8.start_responder(bytes.fromhex(case["ls.pub"]), bytes.fromhex(case["e.priv"]))
    inputs = [s[1] for s in case["steps"] if s[0] == "input"]
    did = [["input", inputs[0]]]
    asked = state.feed(bytes.fromhex(inputs[0]))
    if isinstance(asked, Rejection):
        return [*did, ["error", asked.code]]
    answered = asked.provide(_node_ecdh(case, asked.point))
    if isinstance(answered, Rejection):
        return [*did, ["error", answered.code]]
    act_two, third = answered
    did += [["output", act_two.hex()], ["input", inputs[1]]]
    done = third.feed(bytes.fromhex(inputs[1]))
    if isinstance(done, Rejection):
        return [*did, ["error", done.code]]
    assert done.session.remote_static.hex() == (
        "034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
    )
    return [*did, _keys(done.session, initiator=False)]


def _keys(session: bolt8.Session, initiator: bool) -> list[str]:
    """The document prints the initiator's sending key first on both sides."""
    send, receive = session._send._key.hex(), session._receive._key.hex()
    return ["keys", send, receive] if initiator else ["keys", receive, send]


@pytest.mark.parametrize("case", VECTORS["handshakes"], ids=lambda c: c["name"])
def test_handshake(case: dict) -> None:
    did = _initiate(case) if "initiator" in case["name"] else _respond(case)
    expected = [["error", REASONS[s[1].split("_", 1)[1]]] if s[0] == "error" else s for s in case["steps"]]
    assert did == expected


def test_vectors_are_complete() -> None:
    assert len(VECTORS["handshakes"]) == 15
    assert sorted(map(int, VECTORS["messages"]["outputs"])) == [0, 1, 500, 501, 1000, 1001]


def test_message_encryption_and_rotation() -> None:
    given = VECTORS["messages"]
    chain, send, receive = (bytes.fromhex(given[k]) for k in ("ck", "sk", "rk"))
    out = bolt8.Session(b"", bolt8.CipherState(chain, send), bolt8.CipherState(chain, receive))
    back = bolt8.Session(b"", bolt8.CipherState(chain, receive), bolt8.CipherState(chain, send))
    for number in range(given["count"]):
        frame = out.seal(given["plaintext"].encode())
        assert isinstance(frame, bytes)
        expected = given["outputs"].get(str(number))
        assert expected is None or frame.hex() == expected, number
        back.feed(frame)
        assert back.take() == given["plaintext"].encode()
        assert back.take() is None
