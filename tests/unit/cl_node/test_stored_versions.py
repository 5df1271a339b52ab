"""Records of an earlier version of a channel's store are read as what they meant."""

from __future__ import annotations

import json

import pytest

from gateway.cl.channel import events as e
from gateway.cl.channel import inputs as i
from gateway.cl.channel import state as s
from gateway.cl.node import codecs as channel_codecs
from gateway.store.codec import Codecs
from tests.support.channel_pair import Pair

pytestmark = pytest.mark.kind("CR")


def _first_version(raw: bytes) -> bytes:
    document = json.loads(raw)
    assert document["v"] == 2
    document["v"] = 1
    del document["d"]["by_us"]
    return json.dumps(document).encode()


def test_a_drain_that_did_not_say_whose_wish_it_was_builds_no_common_end() -> None:
    codecs = Codecs()
    channel_codecs.register(codecs)
    end = Pair.open().ends[0]
    end.feed(i.CloseAsked(False, "the owner asked"))
    assert isinstance(end.state, s.Draining)
    assert end.state.by_us
    old = codecs.decode(_first_version(codecs.encode(end.state)))
    assert isinstance(old, s.Draining)
    assert not old.by_us
    assert (old.books, old.output, old.reason) == (end.state.books, end.state.output, end.state.reason)
    event = codecs.decode(_first_version(codecs.encode(e.DrainStarted("the owner asked", True))))
    assert event == e.DrainStarted("the owner asked", False)


def test_every_state_of_a_common_end_is_read_as_it_was_written() -> None:
    codecs = Codecs()
    channel_codecs.register(codecs)
    pair = Pair.open()
    pair.ends[0].feed(i.CloseAsked(False, "the owner asked"))
    pair.settle()
    pair.tick()
    seen = {type(end.state) for end in pair.ends}
    while pair.deliver(0) | pair.deliver(1):
        for end in pair.ends:
            seen.add(type(end.state))
            assert codecs.decode(codecs.encode(end.state)) == end.state
    assert seen >= {s.Ending, s.EndProposed, s.EndSigned, s.EndHeld}
    for end in pair.ends:
        for event in end.log:
            assert codecs.decode(codecs.encode(event)) == event
