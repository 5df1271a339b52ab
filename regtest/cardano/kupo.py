"""Kupo's HTTP API (v2.11) over the chain's index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from bech32 import bech32_decode, convertbits

from regtest.cardano.cbor import CborError, Kind, Node, parse
from regtest.cardano.faults import View
from regtest.cardano.index import Match
from regtest.cardano.params import LANGUAGES
from regtest.cardano.transaction import Script, blake2b_224, blake2b_256
from regtest.cardano.views import address_text
from regtest.cardano.web import Disconnect, Request, Response

VERSION = "v2.11.0"
Test = Callable[[Match], bool]


class Kupo:
    """`view` is the chain as this service is told to show it (faults: lag, lies, outage)."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def handle(self, request: Request) -> Response:
        if self._view.down:
            raise Disconnect
        await asyncio.sleep(self._view.delay_ms / 1_000)
        head, _, rest = request.path.strip("/").partition("/")
        checkpoint = self._view.tip()
        headers = {"X-Most-Recent-Checkpoint": str(checkpoint.slot), "ETag": checkpoint.hash.hex()}
        if request.method != "GET":
            return Response(405, {"hint": "this index is read-only and follows everything"}, headers)
        if request.headers.get("if-none-match") == checkpoint.hash.hex() and head != "health":
            return Response(304, None, headers)
        content = self._route(head, rest, request)
        if isinstance(content, Response):
            return content
        return Response(200, content, headers)

    def _route(self, head: str, rest: str, request: Request) -> Any:
        match head:
            case "matches":
                as_text = "asset-quantity=string" in request.headers.get("accept", "")
                return self._matches(rest or "*", request.query, as_text)
            case "datums":
                datum = self._view.chain.index.datums.get(_digest(rest, 32))
                return None if datum is None else {"datum": datum.hex()}
            case "scripts":
                script = self._view.chain.index.scripts.get(_digest(rest, 28))
                return None if script is None else _script(script)
            case "patterns":
                return ["*"]
            case "checkpoints":
                return self._checkpoints(rest, request.query)
            case "metadata":
                return self._metadata(int(rest), request.query.get("transaction_id"))
            case "health" | "metrics":
                return self._health()
        return Response(404, {"hint": "unknown path"})

    def _matches(self, pattern: str, query: dict[str, str], as_text: bool) -> list[dict[str, Any]]:
        tests = [pattern_test(pattern), *_filters(query)]
        top = self._view.utxo_height()
        found: list[tuple[tuple[int, int, int], dict[str, Any]]] = []
        for match in self._candidates(pattern):
            if match.created.height > top:
                continue
            seen = match
            if match.spent is not None and match.spent.block.height > top:
                seen = Match(match.ref, match.output, match.tx_index, match.created)
            if all(test(seen) for test in tests):
                order = (seen.created.slot, seen.tx_index, seen.ref.index)
                found.append((order, self._match(seen, "resolve_hashes" in query, as_text)))
        newest_first = query.get("order", "most_recent_first") == "most_recent_first"
        found.sort(key=lambda item: item[0], reverse=newest_first)
        return [item for _, item in found]

    def _candidates(self, pattern: str) -> Iterable[Match]:
        """The narrowest set known to hold all matches of a valid pattern."""
        index = self._view.chain.index
        if "@" in pattern:
            return index.by_tx.get(bytes.fromhex(pattern.partition("@")[2]), {}).values()
        if pattern.startswith("addr") and "/" not in pattern:
            return index.by_address.get(decode_address(pattern), {}).values()
        return index.matches.values()

    def _match(self, match: Match, resolve: bool, as_text: bool) -> dict[str, Any]:
        output, index = match.output, self._view.chain.index
        number: Callable[[int], Any] = str if as_text else int
        datum_hash = output.datum_hash
        if output.datum is not None:
            datum_hash = blake2b_256(output.datum)
        assets = {_asset(key): number(amount) for key, amount in sorted(output.assets.items())}
        shown: dict[str, Any] = {
            "transaction_index": match.tx_index,
            "transaction_id": match.ref.tx_id.hex(),
            "output_index": match.ref.index,
            "address": address_text(output.address),
            "value": {"coins": number(output.lovelace), "assets": assets},
            "datum_hash": None if datum_hash is None else datum_hash.hex(),
            "script_hash": None if output.script is None else output.script.hash.hex(),
            "created_at": {"slot_no": match.created.slot, "header_hash": match.created.hash.hex()},
            "spent_at": None,
        }
        if datum_hash is not None:
            shown["datum_type"] = "inline" if output.datum is not None else "hash"
        if match.spent is not None:
            redeemer = match.spent.redeemer
            shown["spent_at"] = {
                "slot_no": match.spent.block.slot,
                "header_hash": match.spent.block.hash.hex(),
                "transaction_id": match.spent.tx_id.hex(),
                "input_index": match.spent.input_index,
                "redeemer": None if redeemer is None else redeemer.hex(),
            }
        if resolve:
            datum = index.datums.get(datum_hash) if datum_hash is not None else None
            shown["datum"] = None if datum is None else datum.hex()
            shown["script"] = None if output.script is None else _script(output.script)
        return shown

    def _checkpoints(self, rest: str, query: dict[str, str]) -> Any:
        blocks = self._view.blocks()
        if not rest:
            return [_point(block.slot, block.hash) for block in reversed(blocks)]
        slot = int(rest)
        for block in reversed(blocks):
            if block.slot == slot or (block.slot < slot and "strict" not in query):
                return _point(block.slot, block.hash)
        return None

    def _metadata(self, slot: int, tx_id: str | None) -> list[dict[str, Any]]:
        for block in self._view.blocks():
            if block.slot == slot:
                rows = [tx for tx in block.txs if tx_id is None or tx.id.hex() == tx_id]
                raws = [tx.auxiliary_raw for tx in rows if tx.auxiliary_raw is not None]
                return [_metadatum_row(raw) for raw in raws]
        return []

    def _health(self) -> dict[str, Any]:
        tip, seen = self._view.chain.tip, self._view.tip()
        return {
            "connection_status": "connected",
            "most_recent_checkpoint": seen.slot,
            "most_recent_node_tip": tip.slot,
            "seconds_since_last_block": max(0, self._view.now_slot() - seen.slot),
            "network_synchronization": round((seen.slot + 1) / (tip.slot + 1), 5),
            "configuration": {"indexes": "installed"},
            "version": VERSION,
        }


def _point(slot: int, digest: bytes) -> dict[str, Any]:
    return {"slot_no": slot, "header_hash": digest.hex()}


def _digest(text: str, size: int) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != size:
        raise ValueError(f"a digest of {size} bytes is expected")
    return digest


def _asset(key: bytes) -> str:
    return f"{key[:28].hex()}.{key[28:].hex()}" if key[28:] else key.hex()


def _script(script: Script) -> dict[str, Any]:
    return {"language": LANGUAGES[script.language], "script": script.content.hex()}


def pattern_test(pattern: str) -> Test:
    """Wildcard, address or credentials, asset, output reference. Fails with ValueError on anything else."""
    if pattern in ("*", "*/*"):
        return lambda match: True
    if "@" in pattern:
        index, _, tx_id = pattern.partition("@")
        wanted = _digest(tx_id, 32)
        number = None if index == "*" else int(index)
        return lambda match: match.ref.tx_id == wanted and number in (None, match.ref.index)
    if "/" in pattern:
        payment, _, delegation = pattern.partition("/")
        first, second = _credential(payment), _credential(delegation)
        return lambda match: _credentials(match.output.address, first, second)
    if "." in pattern:
        policy, _, name = pattern.partition(".")
        return _asset_test(_digest(policy, 28), None if name == "*" else bytes.fromhex(name))
    address = decode_address(pattern)
    if address[0] >> 4 in (14, 15):
        return lambda match: _credentials(match.output.address, None, address[1:])
    return lambda match: match.output.address == address


def _asset_test(policy: bytes, name: bytes | None) -> Test:
    def test(match: Match) -> bool:
        assets = match.output.assets
        return policy + name in assets if name is not None else any(key[:28] == policy for key in assets)

    return test


def decode_address(text: str) -> bytes:
    if text.startswith(("addr", "stake")):
        return _bech32(text)
    address = bytes.fromhex(text)
    if not address:
        raise ValueError("an empty address")
    return address


def _bech32(text: str) -> bytes:
    _, words = bech32_decode(text)
    data = convertbits(words, 5, 8, False) if words else None
    if not data:
        raise ValueError("malformed bech32")
    return bytes(data)


def _credential(text: str) -> bytes | None:
    if text == "*":
        return None
    data = bytes.fromhex(text) if not text.startswith(("addr_", "script", "stake_")) else _bech32(text)
    if len(data) == 32:  # a verification key stands for its hash
        return blake2b_224(data)
    if len(data) != 28:
        raise ValueError("a credential of 28 bytes, or a key of 32, is expected")
    return data


def _credentials(address: bytes, payment: bytes | None, delegation: bytes | None) -> bool:
    if payment is not None and address[1:29] != payment:
        return False
    return delegation is None or address[29:57] == delegation


def _bound(query: dict[str, str], name: str) -> int | None:
    return int(query[name].partition(".")[0]) if name in query else None


def _filters(query: dict[str, str]) -> Iterable[Test]:
    """Exclusive status flags, slot bounds (inclusive), and restrictions on asset and transaction."""
    if "spent" in query and "unspent" in query:
        raise ValueError("spent and unspent exclude each other")
    if "unspent" in query:
        yield lambda match: match.spent is None
    if "spent" in query:
        yield lambda match: match.spent is not None
    after, before = _bound(query, "created_after"), _bound(query, "created_before")
    if after is not None:
        yield lambda match: match.created.slot >= after
    if before is not None:
        yield lambda match: match.created.slot <= before
    since, until = _bound(query, "spent_after"), _bound(query, "spent_before")
    if since is not None:
        yield lambda match: match.spent is not None and match.spent.block.slot >= since
    if until is not None:
        yield lambda match: match.spent is not None and match.spent.block.slot <= until
    if "policy_id" in query:
        name = query.get("asset_name")
        yield _asset_test(_digest(query["policy_id"], 28), None if name is None else bytes.fromhex(name))
    if "transaction_id" in query:
        index = query.get("output_index", "*")
        yield pattern_test(f"{index}@{query['transaction_id']}")


def _metadatum_row(raw: bytes) -> dict[str, Any]:
    node = parse(raw)
    if node.kind is Kind.TAG:
        node = node.value[1].by_uint().get(0) or parse(b"\xa0")
    elif node.kind is Kind.ARRAY:
        node = node.items()[0]
    schema = {str(key.integer()): _metadatum(value) for key, value in node.pairs()}
    return {"hash": blake2b_256(raw).hex(), "raw": raw.hex(), "schema": schema}


def _metadatum(node: Node) -> dict[str, Any]:
    match node.kind:
        case Kind.INT:
            return {"int": node.value}
        case Kind.BYTES:
            return {"bytes": node.value.hex()}
        case Kind.TEXT:
            return {"string": node.value}
        case Kind.ARRAY:
            return {"list": [_metadatum(item) for item in node.items()]}
        case Kind.MAP:
            return {"map": [{"k": _metadatum(key), "v": _metadatum(value)} for key, value in node.pairs()]}
    raise CborError("not a metadatum")
