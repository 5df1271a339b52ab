"""Transactions written by hand, byte by byte, for the tests of the devnet's ledger rules.

A `Draft` says what the body and the witnesses hold; `build` encodes, fills in the integrity hash and signs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from nacl.signing import SigningKey

from regtest.cardano.cbor import array, head, mapping, octets, parse, uint
from regtest.cardano.params import Params
from regtest.cardano.transaction import (
    Output,
    Pointer,
    Ref,
    Script,
    blake2b_224,
    blake2b_256,
    decode_output,
)

UNIT = bytes.fromhex("d87980")
ALWAYS_V3 = Script(3, bytes.fromhex("450101002499"))  # \ctx -> ()
NEVER_V3 = Script(3, bytes.fromhex("450101002601"))  # \ctx -> error
ALWAYS_V2 = Script(2, bytes.fromhex("46010000222499"))  # \datum redeemer ctx -> ()


def key(name: str) -> SigningKey:
    return SigningKey(sha256(name.encode()).digest())


def key_hash(signer: SigningKey) -> bytes:
    return blake2b_224(bytes(signer.verify_key))


def key_address(signer: SigningKey, network: int = 0) -> bytes:
    return bytes([0x60 | network]) + key_hash(signer)


def script_address(script: Script, network: int = 0) -> bytes:
    return bytes([0x70 | network]) + script.hash


def asset_value(lovelace: int, assets: dict[bytes, int]) -> bytes:
    if not assets:
        return uint(lovelace)
    policies: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for name, quantity in sorted(assets.items()):
        policies.setdefault(name[:28], []).append((octets(name[28:]), uint(quantity)))
    return array([uint(lovelace), mapping((octets(p), mapping(rows)) for p, rows in policies.items())])


def make_output(
    address: bytes,
    lovelace: int,
    assets: dict[bytes, int] | None = None,
    datum: bytes | None = None,
    datum_hash: bytes | None = None,
    script: Script | None = None,
) -> Output:
    fields = [(uint(0), octets(address)), (uint(1), asset_value(lovelace, assets or {}))]
    if datum is not None:
        fields.append((uint(2), array([uint(1), b"\xd8\x18" + octets(datum)])))
    if datum_hash is not None:
        fields.append((uint(2), array([uint(0), octets(datum_hash)])))
    if script is not None:
        content = octets(script.content) if script.language else script.content
        fields.append((uint(3), b"\xd8\x18" + octets(array([uint(script.language), content]))))
    return decode_output(parse(mapping(fields)))


@dataclass
class Draft:
    inputs: list[Ref] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    fee: int = 300_000
    signers: list[SigningKey] = field(default_factory=list)
    invalid_after: int | None = None
    invalid_before: int | None = None
    mint: dict[bytes, int] = field(default_factory=dict)
    collateral: list[Ref] = field(default_factory=list)
    collateral_return: Output | None = None
    total_collateral: int | None = None
    references: list[Ref] = field(default_factory=list)
    required_signers: list[bytes] = field(default_factory=list)
    network: int | None = None
    redeemers: dict[Pointer, tuple[bytes, int, int]] = field(default_factory=dict)
    datums: list[bytes] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)
    languages: set[int] = field(default_factory=set)  # of the scripts that run
    integrity: bytes | None = None  # overrides the computed hash
    omit_integrity: bool = False
    auxiliary: bytes | None = None
    auxiliary_hash: bytes | None = None  # overrides; b"" leaves it out
    extra: dict[int, bytes] = field(default_factory=dict)  # raw body fields
    is_valid: bool = True
    spoil_signature: bool = False
    params: Params = field(default_factory=Params)

    def _redeemers(self) -> bytes:
        return mapping(
            (array([uint(at.tag), uint(at.index)]), array([data, array([uint(mem), uint(steps)])]))
            for at, (data, mem, steps) in sorted(self.redeemers.items())
        )

    def _integrity(self) -> bytes | None:
        if self.omit_integrity:
            return None
        if self.integrity is not None:
            return self.integrity
        if not (self.redeemers or self.datums or self.languages):
            return None
        redeemers = self._redeemers() if self.redeemers else b"\xa0"
        datums = array(self.datums) if self.datums else b""
        return blake2b_256(redeemers + datums + self.params.language_views(self.languages))

    def body(self) -> bytes:
        fields = {
            0: array(ref.cbor() for ref in self.inputs),
            1: array(output.raw for output in self.outputs),
            2: uint(self.fee),
        }
        numbers = {3: self.invalid_after, 8: self.invalid_before, 15: self.network, 17: self.total_collateral}
        fields.update({place: uint(number) for place, number in numbers.items() if number is not None})
        if self.mint:
            fields[9] = parse(asset_value(0, self.mint)).items()[1].raw
        for place, refs in ((13, self.collateral), (18, self.references)):
            if refs:
                fields[place] = array(ref.cbor() for ref in refs)
        if self.required_signers:
            fields[14] = array(octets(signer) for signer in self.required_signers)
        if self.collateral_return is not None:
            fields[16] = self.collateral_return.raw
        if (integrity := self._integrity()) is not None:
            fields[11] = octets(integrity)
        auxiliary_hash = self.auxiliary_hash
        if auxiliary_hash is None and self.auxiliary is not None:
            auxiliary_hash = blake2b_256(self.auxiliary)
        if auxiliary_hash:
            fields[7] = octets(auxiliary_hash)
        fields.update(self.extra)
        return mapping((uint(place), fields[place]) for place in sorted(fields))

    def build(self) -> bytes:
        body = self.body()
        rows: list[bytes] = []
        for signer in self.signers:
            signature = signer.sign(blake2b_256(b"other" if self.spoil_signature else body)).signature
            rows.append(array([octets(bytes(signer.verify_key)), octets(signature)]))
        witnesses: dict[int, bytes] = {0: array(rows)} if rows else {}
        for language, place in ((0, 1), (1, 3), (2, 6), (3, 7)):
            chosen = [script for script in self.scripts if script.language == language]
            if chosen:
                witnesses[place] = array(
                    octets(script.content) if language else script.content for script in chosen
                )
        if self.datums:
            witnesses[4] = array(self.datums)
        if self.redeemers:
            witnesses[5] = self._redeemers()
        encoded = mapping((uint(place), witnesses[place]) for place in sorted(witnesses))
        return (
            head(4, 4)
            + body
            + encoded
            + (b"\xf5" if self.is_valid else b"\xf4")
            + (self.auxiliary or b"\xf6")
        )
