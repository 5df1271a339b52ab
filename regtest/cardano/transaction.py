"""A Conway transaction as the ledger reads it, with the original bytes of every hashed or measured part."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from regtest.cardano.cbor import CborError, Kind, Node, octets, parse, uint, walk

Assets = dict[bytes, int]  # policy id + asset name -> quantity


def blake2b_256(data: bytes) -> bytes:
    return blake2b(data, digest_size=32).digest()


def blake2b_224(data: bytes) -> bytes:
    return blake2b(data, digest_size=28).digest()


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    tx_id: bytes
    index: int

    def __str__(self) -> str:
        return f"{self.tx_id.hex()}#{self.index}"

    def cbor(self) -> bytes:
        return b"\x82" + octets(self.tx_id) + uint(self.index)


@dataclass(frozen=True, slots=True)
class Script:
    """`language` 0 is native, 1-3 are Plutus versions; `content` is what is hashed after that byte."""

    language: int
    content: bytes

    @property
    def hash(self) -> bytes:
        return blake2b_224(bytes([self.language]) + self.content)


@dataclass(frozen=True, slots=True)
class Output:
    raw: bytes
    address: bytes
    lovelace: int
    assets: Assets
    datum_hash: bytes | None = None
    datum: bytes | None = None  # inline
    script: Script | None = None

    @property
    def payment(self) -> tuple[bool, bytes] | None:
        """(is a script, credential hash) of a Shelley address; None for a Byron one."""
        kind = self.address[0] >> 4
        if kind > 7:
            return None
        return bool(kind & 1), self.address[1:29]


@dataclass(frozen=True, slots=True, order=True)
class Pointer:
    tag: int  # 0 spend, 1 mint, 2 publish, 3 withdraw, 4 vote, 5 propose
    index: int


PURPOSES = ("spend", "mint", "publish", "withdraw", "vote", "propose")


@dataclass(frozen=True, slots=True)
class Redeemer:
    data: bytes
    mem: int
    steps: int


@dataclass(frozen=True, slots=True)
class Witnesses:
    raw: bytes
    vkeys: tuple[tuple[bytes, bytes], ...]
    scripts: tuple[Script, ...]
    datums: tuple[bytes, ...]
    datums_raw: bytes
    redeemers: dict[Pointer, Redeemer]
    redeemers_raw: bytes


@dataclass(frozen=True, slots=True)
class Tx:
    raw: bytes
    id: bytes
    body_raw: bytes
    inputs: tuple[Ref, ...]  # sorted, as scripts see them
    outputs: tuple[Output, ...]
    fee: int
    invalid_after: int | None
    invalid_before: int | None
    mint: Assets
    script_data_hash: bytes | None
    collateral: tuple[Ref, ...]
    required_signers: tuple[bytes, ...]
    network: int | None
    collateral_return: Output | None
    total_collateral: int | None
    references: tuple[Ref, ...]
    auxiliary_hash: bytes | None
    auxiliary_raw: bytes | None
    unsupported: tuple[str, ...]  # body fields that this devnet refuses by name
    witnesses: Witnesses
    is_valid: bool

    @property
    def size(self) -> int:
        """The ledger measures [body, witnesses, auxiliary], without the validity flag (Alonzo `sizeTxF`)."""
        return len(self.raw) - 1

    def spent(self) -> tuple[Ref, ...]:
        return self.inputs if self.is_valid else self.collateral

    def produced(self) -> dict[Ref, Output]:
        """Of a failed script only the collateral return remains, at the index after the outputs (Babbage)."""
        if self.is_valid:
            return {Ref(self.id, index): output for index, output in enumerate(self.outputs)}
        if self.collateral_return is None:
            return {}
        return {Ref(self.id, len(self.outputs)): self.collateral_return}


_UNSUPPORTED = {
    4: "certificates",
    5: "withdrawals",
    19: "votes",
    20: "proposals",
    21: "treasury value",
    22: "donation",
}
_KNOWN = {0, 1, 2, 3, 7, 8, 9, 11, 13, 14, 15, 16, 17, 18} | set(_UNSUPPORTED)


def decode_tx(raw: bytes) -> Tx:
    """Fails with CborError on what a Conway node would not deserialise."""
    items = parse(raw).items()
    if len(items) != 4:
        raise CborError(f"a transaction has 4 parts, not {len(items)}")
    body_node, witness_node, valid_node, auxiliary_node = items
    if valid_node.kind is not Kind.SIMPLE or not isinstance(valid_node.value, bool):
        raise CborError("the validity flag is a boolean")
    body = body_node.by_uint()
    if unknown := set(body) - _KNOWN:
        raise CborError(f"unknown body fields {sorted(unknown)}")
    if missing := {0, 1, 2} - set(body):
        raise CborError(f"missing body fields {sorted(missing)}")
    no_auxiliary = auxiliary_node.kind is Kind.SIMPLE and auxiliary_node.value is None
    return Tx(
        raw=raw,
        id=blake2b_256(body_node.raw),
        body_raw=body_node.raw,
        inputs=_refs(body[0], may_be_empty=True),
        outputs=tuple(decode_output(node) for node in body[1].items()),
        fee=body[2].uint(),
        invalid_after=body[3].uint() if 3 in body else None,
        invalid_before=body[8].uint() if 8 in body else None,
        mint=_assets(body[9], negative=True) if 9 in body else {},
        script_data_hash=body[11].octets(32) if 11 in body else None,
        collateral=_refs(body[13]) if 13 in body else (),
        required_signers=_hashes(body[14]) if 14 in body else (),
        network=_network(body[15]) if 15 in body else None,
        collateral_return=decode_output(body[16]) if 16 in body else None,
        total_collateral=body[17].uint() if 17 in body else None,
        references=_refs(body[18]) if 18 in body else (),
        auxiliary_hash=body[7].octets(32) if 7 in body else None,
        auxiliary_raw=None if no_auxiliary else auxiliary_node.raw,
        unsupported=tuple(_UNSUPPORTED[key] for key in sorted(body) if key in _UNSUPPORTED),
        witnesses=_witnesses(witness_node),
        is_valid=valid_node.value,
    )


def _network(node: Node) -> int:
    if node.uint() > 1:
        raise CborError("a network id is 0 or 1")
    return node.uint()


def decode_ref(node: Node) -> Ref:
    tx_id, index = _two(node)
    number = index.uint()
    if number > 0xFFFF:
        raise CborError("an output index takes 16 bits")
    return Ref(tx_id.octets(32), number)


def _two(node: Node) -> tuple[Node, Node]:
    items = node.items()
    if len(items) != 2:
        raise CborError(f"2 items are expected, not {len(items)}")
    return items[0], items[1]


def _refs(node: Node, may_be_empty: bool = False) -> tuple[Ref, ...]:
    refs = [decode_ref(item) for item in node.set_items()]
    if len(set(refs)) != len(refs):
        raise CborError("an output reference is given twice in a set")
    if not refs and not may_be_empty:
        raise CborError("an empty set")
    return tuple(sorted(refs))


def _hashes(node: Node) -> tuple[bytes, ...]:
    hashes = [item.octets(28) for item in node.set_items()]
    if not hashes or len(set(hashes)) != len(hashes):
        raise CborError("a set of hashes is empty or repeats one")
    return tuple(sorted(hashes))


def _assets(node: Node, negative: bool = False) -> Assets:
    assets: Assets = {}
    for policy, names in node.pairs():
        policy_id = policy.octets(28)
        pairs = names.pairs()
        if not pairs:
            raise CborError("a policy without assets")  # Conway refuses it when decoding
        for name, quantity in pairs:
            key, number = policy_id + name.octets(*range(33)), quantity.integer()
            if (
                number == 0
                or (number < 0 and not negative)
                or not -(2**63) <= number < 2**64
                or key in assets
            ):
                raise CborError("an asset quantity of 0, out of range, or given twice")
            assets[key] = number
    if negative and not assets:
        raise CborError("an empty mint field")
    return assets


def decode_output(node: Node) -> Output:
    """Both forms: the array of Alonzo and the map of Babbage."""
    if node.kind is Kind.ARRAY:
        items = node.items()
        if len(items) not in (2, 3):
            raise CborError("an output array has 2 or 3 items")
        lovelace, assets = _value(items[1])
        datum_hash = items[2].octets(32) if len(items) == 3 else None
        return Output(node.raw, _address(items[0]), lovelace, assets, datum_hash)
    fields = node.by_uint()
    if not {0, 1} <= set(fields) <= {0, 1, 2, 3}:
        raise CborError("an output has an address, a value and nothing unknown")
    lovelace, assets = _value(fields[1])
    datum_hash, datum = _datum_option(fields[2]) if 2 in fields else (None, None)
    script = _script_ref(fields[3]) if 3 in fields else None
    return Output(node.raw, _address(fields[0]), lovelace, assets, datum_hash, datum, script)


def _address(node: Node) -> bytes:
    address = node.octets()
    kind = address[0] >> 4 if address else -1
    wanted = {0: 57, 1: 57, 2: 57, 3: 57, 6: 29, 7: 29}.get(kind)
    if kind in (4, 5):
        raise CborError("pointer addresses are not decoded any more")
    if kind != 8 and len(address) != wanted:
        raise CborError("an address of an unknown kind or a wrong length")
    return address


def _value(node: Node) -> tuple[int, Assets]:
    if node.kind is Kind.INT:
        return node.uint(), {}
    coin, assets = _two(node)
    return coin.uint(), _assets(assets)


def _datum_option(node: Node) -> tuple[bytes | None, bytes | None]:
    kind, content = _two(node)
    if kind.uint() == 0:
        return content.octets(32), None
    if kind.uint() == 1:
        return None, _plutus_data(parse(_embedded(content)))
    raise CborError("a datum option is a hash or a datum")


def _embedded(node: Node) -> bytes:
    """The bytes inside tag 24, which must be one CBOR item."""
    if node.kind is not Kind.TAG or node.value[0] != 24:
        raise CborError("embedded CBOR (tag 24) is expected")
    inner: Node = node.value[1]
    return inner.octets()


_DATA_TAGS = {2, 3, 102, *range(121, 128), *range(1280, 1401)}


def _plutus_data(node: Node) -> bytes:
    """The original bytes of one item of Plutus data: integers, byte strings, lists, maps, constructors."""
    for item in walk(node):
        if item.kind in (Kind.TEXT, Kind.SIMPLE):
            raise CborError(f"Plutus data has no {item.kind.value}")
        if item.kind is Kind.TAG and item.value[0] not in _DATA_TAGS:
            raise CborError(f"Plutus data has no tag {item.value[0]}")
        if item.kind is Kind.BYTES and item.end - item.start > 66 and item.source[item.start] != 0x5F:
            raise CborError("a byte string of Plutus data over 64 bytes comes in chunks")
    return node.raw


def _native_script(node: Node) -> bytes:
    """The original bytes of a native script of a known form."""
    items = node.items()
    kind = items[0].uint() if items else -1
    if kind == 0 and len(items) == 2:
        items[1].octets(28)
    elif kind in (1, 2) and len(items) == 2:
        for item in items[1].items():
            _native_script(item)
    elif kind == 3 and len(items) == 3:
        items[1].integer()
        for item in items[2].items():
            _native_script(item)
    elif kind in (4, 5) and len(items) == 2:
        items[1].uint()
    else:
        raise CborError("a native script of an unknown form")
    return node.raw


def _script_ref(node: Node) -> Script:
    language, content = _two(parse(_embedded(node)))
    number = language.uint()
    if number > 3:
        raise CborError("an unknown script language")
    return Script(number, _native_script(content) if number == 0 else content.octets())


def _witnesses(node: Node) -> Witnesses:
    fields = node.by_uint()
    if unknown := set(fields) - {0, 1, 3, 4, 5, 6, 7}:
        raise CborError(f"witness fields {sorted(unknown)} are unknown or of Byron")
    for field in fields.values():
        size = len(field.pairs()) if field.kind is Kind.MAP else len(field.set_items())
        if size == 0:
            raise CborError("an empty witness field")  # Conway decodes non-empty sets only
    scripts = [Script(0, _native_script(item)) for item in fields[1].set_items()] if 1 in fields else []
    for key, language in ((3, 1), (6, 2), (7, 3)):
        if key in fields:
            scripts += [Script(language, item.octets()) for item in fields[key].set_items()]
    datums = fields.get(4)
    redeemers = fields.get(5)
    return Witnesses(
        raw=node.raw,
        vkeys=tuple(_vkey(item) for item in fields[0].set_items()) if 0 in fields else (),
        scripts=tuple(scripts),
        datums=tuple(_plutus_data(item) for item in datums.set_items()) if datums else (),
        datums_raw=datums.raw if datums else b"",
        redeemers=_redeemers(redeemers) if redeemers else {},
        redeemers_raw=redeemers.raw if redeemers else b"",
    )


def _vkey(node: Node) -> tuple[bytes, bytes]:
    key, signature = _two(node)
    return key.octets(32), signature.octets(64)


def _redeemers(node: Node) -> dict[Pointer, Redeemer]:
    found: dict[Pointer, Redeemer] = {}
    rows: list[tuple[Node, Node, Node, Node]] = []
    if node.kind is Kind.MAP:
        for key, value in node.pairs():
            rows.append((*_two(key), *_two(value)))
    else:
        for item in node.items():
            parts = item.items()
            if len(parts) != 4:
                raise CborError("a redeemer has 4 parts")
            rows.append((parts[0], parts[1], parts[2], parts[3]))
    for tag, index, data, units in rows:
        pointer = Pointer(tag.uint(), index.uint())
        mem, steps = _two(units)
        if pointer.tag >= len(PURPOSES) or pointer in found:
            raise CborError("a redeemer of an unknown purpose, or given twice")
        found[pointer] = Redeemer(_plutus_data(data), mem.uint(), steps.uint())
    return found
