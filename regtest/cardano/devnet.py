"""The development chain as one object: servers, clock, blocks, faucet, faults, judge, journal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from regtest.cardano.blockfrost import Blockfrost
from regtest.cardano.chain import Block, Chain, RolledBack
from regtest.cardano.clock import LedgerClock
from regtest.cardano.control import Control
from regtest.cardano.evaluate import SlotTime
from regtest.cardano.failure import Failure
from regtest.cardano.faults import Faults, View
from regtest.cardano.genesis import build_output, faucet_address, faucet_transaction, genesis_utxo
from regtest.cardano.journal import Journal, Opened
from regtest.cardano.koios import Koios
from regtest.cardano.kupo import Kupo, decode_address
from regtest.cardano.ogmios import LostAnswer, OgmiosServer
from regtest.cardano.params import Params
from regtest.cardano.queries import RpcError
from regtest.cardano.transaction import Output, Ref, Tx
from regtest.cardano.u5c import UtxoRpcServer
from regtest.cardano.web import WebServer


class Judge(Protocol):
    """A second ledger that sees every submission. It must not block: it may answer later."""

    def begin(self, utxo: Mapping[Ref, Output], time: SlotTime, params: Params) -> None: ...
    def submitted(self, raw: bytes, slot: int, outcome: Tx | Failure) -> None: ...
    def resync(self, reason: str, utxo: Mapping[Ref, Output]) -> None: ...
    def report(self) -> dict[str, Any]: ...
    async def settled(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class DevnetOptions:
    """Ports of 0 mean free ones. In manual mode (`real_time` False) time moves only when told."""

    params: Params = field(default_factory=Params)
    network_magic: int = 42
    start_ms: int | None = None  # the system start; None: now, in whole seconds
    real_time: bool = False
    block_interval_ms: int | None = None  # blocks by themselves, in real time only
    block_on_submit: bool = False  # a block right after each accepted transaction
    host: str = "127.0.0.1"
    ogmios_port: int = 0
    kupo_port: int = 0
    blockfrost_port: int = 0
    koios_port: int = 0
    utxorpc_port: int | None = None  # None: UTxO RPC is not served
    control_port: int = 0
    journal: Path | None = None  # keeps the chain over a restart


class Devnet:
    def __init__(self, options: DevnetOptions | None = None, judge: Judge | None = None) -> None:
        self.options = options or DevnetOptions()
        self.faults = Faults()
        self.judge = judge
        self.submissions = 0
        self._closed = True
        opened = Opened.read(self.options.journal)
        start_ms = self.options.start_ms if opened is None else opened.system_start_ms
        if start_ms is None:
            start_ms = int(time.time()) * 1_000
        now_ms = start_ms if opened is None else opened.now_ms(self.options.real_time)
        self.clock = LedgerClock(now_ms, self.options.real_time)
        slots = SlotTime(start_ms)
        self.chain = Chain(self.options.params, slots, genesis_utxo())
        self._journal = Journal(self.options.journal, self.clock, slots)
        if opened is not None:
            opened.replay(self.chain)
        self._ogmios = OgmiosServer(
            View(self.chain, self.faults, "ogmios", self.now_slot),
            self._submit_rpc,
            self.options.network_magic,
            self.options.host,
            self.options.ogmios_port,
        )
        self._kupo_view = View(self.chain, self.faults, "kupo", self.now_slot)
        self._kupo = WebServer(Kupo(self._kupo_view).handle, self.options.host, self.options.kupo_port)
        self._blockfrost_view = View(self.chain, self.faults, "blockfrost", self.now_slot)
        self._blockfrost = WebServer(
            Blockfrost(self._blockfrost_view, self._submit_rpc, self.options.network_magic).handle,
            self.options.host,
            self.options.blockfrost_port,
        )
        self._koios_view = View(self.chain, self.faults, "koios", self.now_slot)
        self._koios = WebServer(
            Koios(self._koios_view, self._submit_rpc, self.options.network_magic).handle,
            self.options.host,
            self.options.koios_port,
        )
        self._utxorpc_view = View(self.chain, self.faults, "utxorpc", self.now_slot)
        self._utxorpc = UtxoRpcServer(
            self._utxorpc_view,
            self._submit_rpc,
            self.options.network_magic,
            self.options.host,
            self.options.utxorpc_port or 0,
        )
        self._control = WebServer(Control(self).handle, self.options.host, self.options.control_port)
        self._ports = (0, 0, 0, 0, 0, 0)
        self._miner: asyncio.Task[None] | None = None
        self.stopped = asyncio.Event()

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> Devnet:
        self._ports = (
            await self._ogmios.start(),
            await self._kupo.start(),
            await self._control.start(),
            await self._blockfrost.start(),
            await self._koios.start(),
            0 if self.options.utxorpc_port is None else await self._utxorpc.start(),
        )
        self._closed = False
        if self.judge is not None:
            self.judge.begin(self.chain.pool_utxo, self.chain.time, self.chain.params)
        if self.options.real_time and self.options.block_interval_ms:
            self._miner = asyncio.create_task(self._mine_by_itself(self.options.block_interval_ms))
        return self

    async def stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._miner is not None:
            self._miner.cancel()
        services = (self._ogmios, self._kupo, self._control, self._blockfrost, self._koios, self._utxorpc)
        await asyncio.gather(*(service.stop() for service in services))
        if self.judge is not None:
            await self.judge.close()
        self._journal.close()

    async def __aenter__(self) -> Devnet:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def ogmios_url(self) -> str:
        return f"ws://{self.options.host}:{self._ports[0]}"

    @property
    def kupo_url(self) -> str:
        return f"http://{self.options.host}:{self._ports[1]}"

    @property
    def control_url(self) -> str:
        return f"http://{self.options.host}:{self._ports[2]}"

    @property
    def blockfrost_url(self) -> str:
        return f"http://{self.options.host}:{self._ports[3]}/api/v0"

    @property
    def koios_url(self) -> str:
        return f"http://{self.options.host}:{self._ports[4]}/api/v1"

    @property
    def utxorpc_url(self) -> str:
        return f"http://{self.options.host}:{self._ports[5]}" if self._ports[5] else ""

    # -- time and blocks ---------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.clock.now_ms()

    def now_slot(self) -> int:
        return self.chain.time.slot_at(self.clock.now_ms())

    @property
    def tip(self) -> Block:
        return self.chain.tip

    def mine(self, blocks: int = 1) -> list[Block]:
        """Each block takes the present slot, or the next free one (the clock follows)."""
        made: list[Block] = []
        for _ in range(blocks):
            slot = max(self.now_slot(), self.chain.tip.slot + 1)
            self.clock.at_least(self.chain.time.start_of(slot))
            block, dropped = self.chain.forge(slot)
            made.append(block)
            self._journal.block(block, dropped)
            if dropped:
                self._resync(f"{len(dropped)} transactions left the mempool at height {block.height}")
        self._ogmios.notify()
        return made

    def advance(self, span_ms: int, blocks: int = 1) -> None:
        """Moves ledger time by `span_ms` and mines `blocks`, spread evenly over the span, the last at its end."""
        if blocks <= 0:
            self.clock.advance(span_ms)
            self._journal.clock()
            return
        end = self.clock.now_ms() + span_ms
        for number in range(blocks, 0, -1):
            left = max(0, end - self.clock.now_ms())
            self.clock.advance(left // number)
            self.mine()

    def rollback(self, depth: int, drop: bool = False) -> RolledBack:
        """Takes blocks back; their transactions return to the mempool, or are dropped."""
        undone = self.chain.rollback(depth, drop)
        self._journal.rollback(self.chain.tip.height, drop)
        self._resync(f"rollback of {depth} blocks")
        self._ogmios.notify()
        return undone

    async def _mine_by_itself(self, interval_ms: int) -> None:
        while True:
            await asyncio.sleep(interval_ms / 1_000)
            self.mine()

    # -- transactions ------------------------------------------------------------------------

    def submit(self, raw: bytes) -> Tx | Failure:
        """As by Ogmios, without the faults."""
        slot = self.chain.tip.slot + 1
        outcome = self.chain.submit(raw)
        self.submissions += 1
        if self.judge is not None:
            self.judge.submitted(raw, slot, outcome)
        if isinstance(outcome, Failure):
            return outcome
        if self.faults.hold_blocks:
            self.chain.held[outcome.id] = self.chain.tip.height + 1 + self.faults.hold_blocks
        self._journal.submit(outcome)
        if self.options.block_on_submit:
            self.mine()
        else:
            self._ogmios.notify()
        return outcome

    async def _submit_rpc(self, raw: bytes) -> Tx:
        if self.faults.strike("refuse_submits"):
            reason = "the mempool is full (a fault on demand)"
            raise RpcError(3997, "Unexpected mempool error.", {"error": reason})
        outcome = self.submit(raw)
        if isinstance(outcome, Failure):
            raise RpcError.of(outcome)
        if self.faults.strike("drop_submits"):
            self.forget([outcome.id])
        if self.faults.strike("lose_answers"):
            raise LostAnswer
        return outcome

    def forget(self, tx_ids: list[bytes]) -> None:
        """Drops transactions from the mempool, as a node may at any time."""
        lost = self.chain.forget(tx_ids)
        self._journal.forget(lost)
        self._resync(f"{len(lost)} transactions dropped on demand")
        self._ogmios.notify()

    def faucet(self, targets: Mapping[str, int] | list[tuple[str, int]], mine: bool = True) -> Tx:
        """Pays lovelace to addresses in one signed transaction; mines a block unless told not to.
        Fails with ValueError when the ledger refuses it (an output under the minimum)."""
        rows = list(targets.items()) if isinstance(targets, Mapping) else targets
        outputs = [build_output(decode_address(address), lovelace) for address, lovelace in rows]
        own = faucet_address()
        sources = [
            (output.lovelace, ref, output)
            for ref, output in self.chain.pool_utxo.items()
            if output.address == own
        ]
        if not sources:
            raise ValueError("the faucet is empty")
        _, ref, held = max(sources, key=lambda row: (row[0], row[1]))
        outcome = self.submit(faucet_transaction(self.chain.params, 0, (ref, held), outputs))
        if isinstance(outcome, Failure):
            raise ValueError(f"{outcome.predicate}: {outcome.message}")
        if mine and not self.options.block_on_submit:
            self.mine()
        return outcome

    # -- faults and state --------------------------------------------------------------------

    def set_faults(self, **changes: Any) -> None:
        """See `Faults`. An outage cuts the connections that are open."""
        self.faults.update(changes)
        self._kupo_view.freeze()
        self._blockfrost_view.freeze()
        self._koios_view.freeze()
        self._utxorpc_view.freeze()
        if self.faults.ogmios_down:
            self._ogmios.disconnect()
        if self.faults.kupo_down:
            self._kupo.disconnect()
        if self.faults.blockfrost_down:
            self._blockfrost.disconnect()
        if self.faults.koios_down:
            self._koios.disconnect()
        self._ogmios.notify()

    def clear_faults(self) -> None:
        self.faults.clear()
        self.set_faults()

    def disconnect(self) -> None:
        """Cuts every open connection of the providers once."""
        self._ogmios.disconnect()
        self._kupo.disconnect()
        self._blockfrost.disconnect()
        self._koios.disconnect()

    def _resync(self, reason: str) -> None:
        if self.judge is not None:
            self.judge.resync(reason, self.chain.pool_utxo)

    def state(self) -> dict[str, Any]:
        tip = self.chain.tip
        return {
            "ogmios_url": self.ogmios_url,
            "kupo_url": self.kupo_url,
            "blockfrost_url": self.blockfrost_url,
            "koios_url": self.koios_url,
            "utxorpc_url": self.utxorpc_url,
            "control_url": self.control_url,
            "network_magic": self.options.network_magic,
            "system_start_ms": self.chain.time.system_start_ms,
            "now_ms": self.now_ms(),
            "now_slot": self.now_slot(),
            "real_time": self.clock.real_time,
            "block_interval_ms": self.options.block_interval_ms,
            "tip": {"slot": tip.slot, "height": tip.height, "id": tip.hash.hex()},
            "mempool": [tx.id.hex() for tx in self.chain.pool],
            "utxo_count": len(self.chain.utxo),
            "submissions": self.submissions,
            "faults": self.faults.as_dict(),
            "judge": None if self.judge is None else self.judge.report(),
        }
