"""Regtest coins: a throw-away key that mines, and legacy transactions that hand its coinbases out."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from bech32 import decode as decode_segwit
from coincurve import PrivateKey

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_REGTEST_P2PKH = b"\x6f"
_SIGHASH_ALL = 1


def _sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _varint(number: int) -> bytes:
    return bytes((number,)) if number < 0xFD else b"\xfd" + number.to_bytes(2, "little")


def segwit_script(address: str) -> bytes:
    """scriptPubKey of a bcrt1… address, version 0 or 1."""
    version, program = decode_segwit("bcrt", address)
    if version is None or program is None:
        raise ValueError(f"{address} is no regtest address")
    return bytes((version + 0x50 if version else 0, len(program))) + bytes(program)


class Miner:
    """The key behind btcd's --miningaddr."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._key = PrivateKey(secret or secrets.token_bytes(32))
        self._public = self._key.public_key.format()
        self._hash = hashlib.new("ripemd160", hashlib.sha256(self._public).digest()).digest()

    @property
    def address(self) -> str:
        payload = _REGTEST_P2PKH + self._hash
        number = int.from_bytes(payload + _sha256d(payload)[:4], "big")
        text = ""
        while number:
            number, digit = divmod(number, 58)
            text = _BASE58[digit] + text
        return text

    def pay(self, coinbases: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, int]], fee: int) -> str:
        """Hex of a transaction that spends whole coinbases [(txid, sat)] into outputs [(address, sat)]; the rest
        comes back to the miner."""
        script = b"\x76\xa9\x14" + self._hash + b"\x88\xac"
        rest = sum(value for _, value in coinbases) - sum(value for _, value in outputs) - fee
        outs = [(segwit_script(address), value) for address, value in outputs] + [(script, rest)]
        tail = _varint(len(outs)) + b"".join(
            value.to_bytes(8, "little") + _varint(len(s)) + s for s, value in outs
        )

        def inputs(signed: Sequence[bytes]) -> bytes:
            return _varint(len(coinbases)) + b"".join(
                bytes.fromhex(tx_id)[::-1] + bytes(4) + _varint(len(s)) + s + b"\xff" * 4
                for (tx_id, _), s in zip(coinbases, signed, strict=True)
            )

        head, end = (2).to_bytes(4, "little"), bytes(4)
        signatures = []
        for place in range(len(coinbases)):
            blank = [script if n == place else b"" for n in range(len(coinbases))]
            message = head + inputs(blank) + tail + end + _SIGHASH_ALL.to_bytes(4, "little")
            signature = self._key.sign(_sha256d(message), hasher=None) + bytes((_SIGHASH_ALL,))
            signatures.append(_varint(len(signature)) + signature + _varint(len(self._public)) + self._public)
        return (head + inputs(signatures) + tail + end).hex()
