"""A client of Kupo (2.8 or newer): unspent outputs by address, policy or reference, and its health.

Fails with cl.chain.provider_down, .timeout, .malformed, .answer_too_large, .rpc_refused.
Source: Kupo's API reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from gateway.cl.chain import fields as f
from gateway.cl.chain.errors import BAD_URL, DOWN, REFUSED, TIMEOUT, TOO_LARGE
from gateway.cl.chain.txcbor import script_cbor
from gateway.cl.data.types import OutputRef
from gateway.cl.ports import Point, Utxo
from gateway.errors import Refused
from gateway.units import Lovelace, Slot

MAX_ANSWER = 64 * 1024 * 1024
LANGUAGES = {"native": 0, "plutus:v1": 1, "plutus:v2": 2, "plutus:v3": 3}


@dataclass(frozen=True, slots=True)
class Matches:
    """What Kupo knew at `checkpoint`."""

    utxos: tuple[Utxo, ...]
    checkpoint: Slot


@dataclass(frozen=True, slots=True)
class KupoHealth:
    connected: bool
    checkpoint: Slot | None
    node_tip: Slot | None
    version: str


class Kupo:
    def __init__(self, url: str, *, timeout_s: float = 20.0, max_answer: int = MAX_ANSWER) -> None:
        if not url.startswith(("http://", "https://")):
            raise Refused(BAD_URL(field="kupo", got=url, allowed="http://…, https://…"))
        self.url = url.rstrip("/")
        self._max_answer = max_answer
        self._http = httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=False, trust_env=False, headers={"Accept": "application/json"}
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def unspent_at(self, address: str) -> Matches:
        return await self._unspent(address)

    async def unspent_of_policy(self, policy_id: bytes) -> Matches:
        return await self._unspent(f"{policy_id.hex()}.*")

    async def unspent_by_ref(self, ref: OutputRef) -> Matches:
        return await self._unspent(f"{ref.index}@{ref.tx_id.hex()}")

    async def datum(self, digest: bytes) -> bytes | None:
        answer, _ = await self._get(f"/datums/{digest.hex()}")
        return None if answer is None else f.octets(f.get(answer, "datum", "datum"), "datum.datum")

    async def script(self, digest: bytes) -> bytes | None:
        """The script as the ledger's CBOR `[language, script]`."""
        answer, _ = await self._get(f"/scripts/{digest.hex()}")
        return None if answer is None else _script(answer, "script")

    async def health(self) -> KupoHealth:
        answer, _ = await self._get("/health")
        return KupoHealth(
            f.text(f.get(answer, "health", "connection_status"), "health.connection_status") == "connected",
            _slot_or_none(f.get(answer, "health", "most_recent_checkpoint"), "health.most_recent_checkpoint"),
            _slot_or_none(f.get(answer, "health", "most_recent_node_tip"), "health.most_recent_node_tip"),
            str(f.obj(answer, "health").get("version", ""))[:80],
        )

    async def _unspent(self, pattern: str) -> Matches:
        answer, checkpoint = await self._get(f"/matches/{pattern}?unspent&resolve_hashes")
        rows = f.items(answer, "matches")
        utxos = [_utxo(row, f"matches[{n}]") for n, row in enumerate(rows)]
        if checkpoint is None:
            raise f.malformed("X-Most-Recent-Checkpoint", "missing", "a slot")
        return Matches(tuple(sorted(utxos, key=lambda u: (u.ref.tx_id, u.ref.index))), checkpoint)

    async def _get(self, path: str) -> tuple[Any, Slot | None]:
        body = bytearray()
        try:
            async with self._http.stream("GET", self.url + path) as response:
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > self._max_answer:
                        raise Refused(TOO_LARGE(field=path.split("?")[0][:80], got=self.url))
        except httpx.TimeoutException:
            raise Refused(TIMEOUT(field=path.split("?")[0][:80], got=self.url)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            detail = f"{type(error).__name__}: {error}"[:200]
            raise Refused(DOWN(field="kupo", got=self.url, detail=detail)) from None
        if response.status_code in (502, 503, 504):
            raise Refused(DOWN(field="kupo", got=self.url, detail=f"HTTP {response.status_code}"))
        if response.status_code != 200:
            detail = f"HTTP {response.status_code}: {bytes(body[:200]).decode(errors='replace')}"
            raise Refused(REFUSED(field=path.split("?")[0][:80], got=self.url, detail=detail))
        seen = response.headers.get("X-Most-Recent-Checkpoint", "")
        checkpoint = Slot(int(seen)) if seen.isascii() and seen.isdigit() and len(seen) < 20 else None
        return f.parse(bytes(body), "kupo"), checkpoint


def _slot_or_none(value: object, where: str) -> Slot | None:
    return None if value is None else Slot(f.whole(value, where))


def _utxo(row: object, where: str) -> Utxo:
    tx_id = f.octets(f.get(row, where, "transaction_id"), f"{where}.transaction_id", 32)
    index = f.whole(f.get(row, where, "output_index"), f"{where}.output_index", 1 << 16)
    if f.get(row, where, "spent_at") is not None:
        raise f.malformed(f"{where}.spent_at", "a spent output", "unspent outputs only")
    assets: dict[bytes, int] = {}
    held = f.obj(f.get(row, where, "value", "assets"), f"{where}.value.assets")
    for name, quantity in held.items():
        policy, _, asset = name.partition(".")
        key = f.octets(policy, f"{where}.value.assets", 28) + f.octets(asset, f"{where}.value.assets")
        assets[key] = f.whole(quantity, f"{where}.value.assets.{name[:60]}")
    at = f.get(row, where, "created_at")
    digest = f.get(row, where, "datum_hash")
    inline = digest is not None and f.get(row, where, "datum_type") == "inline"
    script = f.obj(row, where).get("script")
    if f.get(row, where, "script_hash") is not None and script is None:
        raise f.malformed(f"{where}.script", "missing", "the script (Kupo 2.8 or newer resolves it)")
    return Utxo(
        ref=OutputRef(tx_id, index),
        address=f.text(f.get(row, where, "address"), f"{where}.address"),
        lovelace=Lovelace(f.whole(f.get(row, where, "value", "coins"), f"{where}.value.coins")),
        assets=tuple(sorted(assets.items())),
        datum_cbor=f.octets(f.get(row, where, "datum"), f"{where}.datum") if inline else None,
        datum_hash=f.octets(digest, f"{where}.datum_hash", 32) if digest is not None and not inline else None,
        script_ref_cbor=None if script is None else _script(script, f"{where}.script"),
        created_at=Point(
            Slot(f.whole(f.get(at, f"{where}.created_at", "slot_no"), f"{where}.created_at.slot_no")),
            f.octets(f.get(at, f"{where}.created_at", "header_hash"), f"{where}.created_at.header_hash", 32),
        ),
    )


def _script(value: object, where: str) -> bytes:
    language = LANGUAGES.get(f.text(f.get(value, where, "language"), f"{where}.language"))
    if language is None:
        raise f.malformed(f"{where}.language", f.get(value, where, "language"), ", ".join(LANGUAGES))
    return script_cbor(language, f.octets(f.get(value, where, "script"), f"{where}.script"))
