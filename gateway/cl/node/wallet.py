"""R4. The wallet: builds one transaction at a time, keeps what is under way, and never spends an output twice.

Transactions are stored before they leave, and sent again until they lie deep or cannot come any more:

Sent --seen in a block--> Seen --deep--> done
Sent --refused by the ledger, or its validity has passed--> dead
Seen --rollback--> Sent
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog

from gateway.cl.chain.view import TxSeen, View
from gateway.cl.data.blueprint import Blueprint
from gateway.cl.data.books import Verify
from gateway.cl.data.types import ChannelId, OutputRef
from gateway.cl.l1.body import script_of
from gateway.cl.l1.build import build
from gateway.cl.l1.coins import coins_to_make
from gateway.cl.l1.errors import NO_FUNDS
from gateway.cl.l1.intents import BuiltTx, Intent
from gateway.cl.l1.validity import choose_window
from gateway.cl.l1.view import ChainView
from gateway.cl.ports import (
    ChainProvider,
    ChainReader,
    ChainSubmitter,
    Clock,
    Evaluator,
    Signer,
    SubmitRefused,
    SubmitUnknown,
    Utxo,
)
from gateway.errors import Refused, Rejection
from gateway.profile import NetworkProfile
from gateway.store.codec import Codecs
from gateway.store.ledger_rows import Leg
from gateway.store.store import Store
from gateway.units import Lovelace, PosixMs

log = structlog.get_logger("gateway.wallet")
KIND = "l1tx"
NEVER_PAID = ("refused", "expired")  # ends of a transaction that cost nothing
SPLIT = "split"
PICK_HOLDS_S = 60.0  # a seed that was picked and not proposed is free again
CHANGE_WITHIN_S = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnTx:
    """`until`: its validity's end, exclusive; from then on it can be in no new block."""

    tx_id: bytes
    purpose: str
    channel: ChannelId | None
    tx_cbor: bytes
    spent: tuple[OutputRef, ...]
    until: PosixMs


@dataclass(frozen=True, slots=True)
class TxMade:
    tx: OwnTx


@dataclass(frozen=True, slots=True)
class TxEnded:
    """`how`: deep, refused, expired or failed (its scripts failed on chain)."""

    how: str


def register(codecs: Codecs) -> None:
    codecs.register(OwnTx, "l1tx.state")
    codecs.register_all("l1tx.event", TxMade, TxEnded)


@dataclass(slots=True)
class _Way:
    tx: OwnTx
    seen: bool = False
    refused: Rejection | None = None


class OwnTransactions:
    """Memory of what is under way, backed by the store."""

    def __init__(self, store: Store, reader: ChainReader, submitter: ChainSubmitter) -> None:
        self._store, self._reader, self._submitter = store, reader, submitter
        self._ways: dict[bytes, _Way] = {}

    async def load(self, view: View) -> None:
        async with self._store.read() as tx:
            for row in await tx.list(KIND, live_only=True):
                self._ways[row.state.tx_id] = _Way(row.state)
        for tx_id in self._ways:
            view.watch(tx_id)
        for located in view.recent:
            if isinstance(located.observation, TxSeen):
                self.seen(located.observation.tx_id)

    def seen(self, tx_id: bytes) -> None:
        if tx_id in self._ways:
            self._ways[tx_id].seen = True

    def taken_back(self, tx_id: bytes) -> None:
        if tx_id in self._ways:
            self._ways[tx_id].seen = False

    def spent(self) -> frozenset[OutputRef]:
        """Outputs that nothing else may spend while these are under way."""
        return frozenset(ref for way in self._ways.values() for ref in way.tx.spent)

    def ids(self) -> frozenset[bytes]:
        return frozenset(self._ways)

    def is_waiting(self) -> bool:
        """Whether one is in no block yet: its change will come back."""
        return any(not way.seen for way in self._ways.values())

    def on_the_way(self, now: PosixMs, *, spends: OutputRef | None = None, purpose: str = "") -> OwnTx | None:
        """One that can still come into a block, or is in one, that spends this output or serves this purpose."""
        for way in self._ways.values():
            fits = way.tx.purpose == purpose if spends is None else spends in way.tx.spent
            if fits and (way.seen or now < way.tx.until):
                return way.tx
        return None

    def outlived(self, ref: OutputRef, now: PosixMs) -> frozenset[OutputRef]:
        """Inputs of earlier tries to spend `ref` that are past their validity and in no block. Whatever else
        spends `ref` excludes them for good, so it may take their inputs: a small wallet has no others."""
        tries = [w.tx for w in self._ways.values() if ref in w.tx.spent and not w.seen and w.tx.until <= now]
        return frozenset(spent for tx in tries for spent in tx.spent)

    async def send(self, tx: OwnTx, fee: Lovelace) -> None:
        """Stores it with its cost, then submits. Raises the ledger's refusal; an unknown result is no error: it is
        sent again."""
        async with self._store.transaction("l1tx.made") as db:
            await db.append(KIND, tx.tx_id.hex(), 0, (TxMade(tx),), tx)
            legs = (
                Leg("cost.chain", "lovelace", fee.value, tx.purpose),
                Leg("wallet", "lovelace", -fee.value),
            )
            await db.audit.post(f"l1tx/{tx.tx_id.hex()}", legs)
        self._ways[tx.tx_id] = _Way(tx)
        log.info("tx.made", purpose=tx.purpose, tx_id=tx.tx_id.hex(), until=tx.until.value)
        refusal = await self._submit(tx)
        if refusal is not None:
            await self.end(tx.tx_id, "refused")
            raise Refused(refusal.rejection)

    async def _submit(self, tx: OwnTx) -> SubmitRefused | None:
        result = await self._submitter.submit(tx.tx_cbor)
        match result:
            case SubmitRefused(inputs_spent=inputs_spent):
                # an input that is gone may have gone to this very transaction: the chain says which
                return None if inputs_spent and self._is_seen(tx.tx_id) else result
            case SubmitUnknown(rejection):
                log.warning("tx.unknown", tx_id=tx.tx_id.hex(), code=rejection.code)
        return None

    def _is_seen(self, tx_id: bytes) -> bool:
        way = self._ways.get(tx_id)
        return way is not None and way.seen

    async def end(self, tx_id: bytes, how: str) -> None:
        way = self._ways.pop(tx_id, None)
        if way is None:
            return
        log.info("tx.ended", purpose=way.tx.purpose, tx_id=tx_id.hex(), how=how)
        async with self._store.transaction("l1tx.ended") as db:
            await db.append(KIND, tx_id.hex(), 1, (TxEnded(how),), way.tx, live=False)
            paid = await db.audit.entry(f"l1tx/{tx_id.hex()}")
            if paid and how in NEVER_PAID:
                back = [Leg(leg.account, leg.unit, -leg.amount, how) for leg in paid]
                await db.audit.post(f"l1tx/{tx_id.hex()}/{how}", back)

    async def drop_expired(self, settled: PosixMs) -> None:
        """Past its validity at safe depth and in no block: it can never come."""
        for way in list(self._ways.values()):
            if not way.seen and way.tx.until <= settled:
                await self.end(way.tx.tx_id, "expired")

    async def rebroadcast(self, now: PosixMs) -> None:
        """Submits again what is in no block and still valid. A refusal proves nothing (mempools differ), but a
        channel's step may be built anew: both spend the channel's output, so only one can ever be. A payment
        of the wallet stays as it is: another one might pay twice."""
        for way in list(self._ways.values()):
            if way.seen or now >= way.tx.until:
                continue
            refusal = await self._submit(way.tx)
            if refusal is None or await self._only_in_the_mempool(way.tx, refusal):
                continue
            if way.tx.channel is not None:
                await self.end(way.tx.tx_id, "refused")
            elif refusal.rejection != way.refused:
                way.refused = refusal.rejection
                why = str(refusal.rejection)[:200]
                log.info("tx.again", tx_id=way.tx.tx_id.hex(), code=refusal.rejection.code, why=why)

    async def _only_in_the_mempool(self, tx: OwnTx, refusal: SubmitRefused) -> bool:
        """A node refuses a transaction that it already holds in the words for spent inputs. What no block has
        spent is decided by the next ones; raises cl.chain.*."""
        if not refusal.inputs_spent:
            return False
        unspent = {utxo.ref for utxo in await self._reader.utxos_by_ref(tx.spent)}
        return unspent.issuperset(tx.spent)


class Wallet:
    """`building` is held from the look at the chain until what was built is sent: nothing is spent twice."""

    def __init__(
        self,
        own: OwnTransactions,
        provider: ChainProvider,
        signer: Signer,
        clock: Clock,
        profile: NetworkProfile,
        blueprint: Blueprint,
        evaluator: Evaluator,
        verify: Verify,
        *,
        address: str,
        held_seeds: Callable[[], frozenset[OutputRef]],
        reference_script: OutputRef | None,
        watch: Callable[[bytes], None],
    ) -> None:
        self.address, self.building = address, asyncio.Lock()
        self._own, self._provider, self._signer, self._clock = own, provider, signer, clock
        self._profile, self._blueprint, self._watch = profile, blueprint, watch
        self._evaluator, self._verify = evaluator, verify
        self._held_seeds, self._reference = held_seeds, reference_script
        self._picked: dict[OutputRef, float] = {}
        self._next_block = asyncio.Event()
        self.spent_elsewhere: frozenset[OutputRef] = (
            frozenset()
        )  # by the provider's mempool, until the next block

    def new_block(self) -> None:
        self.spent_elsewhere = frozenset()
        waiting, self._next_block = self._next_block, asyncio.Event()
        waiting.set()

    async def patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Change of our own transactions comes back with the next block: worth a wait, not a refusal."""
        end = asyncio.get_running_loop().time() + CHANGE_WITHIN_S
        while True:
            try:
                return await work()
            except Refused as refused:
                left = end - asyncio.get_running_loop().time()
                if refused.rejection.spec is not NO_FUNDS or not self._own.is_waiting() or left <= 0:
                    raise
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._next_block.wait(), min(left, 5.0))

    async def pick_seed(self, amount: Lovelace) -> OutputRef:
        """The smallest output that covers `amount`, else the largest: the rest stays free for settlement."""
        async with self.building:
            view = await self.frozen()
            free = [u for u in view.wallet if u.ref not in view.reserved and u.script_ref_cbor is None]
            have = sum((u.lovelace for u in free), Lovelace(0))
            if have <= amount:
                raise Refused(NO_FUNDS(field="lovelace", got=have, allowed=f"more than {amount.value}"))
            enough = [u for u in free if u.lovelace > amount]
            by_value = sorted(enough or free, key=lambda u: u.lovelace.value)
            seed = (by_value[0] if enough else by_value[-1]).ref
            self._picked[seed] = asyncio.get_running_loop().time() + PICK_HOLDS_S
            return seed

    async def split(self) -> bytes | None:
        """Coins ahead of need: each transaction under way holds its inputs and collateral until its change is back,
        so a wallet of one coin could act once a block (W7). None when there are enough, or too little ada."""
        async with self.building:
            view = await self.frozen()
            pays = coins_to_make(view)
            if not pays or self._own.on_the_way(view.now, purpose=SPLIT) is not None:
                return None
            return await self.send(view, pays, SPLIT, None)

    async def utxos(self) -> tuple[tuple[Utxo, bool], ...]:
        found = await self._provider.utxos_at(self.address)
        reserved = self._reserved()
        return tuple((utxo, utxo.ref in reserved or utxo.script_ref_cbor is not None) for utxo in found)

    def _reserved(self) -> frozenset[OutputRef]:
        now = asyncio.get_running_loop().time()
        self._picked = {ref: until for ref, until in self._picked.items() if until > now}
        return self._own.spent() | self._held_seeds() | frozenset(self._picked)

    async def frozen(self, *, instead_of: Iterable[OutputRef] = ()) -> ChainView:
        """The chain as the provider has it now; `instead_of` will be spent, again where an earlier try failed.
        Raises cl.chain.*."""
        tip, params = await self._provider.tip(), await self._provider.params()
        wallet = await self._provider.utxos_at(self.address)
        now, reserved = self._clock.now(), self._reserved()
        for ref in instead_of:
            reserved = reserved - self._own.outlived(ref, now) - {ref}
        reserved |= self.spent_elsewhere
        return ChainView(
            tip=tip,
            now=now,
            params=params,
            blueprint=self._blueprint,
            wallet_address=self.address,
            wallet=wallet,
            script_utxo=await self._script_utxo(wallet),
            reserved=reserved,
        )

    async def _script_utxo(self, wallet: tuple[Utxo, ...]) -> Utxo | None:
        published = wallet
        if self._reference is not None:
            published = (*await self._provider.utxos_by_ref((self._reference,)), *wallet)
        for utxo in published:
            held = utxo.script_ref_cbor
            if held is not None and script_of(held) == (3, self._blueprint.script):
                return utxo
        return None

    async def send(
        self,
        view: ChainView,
        intents: tuple[Intent, ...],
        purpose: str,
        channel: ChannelId | None,
        *,
        use_before: tuple[PosixMs, ...] = (),
        not_before: PosixMs | None = None,
    ) -> bytes:
        """Under `building`: window, build, sign, store, submit. Raises the first refusal."""
        built = await self.construct(view, intents, use_before=use_before, not_before=not_before)
        signed = await self._signer.sign_transaction(built.required_keys, built.tx_cbor)
        log.info("tx.built", purpose=purpose, fee=built.fee.value, mem=built.mem, steps=built.steps)
        await self.submit(
            OwnTx(built.tx_id, purpose, channel, signed, built.spent, built.window.ub), built.fee
        )
        return built.tx_id

    async def construct(
        self,
        view: ChainView,
        intents: tuple[Intent, ...],
        *,
        use_before: tuple[PosixMs, ...] = (),
        not_before: PosixMs | None = None,
    ) -> BuiltTx:
        """Under `building`: window and transaction, unsigned. Raises the first refusal."""
        window = choose_window(
            view.params, view.tip, view.now, self._profile, use_before=use_before, not_before=not_before
        )
        if isinstance(window, Rejection):
            raise Refused(window)
        # the evaluator runs scripts for some milliseconds: not on the loop
        built = await asyncio.to_thread(build, view, intents, window, self._evaluator, self._verify)
        if not isinstance(built, BuiltTx):
            raise Refused(built)
        return built

    async def submit(self, tx: OwnTx, fee: Lovelace) -> None:
        """Under `building`: watched, stored, then sent."""
        self._watch(tx.tx_id)
        await self._own.send(tx, fee)

    def hold(self, refs: tuple[OutputRef, ...]) -> None:
        """Nothing else takes these for a while: long enough for a state that names them to be stored."""
        until = asyncio.get_running_loop().time() + PICK_HOLDS_S
        self._picked.update(dict.fromkeys(refs, until))
