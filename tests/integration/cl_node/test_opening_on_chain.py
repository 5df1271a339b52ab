"""Opening a channel between real nodes: terms are asked first, the peer hears what was staged, its chain decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from gateway.cl.channel import messages as m
from gateway.cl.channel import state as s
from gateway.errors import Refused
from gateway.units import Lovelace, Ms
from tests.support.cl_node import ADA, World, two_sides

pytestmark = [pytest.mark.devnet, pytest.mark.node]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with two_sides(tmp_path) as made:
        yield made


async def test_a_proposal_that_the_peer_would_refuse_is_never_made(world: World) -> None:
    """And the owner hears the field at once; the output that would have been its seed stays free."""
    bob = world.bob.channels
    bob.policy = replace(bob.policy, least_funding=Lovelace(200 * ADA), respond_period=Ms(900_000))
    for amount, field in ((100 * ADA, "amount_lovelace"), (250 * ADA, "respond_period_ms")):
        with pytest.raises(Refused) as caught:
            await world.alice.channels.open(world.bob.node_id, Lovelace(amount), Lovelace(0), None)
        assert caught.value.rejection.code == "cl.open.terms"
        assert caught.value.rejection.field == field
    assert world.alice.channels.states() == {}
    period = Ms(900_000)
    channel = await world.alice.channels.open(world.bob.node_id, Lovelace(250 * ADA), Lovelace(0), period)
    assert isinstance(world.alice.state(channel), (s.Proposing, s.Funding))


async def test_the_opener_says_which_output_it_staged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    hear = world.bob.channels.peer_message

    async def noted(node_id: bytes, envelope: Any) -> None:
        said.append(envelope.message)
        await hear(node_id, envelope)

    monkeypatch.setattr(world.bob.channels, "peer_message", noted)
    with capture_logs():
        channel = await world.open()
    staged = [one for one in said if isinstance(one, m.Staged)]
    state = world.bob.state(channel)
    assert isinstance(state, s.Normal)
    assert staged
    assert {one.funding for one in staged} == {state.output.ref}
