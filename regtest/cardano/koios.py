"""Koios's HTTP API (v1) over the chain: what a node asks of it, PostgREST's filters included as far as it uses them.

Source: Koios's OpenAPI description (v1.4.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from regtest.cardano.blockfrost import MODELS, Submit
from regtest.cardano.chain import Block
from regtest.cardano.faults import View
from regtest.cardano.genesis import EPOCH_SLOTS, SECURITY_PARAMETER
from regtest.cardano.index import Match
from regtest.cardano.kupo import decode_address
from regtest.cardano.ogmios import LostAnswer
from regtest.cardano.queries import RpcError
from regtest.cardano.transaction import Tx
from regtest.cardano.views import address_text
from regtest.cardano.web import Disconnect, Request, Response

MOST_ROWS = 1_000


class Koios:
    """`view` is the chain as this service is told to show it (faults: lag, lies, outage)."""

    def __init__(self, view: View, submit: Submit, network_magic: int) -> None:
        self._view, self._submit, self._magic = view, submit, network_magic

    async def handle(self, request: Request) -> Response:
        if self._view.down:
            raise Disconnect
        await asyncio.sleep(self._view.delay_ms / 1_000)
        path = request.path.removeprefix("/api/v1").strip("/")
        if path == "submittx" and request.method == "POST":
            return await self._submitted(request.body)
        body = request.json() if request.method == "POST" else {}
        rows = self._rows(path, body, request.query)
        if rows is None:
            return Response(404, {"message": "no such function"})
        return Response(200, _page(rows, request.query))

    def _rows(self, path: str, body: dict[str, Any], query: dict[str, str]) -> list[dict[str, Any]] | None:
        match path:
            case "tip":
                return [self._tip()]
            case "genesis":
                return [self._genesis()]
            case "epoch_params":
                return [self._parameters()]
            case "blocks":
                return self._blocks(query)
            case "block_tx_cbor":
                found = self._of_blocks(body["_block_hashes"])
                return [self._cbor(tx, block) for tx, block, _ in reversed(found)]  # in no promised order
            case "block_tx_info":
                return [self._info(*one) for one in self._of_blocks(body["_block_hashes"])]
            case "tx_cbor":
                wanted = set(body["_tx_hashes"])
                return [
                    self._cbor(tx, block) for tx, block, _ in self._transactions() if tx.id.hex() in wanted
                ]
            case "address_utxos":
                addresses = [decode_address(one) for one in body["_addresses"]]
                index = self._view.chain.index.by_address
                return [
                    self._utxo(m) for one in addresses for m in self._unspent(index.get(one, {}).values())
                ]
            case "utxo_info":
                matches = self._view.chain.index.matches.values()
                return [self._utxo(m) for m in self._shown(matches) if str(m.ref) in body["_utxo_refs"]]
            case "policy_asset_addresses":
                return self._holders(bytes.fromhex(query["_asset_policy"]))
        return None

    # -- blocks and transactions -------------------------------------------------------------

    def _blocks(self, query: dict[str, str]) -> list[dict[str, Any]]:
        blocks = self._view.blocks()
        if "hash" in query:
            blocks = [b for b in blocks if b.hash.hex() == query["hash"].removeprefix("eq.")]
        if "abs_slot" in query:
            least = int(query["abs_slot"].removeprefix("gte."))
            blocks = [b for b in blocks if b.slot >= least]
        if query.get("order") != "abs_slot.asc":
            blocks = blocks[::-1]
        return [self._block(block) for block in blocks]

    def _block(self, block: Block) -> dict[str, Any]:
        return {
            "hash": block.hash.hex(),
            "epoch_no": block.slot // EPOCH_SLOTS,
            "abs_slot": block.slot,
            "epoch_slot": block.slot % EPOCH_SLOTS,
            "block_height": block.height,
            "block_size": block.size,
            "block_time": self._time(block),
            "tx_count": len(block.txs),
            "vrf_key": None,
            "pool": None,
            "op_cert_counter": 0,
            "proto_major": self._view.chain.params.version[0],
            "proto_minor": self._view.chain.params.version[1],
            "parent_hash": None if block.parent is None else block.parent.hash.hex(),
        }

    def _time(self, block: Block) -> int:
        return self._view.chain.time.start_of(block.slot) // 1_000

    def _transactions(self) -> Iterable[tuple[Tx, Block, int]]:
        for block in self._view.blocks():
            for index, tx in enumerate(block.txs):
                yield tx, block, index

    def _of_blocks(self, hashes: list[str]) -> list[tuple[Tx, Block, int]]:
        return [one for one in self._transactions() if one[1].hash.hex() in hashes]

    def _cbor(self, tx: Tx, block: Block) -> dict[str, Any]:
        return {
            "tx_hash": tx.id.hex(),
            "block_hash": block.hash.hex(),
            "block_height": block.height,
            "epoch_no": block.slot // EPOCH_SLOTS,
            "absolute_slot": block.slot,
            "tx_timestamp": self._time(block),
            "cbor": tx.raw.hex(),
            "valid_contract": tx.is_valid,
        }

    def _info(self, tx: Tx, block: Block, index: int) -> dict[str, Any]:
        return {
            "tx_hash": tx.id.hex(),
            "block_hash": block.hash.hex(),
            "block_height": block.height,
            "absolute_slot": block.slot,
            "tx_block_index": index,
            "tx_size": len(tx.raw),
            "fee": str(tx.fee),
        }

    # -- outputs -----------------------------------------------------------------------------

    def _shown(self, matches: Iterable[Match]) -> list[Match]:
        return [match for match in matches if match.created.height <= self._view.utxo_height()]

    def _is_spent(self, match: Match) -> bool:
        return match.spent is not None and match.spent.block.height <= self._view.utxo_height()

    def _unspent(self, matches: Iterable[Match]) -> list[Match]:
        return [match for match in self._shown(matches) if not self._is_spent(match)]

    def _utxo(self, match: Match) -> dict[str, Any]:
        return {
            "tx_hash": match.ref.tx_id.hex(),
            "tx_index": match.ref.index,
            "address": address_text(match.output.address),
            "value": str(match.output.lovelace),
            "stake_address": None,
            "payment_cred": match.output.address[1:29].hex(),
            "epoch_no": match.created.slot // EPOCH_SLOTS,
            "block_height": match.created.height,
            "block_time": self._time(match.created),
            "datum_hash": None if match.output.datum_hash is None else match.output.datum_hash.hex(),
            "inline_datum": None,
            "reference_script": None,
            "asset_list": None,
            "is_spent": self._is_spent(match),
        }

    def _holders(self, policy: bytes) -> list[dict[str, Any]]:
        held: dict[tuple[bytes, bytes], int] = {}
        for match in self._unspent(self._view.chain.index.matches.values()):
            for key, amount in match.output.assets.items():
                if key[:28] == policy:
                    at = (key[28:], match.output.address)
                    held[at] = held.get(at, 0) + amount
        return [
            {"asset_name": name.hex(), "payment_address": address_text(address), "quantity": str(amount)}
            for (name, address), amount in sorted(held.items())
        ]

    # -- network -----------------------------------------------------------------------------

    def _tip(self) -> dict[str, Any]:
        block = self._block(self._view.tip())
        names = ("hash", "epoch_no", "abs_slot", "epoch_slot", "block_height", "block_time")
        return {**{name: block[name] for name in names}, "era": "Conway", "block_no": block["block_height"]}

    def _genesis(self) -> dict[str, Any]:
        time = self._view.chain.time
        return {
            "networkmagic": str(self._magic),
            "networkid": "Testnet",
            "epochlength": str(EPOCH_SLOTS),
            "slotlength": str(time.slot_length_ms // 1_000),
            "maxlovelacesupply": "45000000000000000",
            "systemstart": time.system_start_ms // 1_000,
            "activeslotcoeff": "0.05",
            "slotsperkesperiod": "129600",
            "maxkesrevolutions": "62",
            "securityparam": str(SECURITY_PARAMETER),
            "updatequorum": "5",
            "alonzogenesis": "{}",
        }

    def _parameters(self) -> dict[str, Any]:
        p = self._view.chain.params
        return {
            "epoch_no": self._view.tip().slot // EPOCH_SLOTS,
            "era": "Conway",
            "min_fee_a": p.min_fee_coefficient,
            "min_fee_b": p.min_fee_constant,
            "max_block_size": p.max_block_body_size,
            "max_tx_size": p.max_tx_size,
            "max_bh_size": p.max_block_header_size,
            "key_deposit": "2000000",
            "pool_deposit": "500000000",
            "protocol_major": p.version[0],
            "protocol_minor": p.version[1],
            "cost_models": {MODELS[one]: list(model) for one, model in sorted(p.cost_models.items())},
            "price_mem": float(p.price_mem),
            "price_step": float(p.price_steps),
            "max_tx_ex_mem": p.max_tx_mem,
            "max_tx_ex_steps": p.max_tx_steps,
            "max_block_ex_mem": p.max_block_mem,
            "max_block_ex_steps": p.max_block_steps,
            "max_val_size": p.max_value_size,
            "collateral_percent": p.collateral_percent,
            "max_collateral_inputs": p.max_collateral_inputs,
            "coins_per_utxo_size": str(p.coins_per_utxo_byte),
            "min_fee_ref_script_cost_per_byte": p.ref_script_base,
        }

    # -- submission --------------------------------------------------------------------------

    async def _submitted(self, raw: bytes) -> Response:
        """Refusals in the words of the node's own submission service, as Koios passes them on."""
        try:
            tx = await self._submit(raw)
        except LostAnswer:
            raise Disconnect from None
        except RpcError as error:
            words = f"{error.error['message']} {json.dumps(error.error.get('data'))}"
            tag = "TxCmdTxReadError" if error.error["code"] < 0 else "TxCmdTxSubmitValidationError"
            return Response(400, {"tag": "TxSubmitFail", "contents": {"tag": tag, "contents": words}})
        return Response(202, json.dumps(tx.id.hex()), {"Content-Type": "application/json"})


def _page(rows: list[Any], query: dict[str, str]) -> list[Any]:
    offset = int(query.get("offset", "0"))
    return rows[offset : offset + min(int(query.get("limit", MOST_ROWS)), MOST_ROWS)]
