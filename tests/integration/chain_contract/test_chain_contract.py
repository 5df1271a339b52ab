"""What ChainReader, ChainFollower and ChainSubmitter promise, by every production adapter on the devnet.

Written against the ports: another provider's adapter is added to `KINDS` and must pass it all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

import pytest

from gateway.cl.chain.address import address_text
from gateway.cl.chain.clock import ChainClock
from gateway.cl.chain.eras import slot_at, time_of
from gateway.cl.chain.follower import Backoff, Follower
from gateway.cl.chain.points import ORIGIN
from gateway.cl.chain.txcbor import transaction_id
from gateway.cl.chain.view import Back, ChannelCreated, ChannelSpent, Deep, Step, View
from gateway.cl.data.codec import BOLT_TOKEN
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import (
    ChainEvent,
    ChainProvider,
    Point,
    RollBackward,
    RollForward,
    SubmitRefused,
    Submitted,
    SubmitUnknown,
    Utxo,
)
from gateway.errors import Refused
from gateway.units import PosixMs
from regtest.cardano import Devnet
from regtest.cardano.transaction import Output, Pointer, Ref
from tests.support.chain_blocks import POLICY, Rows, token
from tests.support.chain_providers import KINDS, Kind
from tests.support.devnet_drafts import ALWAYS_V3, UNIT, Draft, key, key_address, make_output, script_address

pytestmark = [pytest.mark.devnet, pytest.mark.node]

ALICE = key("alice of the contract")
HOME = address_text(key_address(ALICE))
SCRIPT_HOME = address_text(script_address(ALWAYS_V3))
ADA = 1_000_000
UNITS = (200_000, 100_000_000)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
async def provider(devnet: Devnet, kind: Kind) -> AsyncIterator[ChainProvider]:
    made = kind.connect(devnet)
    yield made
    await made.close()


async def funds(devnet: Devnet, provider: ChainProvider, count: int = 2) -> list[Utxo]:
    devnet.faucet([(HOME, 100 * ADA)] * count)
    return list(await provider.utxos_at(HOME))


def given(*utxos: Utxo) -> list[Ref]:
    return [Ref(utxo.ref.tx_id, utxo.ref.index) for utxo in utxos]


def pay(source: Utxo, lovelace: int = 5 * ADA, **changes: Any) -> bytes:
    fee = 300_000
    change = make_output(key_address(ALICE), source.lovelace.value - lovelace - fee)
    outputs = [make_output(key_address(key("bob")), lovelace), change]
    return Draft(inputs=given(source), outputs=outputs, fee=fee, signers=[ALICE], **changes).build()


def channel(number: int, lovelace: int) -> Output:
    return make_output(script_address(ALWAYS_V3), lovelace, {token(number): 1}, datum=UNIT)


def open_channel(number: int, source: Utxo, collateral: Utxo) -> bytes:
    fee = 600_000
    change = make_output(key_address(ALICE), source.lovelace.value - 5 * ADA - fee)
    return Draft(
        inputs=given(source),
        outputs=[channel(number, 5 * ADA), change],
        fee=fee,
        signers=[ALICE],
        collateral=given(collateral),
        mint={token(number): 1},
        scripts=[ALWAYS_V3],
        languages={3},
        redeemers={Pointer(1, 0): (b"\x18\x2a", *UNITS)},
    ).build()


def step_channel(number: int, at: OutputRef, lovelace: int, source: Utxo, collateral: Utxo) -> bytes:
    """The bolt token moves in, as every step must mint or burn something of the policy."""
    fee = 700_000
    inputs = sorted([Ref(at.tx_id, at.index), *given(source)])
    rest = source.lovelace.value - fee - (lovelace - 5 * ADA)
    change = make_output(key_address(ALICE), rest, {POLICY + BOLT_TOKEN: 1})
    return Draft(
        inputs=inputs,
        outputs=[channel(number, lovelace), change],
        fee=fee,
        signers=[ALICE],
        collateral=given(collateral),
        mint={POLICY + BOLT_TOKEN: 1},
        scripts=[ALWAYS_V3],
        languages={3},
        redeemers={
            Pointer(1, 0): (b"\x43abc", *UNITS),
            Pointer(0, inputs.index(Ref(at.tx_id, at.index))): (UNIT, *UNITS),
        },
    ).build()


async def take(
    provider: ChainProvider, points: list[Point], count: int, seconds: float = 10
) -> list[ChainEvent]:
    events: list[ChainEvent] = []
    async with asyncio.timeout(seconds):
        async with aclosing(cast(AsyncGenerator[ChainEvent, None], provider.follow(points))) as told:
            async for event in told:
                events.append(event)
                if len(events) == count:
                    break
    return events


async def refusal(work: Any) -> str:
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.rejection.code


# --- ChainReader ---------------------------------------------------------------------------------


async def test_tip_and_params(devnet: Devnet, provider: ChainProvider) -> None:
    devnet.mine(3)
    tip = await provider.tip()
    assert (tip.height, tip.point.slot.value) == (devnet.tip.height, devnet.tip.slot)
    assert tip.point.block_hash == devnet.tip.hash
    params = await provider.params()
    assert params.network_magic == devnet.options.network_magic
    assert params.protocol["maxTransactionSize"]["bytes"] == 16_384
    assert params.system_start_ms.value == devnet.chain.time.system_start_ms
    moment = time_of(params.eras, tip.point.slot)
    assert moment.value == devnet.chain.time.start_of(devnet.tip.slot)
    assert slot_at(params.eras, moment) == tip.point.slot
    assert slot_at(params.eras, PosixMs(moment.value + 999)) == tip.point.slot


async def test_outputs_by_address_policy_and_reference(devnet: Devnet, provider: ChainProvider) -> None:
    assert await provider.utxos_at(HOME) == ()
    first, second = await funds(devnet, provider)
    assert first.created_at is not None
    assert first.created_at.block_hash == devnet.tip.hash
    raw = open_channel(1, first, second)
    assert await provider.submit(raw) == Submitted(transaction_id(raw))
    assert await provider.utxos_of_policy(POLICY) == ()  # not on chain yet
    devnet.mine()
    (found,) = await provider.utxos_of_policy(POLICY)
    assert found.ref == OutputRef(transaction_id(raw), 0)
    assert found.assets == ((token(1), 1),)
    assert (found.datum_cbor, found.datum_hash, found.lovelace.value) == (UNIT, None, 5 * ADA)
    assert await provider.utxos_at(SCRIPT_HOME) == (found,)
    missing = OutputRef(bytes(32), 0)
    assert await provider.utxos_by_ref([second.ref, missing, found.ref, first.ref]) == (second, found)
    assert await provider.utxos_by_ref([]) == ()


async def test_datum_hashes_and_reference_scripts(devnet: Devnet, provider: ChainProvider) -> None:
    (source,) = await funds(devnet, provider, 1)
    outputs = [
        make_output(key_address(ALICE), 5 * ADA, script=ALWAYS_V3),
        make_output(key_address(ALICE), 5 * ADA, datum_hash=b"\x07" * 32),
        make_output(key_address(ALICE), source.lovelace.value - 10 * ADA - 300_000),
    ]
    raw = Draft(inputs=given(source), outputs=outputs, fee=300_000, signers=[ALICE]).build()
    assert isinstance(await provider.submit(raw), Submitted)
    devnet.mine()
    by_index = {u.ref.index: u for u in await provider.utxos_at(HOME)}
    assert by_index[0].script_ref_cbor == bytes.fromhex("8203") + b"\x46" + ALWAYS_V3.content
    assert (by_index[1].datum_cbor, by_index[1].datum_hash) == (None, b"\x07" * 32)


async def test_another_network_is_refused(devnet: Devnet, kind: Kind) -> None:
    wrong = kind.connect(devnet, magic=devnet.options.network_magic + 1)
    assert await refusal(wrong.tip()) == "cl.chain.wrong_network"
    assert await refusal(take(wrong, [], 1)) == "cl.chain.wrong_network"
    assert isinstance(await wrong.submit(bytes.fromhex("84a0a0f5f6")), SubmitUnknown)
    await wrong.close()


async def test_provider_down_and_back(devnet: Devnet, kind: Kind, provider: ChainProvider) -> None:
    for outage in range(len(kind.outages)):
        kind.cut(devnet, outage)
        assert await refusal(provider.utxos_at(HOME)) == "cl.chain.provider_down"
        devnet.clear_faults()
    kind.cut(devnet)
    assert await refusal(provider.tip()) == "cl.chain.provider_down"
    devnet.clear_faults()
    assert await provider.utxos_at(HOME) == ()


async def test_a_late_provider_is_a_timeout(devnet: Devnet, kind: Kind) -> None:
    late = kind.connect(devnet, timeout_s=0.2)
    devnet.set_faults(delay_ms=1_000)
    assert await refusal(late.tip()) == "cl.chain.timeout"
    devnet.clear_faults()
    await late.close()


# --- ChainSubmitter ------------------------------------------------------------------------------


async def test_submit_tells_spent_inputs_from_other_refusals(devnet: Devnet, provider: ChainProvider) -> None:
    source, _ = await funds(devnet, provider)
    raw = pay(source)
    assert await provider.submit(raw) == Submitted(transaction_id(raw))
    devnet.mine()
    for again in (raw, pay(source, 6 * ADA)):
        result = await provider.submit(again)
        assert isinstance(result, SubmitRefused)
        assert (result.inputs_spent, result.rejection.code) == (True, "cl.chain.inputs_spent")
    (left,) = (u for u in await provider.utxos_at(HOME) if u.ref.tx_id == transaction_id(raw))
    late = await provider.submit(pay(left, invalid_after=1))
    assert isinstance(late, SubmitRefused)
    assert (late.inputs_spent, late.rejection.code) == (False, "cl.chain.submit_refused")
    garbage = await provider.submit(b"\x84\xa0\xa0\xf5\xf6")
    assert isinstance(garbage, SubmitRefused)
    assert garbage.rejection.code == "cl.chain.submit_refused"


async def test_a_lost_answer_is_unknown_and_the_same_bytes_settle_it(
    devnet: Devnet, provider: ChainProvider
) -> None:
    source, _ = await funds(devnet, provider)
    raw = pay(source)
    devnet.set_faults(lose_answers=1)
    result = await provider.submit(raw)
    assert isinstance(result, SubmitUnknown)
    assert result.rejection.code == "cl.chain.provider_down"
    devnet.mine()
    again = await provider.submit(raw)
    assert isinstance(again, SubmitRefused)
    assert again.inputs_spent
    assert await provider.utxos_by_ref([OutputRef(transaction_id(raw), 0)])
    devnet.set_faults(refuse_submits=1)
    (left,) = (u for u in await provider.utxos_at(HOME) if u.ref.tx_id == transaction_id(raw))
    full = await provider.submit(pay(left))
    assert isinstance(full, SubmitUnknown)
    assert full.rejection.code == "cl.chain.mempool"
    assert isinstance(await provider.submit(pay(left)), Submitted)


# --- ChainFollower -------------------------------------------------------------------------------


async def test_follow_from_the_origin_and_from_a_point(devnet: Devnet, provider: ChainProvider) -> None:
    devnet.mine(30)
    events = await take(provider, [], devnet.tip.height + 2)
    assert events[0] == RollBackward(None, (await provider.tip()))
    blocks = [event.block for event in events[1:] if isinstance(event, RollForward)]
    assert [block.height for block in blocks] == list(range(devnet.tip.height + 1))
    assert blocks[-1].time_ms.value == devnet.chain.time.start_of(devnet.tip.slot)
    unknown = Point(blocks[20].point.slot, bytes(32))
    resumed = await take(provider, [unknown, blocks[9].point, blocks[4].point], 3)
    assert isinstance(resumed[0], RollBackward)
    assert resumed[0].to == blocks[9].point
    assert [e.block.height for e in resumed[1:] if isinstance(e, RollForward)] == [10, 11]
    assert await refusal(take(provider, [unknown], 1)) == "cl.chain.no_intersection"
    assert len(await take(provider, [unknown, ORIGIN], 2)) == 2


async def test_follow_waits_at_the_tip_and_ends_when_the_link_is_lost(
    devnet: Devnet, kind: Kind, provider: ChainProvider
) -> None:
    events: list[ChainEvent] = []
    arrived = asyncio.Event()

    async def run() -> None:
        async for event in provider.follow([]):
            events.append(event)
            arrived.set()

    task = asyncio.create_task(run())
    for _ in range(3):
        await asyncio.wait_for(arrived.wait(), 10)
        arrived.clear()
        devnet.mine()
    await asyncio.wait_for(arrived.wait(), 10)
    kind.cut(devnet)
    assert await refusal(asyncio.wait_for(task, 10)) == "cl.chain.provider_down"
    assert [type(event) for event in events[:2]] == [RollBackward, RollForward]


class Run:
    """A follower whose steps are committed to rows, in the background."""

    def __init__(self, provider: ChainProvider, rows: Rows, depths: tuple[int, ...] = (1, 3)) -> None:
        self.rows = rows
        self.view = rows.restored(View(POLICY, addresses=[HOME], depths=depths))
        self.deep: list[Deep] = []
        self.steps: list[Step] = []
        self.troubles: list[str] = []
        self.clock = ChainClock()
        self._moved = asyncio.Event()
        self._follower = Follower(
            provider,
            self.view,
            on_trouble=lambda rejection: self.troubles.append(rejection.code),
            observe_time=self.clock.observe,
            backoff=Backoff(0.01, 0.1),
        )
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async for step in self._follower.steps():
            self.rows.commit(step)
            self.steps.append(step)
            if not isinstance(step, Back):
                self.deep += step.deep
            self._moved.set()

    async def reach(self, devnet: Devnet) -> None:
        """Until the newest committed point is the devnet's tip."""
        async with asyncio.timeout(20):
            while not self._at(devnet) and not self._task.done():
                self._moved.clear()
                await self._moved.wait()
        if self._task.done():
            await self._task

    def _at(self, devnet: Devnet) -> bool:
        newest = self.view.newest
        return (devnet.tip.height == 0 and newest is None) or (
            newest is not None and newest.point.block_hash == devnet.tip.hash
        )

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.mark.threat("W1")
@pytest.mark.threat("W10")
@pytest.mark.kind("IT")
async def test_a_channel_seen_stepped_rolled_back_and_seen_again(
    devnet: Devnet, provider: ChainProvider
) -> None:
    first, second, third = await funds(devnet, provider, 3)
    run = Run(provider, Rows())
    opened = open_channel(7, first, second)
    assert isinstance(await provider.submit(opened), Submitted)
    devnet.mine(3)
    await run.reach(devnet)
    (created,) = run.view.channels
    assert created.utxo.ref == OutputRef(transaction_id(opened), 0)
    assert (created.utxo,) == await provider.utxos_of_policy(POLICY)
    told = [d.depth for d in run.deep if d.located.observation == created]
    assert told == [1, 3]
    stepped = step_channel(7, created.utxo.ref, 6 * ADA, third, second)
    assert isinstance(await provider.submit(stepped), Submitted)
    devnet.mine()
    await run.reach(devnet)
    spends = [one.observation for one in run.rows.seen if isinstance(one.observation, ChannelSpent)]
    assert [(s.tx_id, s.tx_cbor, s.redeemer) for s in spends] == [
        (transaction_id(stepped), stepped, b"\x43abc")
    ]
    devnet.rollback(1, drop=True)
    devnet.mine()
    await run.reach(devnet)
    assert set(run.view.channels) == {created}
    assert not [one for one in run.rows.seen if isinstance(one.observation, ChannelSpent)]
    assert isinstance(await provider.submit(stepped), Submitted)  # the same bytes, broadcast again
    devnet.mine()
    await run.reach(devnet)
    assert [c.utxo.lovelace.value for c in run.view.channels] == [6 * ADA]
    assert run.clock.now().value == devnet.chain.time.start_of(devnet.tip.slot)
    devnet.advance(3_600_000, blocks=2)
    await asyncio.wait_for(run.clock.sleep_until(PosixMs(devnet.now_ms() - 1_000)), 10)
    await run.kill()


@pytest.mark.threat("W1")
@pytest.mark.threat("W10")
@pytest.mark.kind("IT")
@pytest.mark.kind("CR")
async def test_random_rollbacks_cuts_and_restarts_leave_no_gap_and_no_duplicate(
    devnet: Devnet, provider: ChainProvider
) -> None:
    rng = random.Random(7)
    wallet = await funds(devnet, provider, 6)
    collateral = wallet.pop()
    rows = Rows()
    run = Run(provider, rows)
    for n in range(24):
        if n % 6 == 0 and wallet:
            await provider.submit(open_channel(n + 1, wallet.pop(), collateral))
        devnet.mine(rng.randrange(1, 8))
        match rng.randrange(4):
            case 0:
                devnet.rollback(min(rng.randrange(1, 51), devnet.tip.height - 1), drop=rng.random() < 0.3)
                devnet.mine(rng.randrange(3))
            case 1:
                devnet.disconnect()
            case 2:
                await run.kill()
                run = Run(provider, rows)
            case _:
                await run.reach(devnet)
    devnet.mine()
    await run.reach(devnet)
    await run.kill()
    fresh = Run(provider, Rows())
    await fresh.reach(devnet)
    await fresh.kill()
    assert rows.points == fresh.rows.points
    assert rows.seen == fresh.rows.seen
    assert [p.height for p in rows.points] == list(range(devnet.tip.height + 1))
    live = {c.utxo.ref for c in run.view.channels}
    assert live == {u.ref for u in await provider.utxos_of_policy(POLICY)}
    assert all(isinstance(c, ChannelCreated) for c in run.view.channels)


async def test_a_follower_rides_out_an_outage(devnet: Devnet, kind: Kind, provider: ChainProvider) -> None:
    run = Run(provider, Rows())
    devnet.mine(2)
    await run.reach(devnet)
    kind.cut(devnet)
    devnet.mine(5)
    async with asyncio.timeout(10):
        while len(run.troubles) < 3:
            await asyncio.sleep(0.01)
    assert set(run.troubles) == {"cl.chain.provider_down"}
    devnet.clear_faults()
    await run.reach(devnet)
    assert [p.height for p in run.rows.points] == list(range(devnet.tip.height + 1))
    await run.kill()
