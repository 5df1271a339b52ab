"""Blockfrost's HTTP API (v0) over the chain: what a node asks of it. Source: its OpenAPI description (0.1.88)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from regtest.cardano.chain import Block
from regtest.cardano.faults import View
from regtest.cardano.genesis import EPOCH_SLOTS, SECURITY_PARAMETER, era_summaries
from regtest.cardano.index import Match
from regtest.cardano.kupo import decode_address
from regtest.cardano.ogmios import LostAnswer
from regtest.cardano.queries import RpcError
from regtest.cardano.transaction import Assets, Output, Tx
from regtest.cardano.views import address_text
from regtest.cardano.web import Disconnect, Request, Response

Submit = Callable[[bytes], Awaitable[Tx]]

MODELS = {1: "PlutusV1", 2: "PlutusV2", 3: "PlutusV3"}
_ERRORS = {400: "Bad Request", 404: "Not Found", 425: "Mempool Full", 429: "Project Over Limit"}
_FULL = 3997


class Blockfrost:
    """`view` is the chain as this service is told to show it (faults: lag, lies, outage)."""

    def __init__(self, view: View, submit: Submit, network_magic: int) -> None:
        self._view, self._submit, self._magic = view, submit, network_magic

    async def handle(self, request: Request) -> Response:
        if self._view.down:
            raise Disconnect
        await asyncio.sleep(self._view.delay_ms / 1_000)
        if self._view.strike("rate_limits"):
            return _refusal(429, "Usage is over limit.", {"Retry-After": "1"})
        parts = request.path.removeprefix("/api/v0").strip("/").split("/")
        if parts == ["tx", "submit"] and request.method == "POST":
            return await self._submitted(request.body)
        content = self._route(parts)
        if content is None:
            return _refusal(404, "The requested component has not been found.")
        return Response(200, _page(content, request.query) if isinstance(content, list) else content)

    def _route(self, parts: list[str]) -> Any:
        match parts:
            case ["genesis"]:
                return self._genesis()
            case ["network", "eras"]:
                return self._eras()
            case ["epochs", "latest", "parameters"]:
                return self._parameters()
            case ["blocks", "latest"]:
                return self._block(self._view.tip())
            case ["blocks", name, *rest]:
                block = self._find(name)
                return None if block is None else self._of_block(block, rest)
            case ["txs", tx_id, *rest]:
                return self._of_tx(bytes.fromhex(tx_id), rest)
            case ["addresses", address, "utxos"]:
                index = self._view.chain.index.by_address
                rows = index.get(decode_address(address), {}).values()
                return [self._utxo(match) for match in self._unspent(rows)]
            case ["assets", "policy", policy]:
                return self._policy(bytes.fromhex(policy))
            case ["assets", asset, "addresses"]:
                return self._holders(bytes.fromhex(asset))
        return None

    # -- blocks and transactions -------------------------------------------------------------

    def _find(self, name: str) -> Block | None:
        blocks = self._view.blocks()
        if len(name) < 64:
            return blocks[int(name)] if int(name) < len(blocks) else None
        return next((block for block in reversed(blocks) if block.hash.hex() == name), None)

    def _of_block(self, block: Block, rest: list[str]) -> Any:
        match rest:
            case []:
                return self._block(block)
            case ["next"]:
                return [self._block(one) for one in self._view.blocks()[block.height + 1 :]]
            case ["txs", "cbor"]:
                return [{"tx_hash": tx.id.hex(), "cbor": tx.raw.hex()} for tx in block.txs]
        return None

    def _block(self, block: Block) -> dict[str, Any]:
        blocks, time = self._view.blocks(), self._view.chain.time
        after = blocks[block.height + 1].hash.hex() if block.height + 1 < len(blocks) else None
        return {
            "time": time.start_of(block.slot) // 1_000,
            "height": block.height,
            "hash": block.hash.hex(),
            "slot": block.slot,
            "epoch": block.slot // EPOCH_SLOTS,
            "epoch_slot": block.slot % EPOCH_SLOTS,
            "slot_leader": "devnet",
            "size": block.size,
            "tx_count": len(block.txs),
            "output": str(sum(o.lovelace for tx in block.txs for o in tx.produced().values())),
            "fees": str(sum(tx.fee for tx in block.txs)),
            "block_vrf": None,
            "op_cert": None,
            "op_cert_counter": None,
            "previous_block": None if block.parent is None else block.parent.hash.hex(),
            "next_block": after,
            "confirmations": len(blocks) - 1 - block.height,
        }

    def _of_tx(self, tx_id: bytes, rest: list[str]) -> Any:
        found = self._transaction(tx_id)
        if found is None:
            return None
        tx, block, index = found
        match rest:
            case []:
                return self._tx(tx, block, index)
            case ["cbor"]:
                return {"cbor": tx.raw.hex()}
            case ["utxos"]:
                rows = self._view.chain.index.by_tx.get(tx_id, {}).values()
                return {"hash": tx_id.hex(), "inputs": [], "outputs": [self._output(m) for m in rows]}
        return None

    def _transaction(self, tx_id: bytes) -> tuple[Tx, Block, int] | None:
        for block in reversed(self._view.blocks()):
            for index, tx in enumerate(block.txs):
                if tx.id == tx_id:
                    return tx, block, index
        return None

    def _tx(self, tx: Tx, block: Block, index: int) -> dict[str, Any]:
        return {
            "hash": tx.id.hex(),
            "block": block.hash.hex(),
            "block_height": block.height,
            "block_time": self._view.chain.time.start_of(block.slot) // 1_000,
            "slot": block.slot,
            "index": index,
            "fees": str(tx.fee),
            "size": len(tx.raw),
            "valid_contract": tx.is_valid,
        }

    # -- outputs -----------------------------------------------------------------------------

    def _unspent(self, matches: Iterable[Match]) -> list[Match]:
        """As of the height that this service shows, oldest first."""
        top = self._view.utxo_height()
        rows = [m for m in matches if m.created.height <= top and self._spender(m) is None]
        return sorted(rows, key=lambda m: (m.created.height, m.tx_index, m.ref.index))

    def _spender(self, match: Match) -> str | None:
        spent = match.spent
        return None if spent is None or spent.block.height > self._view.utxo_height() else spent.tx_id.hex()

    def _utxo(self, match: Match) -> dict[str, Any]:
        return {
            **_output(match.output),
            "tx_hash": match.ref.tx_id.hex(),
            "tx_index": match.ref.index,
            "output_index": match.ref.index,
            "block": match.created.hash.hex(),
        }

    def _output(self, match: Match) -> dict[str, Any]:
        spender = self._spender(match)
        shown = {"output_index": match.ref.index, "collateral": False, "consumed_by_tx": spender}
        return {**_output(match.output), **shown}

    def _policy(self, policy: bytes) -> list[dict[str, Any]] | None:
        amounts: dict[bytes, int] = {}
        for match in self._view.chain.index.matches.values():
            for key in match.output.assets:
                if key[:28] == policy and match.created.height <= self._view.utxo_height():
                    amounts.setdefault(key, 0)
        for match in self._unspent(self._view.chain.index.matches.values()):
            for key in match.output.assets.keys() & amounts.keys():
                amounts[key] += match.output.assets[key]
        rows = [{"asset": key.hex(), "quantity": str(held)} for key, held in amounts.items()]
        return rows or None

    def _holders(self, asset: bytes) -> list[dict[str, Any]] | None:
        held: dict[bytes, int] = {}
        for match in self._unspent(self._view.chain.index.matches.values()):
            if asset in match.output.assets:
                address = match.output.address
                held[address] = held.get(address, 0) + match.output.assets[asset]
        return [{"address": address_text(one), "quantity": str(sum_)} for one, sum_ in held.items()]

    # -- network -----------------------------------------------------------------------------

    def _genesis(self) -> dict[str, Any]:
        time = self._view.chain.time
        return {
            "active_slots_coefficient": 0.05,
            "update_quorum": 5,
            "max_lovelace_supply": "45000000000000000",
            "network_magic": self._magic,
            "epoch_length": EPOCH_SLOTS,
            "system_start": time.system_start_ms // 1_000,
            "slots_per_kes_period": 129_600,
            "slot_length": time.slot_length_ms // 1_000,
            "max_kes_evolutions": 62,
            "security_param": SECURITY_PARAMETER,
        }

    def _eras(self) -> list[dict[str, Any]]:
        shown = []
        for era in era_summaries(self._view.chain.time):
            p = era["parameters"]
            start = era["start"]
            horizon = self._view.tip().slot + p["safeZone"]
            last = {"time": horizon, "slot": horizon, "epoch": horizon // EPOCH_SLOTS}
            end = era.get("end")
            shown.append(
                {
                    "start": _bound(start),
                    "end": last if end is None else _bound(end),
                    "parameters": {
                        "epoch_length": p["epochLength"],
                        "slot_length": p["slotLength"]["milliseconds"] // 1_000,
                        "safe_zone": p["safeZone"],
                    },
                }
            )
        return shown

    def _parameters(self) -> dict[str, Any]:
        p = self._view.chain.params
        raw = {MODELS[language]: list(model) for language, model in sorted(p.cost_models.items())}
        return {
            "epoch": self._view.tip().slot // EPOCH_SLOTS,
            "min_fee_a": p.min_fee_coefficient,
            "min_fee_b": p.min_fee_constant,
            "max_block_size": p.max_block_body_size,
            "max_tx_size": p.max_tx_size,
            "max_block_header_size": p.max_block_header_size,
            "key_deposit": "2000000",
            "pool_deposit": "500000000",
            "protocol_major_ver": p.version[0],
            "protocol_minor_ver": p.version[1],
            "min_utxo": str(p.coins_per_utxo_byte),
            "cost_models_raw": raw,
            "price_mem": float(p.price_mem),
            "price_step": float(p.price_steps),
            "max_tx_ex_mem": str(p.max_tx_mem),
            "max_tx_ex_steps": str(p.max_tx_steps),
            "max_block_ex_mem": str(p.max_block_mem),
            "max_block_ex_steps": str(p.max_block_steps),
            "max_val_size": str(p.max_value_size),
            "collateral_percent": p.collateral_percent,
            "max_collateral_inputs": p.max_collateral_inputs,
            "coins_per_utxo_size": str(p.coins_per_utxo_byte),
            "coins_per_utxo_word": str(p.coins_per_utxo_byte),
            "min_fee_ref_script_cost_per_byte": p.ref_script_base,
        }

    # -- submission --------------------------------------------------------------------------

    async def _submitted(self, raw: bytes) -> Response:
        try:
            tx = await self._submit(raw)
        except LostAnswer:
            raise Disconnect from None
        except RpcError as error:
            return _not_submitted(error.error)
        return Response(200, json.dumps(tx.id.hex()), {"Content-Type": "application/json"})


def _not_submitted(error: dict[str, Any]) -> Response:
    words = f"{error['message']} {json.dumps(error.get('data'))}"
    if error["code"] == _FULL and "mempool is full" in words:
        return _refusal(425, "Mempool is full, please try resubmitting again later.")
    tag = "TxCmdTxReadError" if error["code"] < 0 else "TxCmdTxSubmitValidationError"
    contents = {"tag": "TxValidationErrorInCardanoMode", "contents": words}
    return _refusal(400, json.dumps({"contents": {"tag": tag, "contents": contents}, "tag": "TxSubmitFail"}))


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> Response:
    content = {"status_code": status, "error": _ERRORS[status], "message": message}
    return Response(status, content, headers or {})


def _page(rows: list[Any], query: dict[str, str]) -> list[Any]:
    count, page = int(query.get("count", "100")), int(query.get("page", "1"))
    if not (1 <= count <= 100 and page >= 1):
        raise ValueError("querystring/count should be <= 100")
    return rows[(page - 1) * count : page * count]


def _bound(given: dict[str, Any]) -> dict[str, int]:
    return {"time": given["time"]["seconds"], "slot": given["slot"], "epoch": given["epoch"]}


def _amount(lovelace: int, assets: Assets) -> list[dict[str, str]]:
    rows = [{"unit": "lovelace", "quantity": str(lovelace)}]
    return rows + [{"unit": key.hex(), "quantity": str(held)} for key, held in sorted(assets.items())]


def _output(output: Output) -> dict[str, Any]:
    script = output.script
    return {
        "address": address_text(output.address),
        "amount": _amount(output.lovelace, output.assets),
        "data_hash": None if output.datum_hash is None else output.datum_hash.hex(),
        "inline_datum": None if output.datum is None else output.datum.hex(),
        "reference_script_hash": None if script is None else script.hash.hex(),
    }
