"""What the Cardano chain says, read without the gateway's code: Ogmios' chain sync and Kupo's matches."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect

Ref = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """One transaction: what it spends, what it makes (address, lovelace), its fee, what it mints."""

    id: str
    inputs: tuple[Ref, ...]
    outputs: tuple[tuple[str, int], ...]
    fee: int
    minted: dict[str, int] = field(default_factory=dict)


async def transactions(ogmios_url: str) -> tuple[Seen, ...]:
    """All of the chain, oldest first."""
    found: list[Seen] = []
    async with connect(ogmios_url, max_size=1 << 26, proxy=None) as socket:

        async def call(method: str, params: dict[str, Any] | None = None) -> Any:
            await socket.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}}))
            return json.loads(await socket.recv())["result"]

        found_at = await call("findIntersection", {"points": ["origin"]})
        tip = found_at["tip"]
        if tip == "origin":
            return ()
        while True:
            step = await call("nextBlock")
            if step["direction"] != "forward":
                continue
            block = step["block"]
            found += [_seen(tx) for tx in block.get("transactions", [])]
            if block.get("slot", 0) >= tip["slot"]:
                return tuple(found)


def _seen(tx: dict[str, Any]) -> Seen:
    minted = {
        policy + name: quantity
        for policy, names in tx.get("mint", {}).items()
        for name, quantity in names.items()
    }
    return Seen(
        id=tx["id"],
        inputs=tuple((i["transaction"]["id"], i["index"]) for i in tx["inputs"]),
        outputs=tuple((o["address"], o["value"]["ada"]["lovelace"]) for o in tx["outputs"]),
        fee=tx["fee"]["ada"]["lovelace"],
        minted=minted,
    )


def fees_of(chain: tuple[Seen, ...], address: str) -> dict[str, int]:
    """The fee of each transaction that spends an output of `address`: who spends, pays."""
    owner: dict[Ref, str] = {}
    fees: dict[str, int] = {}
    for tx in chain:
        if any(owner.get(ref) == address for ref in tx.inputs):
            fees[tx.id] = tx.fee
        owner |= {(tx.id, index): to for index, (to, _) in enumerate(tx.outputs)}
    return fees


async def lovelace_at(kupo_url: str, address: str) -> int:
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        rows = (await http.get(f"{kupo_url}/matches/{address}", params={"unspent": ""})).json()
    return sum(row["value"]["coins"] for row in rows)


async def unspent_threads(kupo_url: str, policy: str) -> int:
    """How many outputs still carry a channel's thread token (the policy's short marks stay in wallets)."""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        rows = (await http.get(f"{kupo_url}/matches/{policy}.*", params={"unspent": ""})).json()
    units = (unit.partition(".")[2] for row in rows for unit in row["value"]["assets"])
    return sum(len(name) > 6 for name in units)
