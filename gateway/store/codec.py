"""Versioned codecs: frozen dataclasses <-> canonical JSON bytes `{"d":…,"t":tag,"v":version}`.

The form follows the declared field types, so nothing is guessed: unit types are bare ints under a
name with their suffix (`amount: Msat` -> `amount_msat`), bytes are hex, a member of a union carries
its class name under `$`. Decoding is strict: no missing, unknown or repeated field, no float, no bool for int.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Any, Union, get_args, get_origin, get_type_hints

from gateway.errors import REGISTRY, Refused, Rejection
from gateway.hashlock import Hashlock, Preimage
from gateway.store.errors import CODEC_MALFORMED, CODEC_TAG, CODEC_VERSION
from gateway.units import BlockDelta, BlockHeight, Lovelace, Ms, Msat, PosixMs, Slot

Encode = Callable[[Any], Any]
Decode = Callable[[Any, str], Any]
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]

SUFFIX: dict[type, str] = {
    Msat: "_msat",
    Lovelace: "_lovelace",
    Ms: "_ms",
    PosixMs: "_ms",
    BlockHeight: "_height",
    BlockDelta: "_blocks",
    Slot: "_slot",
}
# Dataclasses that are stored as one JSON value, not as an object of their fields.
_OPAQUE = frozenset((*SUFFIX, Hashlock, Preimage, Rejection))


class _Bad(Exception):
    def __init__(self, where: str, got: object, allowed: str) -> None:
        self.where, self.got, self.allowed = where, got, allowed


@dataclass(frozen=True, slots=True)
class _Form:
    encode: Encode
    decode: Decode


@dataclass(frozen=True, slots=True)
class _Entry:
    cls: type
    tag: str
    version: int
    form: _Form
    upgrades: Mapping[int, Upgrade]


class Codecs:
    """The registry of what may be stored. Registration checks every field type, and fails on floats and `Any`."""

    def __init__(self) -> None:
        self._by_tag: dict[str, _Entry] = {}
        self._by_type: dict[type, _Entry] = {}
        self._forms: dict[Any, _Form] = {}
        self._building: set[Any] = set()
        for cls in SUFFIX:
            self._forms[cls] = _wrapped_int(cls)
        for raw in (Hashlock, Preimage):
            self._forms[raw] = _wrapped_bytes(raw)
        self._forms[Rejection] = _Form(_encode_rejection, _decode_rejection)

    def register(
        self, cls: type, tag: str, version: int = 1, upgrades: Mapping[int, Upgrade] | None = None
    ) -> None:
        """`upgrades[n]` turns the fields of version n into those of n + 1; one for each version before `version`."""
        steps = dict(upgrades or {})
        if set(steps) != set(range(1, version)):
            raise ValueError(f"{tag}: needs one upgrade for each version before {version}")
        if tag in self._by_tag or cls in self._by_type:
            raise ValueError(f"{tag} or {cls.__name__} is registered twice")
        if not is_dataclass(cls):
            raise TypeError(f"{cls.__name__} is not a dataclass")
        entry = _Entry(cls, tag, version, self._form(cls, tag), steps)
        self._by_tag[tag] = entry
        self._by_type[cls] = entry

    def register_all(self, prefix: str, *classes: type) -> None:
        """Each class of version 1 under `prefix.ClassName`."""
        for cls in classes:
            self.register(cls, f"{prefix}.{cls.__name__}")

    def tag_of(self, value: object) -> str:
        return self._entry_of(value).tag

    def version_of(self, value: object) -> int:
        return self._entry_of(value).version

    def tags(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_tag))

    def encode(self, value: object) -> bytes:
        """Canonical bytes; an unregistered type is a bug of ours (TypeError)."""
        entry = self._entry_of(value)
        return dump_json({"t": entry.tag, "v": entry.version, "d": entry.form.encode(value)})

    def decode(self, raw: bytes) -> Any:
        """Fails with store.codec.*; older versions are upgraded step by step."""
        document = load_json(raw)
        if not isinstance(document, dict) or set(document) != {"t", "v", "d"}:
            raise _malformed("record", type(document).__name__, "an object with t, v and d")
        tag, version, data = document["t"], document["v"], document["d"]
        entry = self._by_tag.get(tag) if isinstance(tag, str) else None
        if entry is None:
            raise Refused(CODEC_TAG(field="t", got=tag))
        if type(version) is not int or version < 1:
            raise _malformed(f"{tag}.v", version, "a whole number from 1")
        if version > entry.version:
            raise Refused(CODEC_VERSION(field=f"{tag}.v", got=version, allowed=f"up to {entry.version}"))
        try:
            for step in range(version, entry.version):
                data = entry.upgrades[step](data)
            return entry.form.decode(data, entry.tag)
        except _Bad as bad:
            raise _malformed(bad.where, bad.got, bad.allowed) from None
        except (KeyError, TypeError, ValueError, AttributeError) as broken:
            raise _malformed(tag, type(broken).__name__, str(broken)) from broken

    def _entry_of(self, value: object) -> _Entry:
        entry = self._by_type.get(type(value))
        if entry is None:
            raise TypeError(f"{type(value).__name__} has no codec: register it")
        return entry

    def _form(self, kind: Any, where: str) -> _Form:
        known = self._forms.get(kind)
        if known is not None:
            return known
        if kind in self._building:  # a type that holds itself: bind late
            return _Form(
                lambda value: self._forms[kind].encode(value),
                lambda value, path: self._forms[kind].decode(value, path),
            )
        self._building.add(kind)
        form = self._build(kind, where)
        self._building.discard(kind)
        self._forms[kind] = form
        return form

    def _build(self, kind: Any, where: str) -> _Form:
        if kind in _SIMPLE:
            return _SIMPLE[kind]
        origin, args = get_origin(kind), get_args(kind)
        if origin in (Union, types.UnionType):
            return self._union(args, where)
        if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
            return _sequence(self._form(args[0], where), tuple)
        if origin is tuple and args:
            return _fixed(tuple(self._form(a, where) for a in args))
        if origin is frozenset:
            return _sorted_set(self._form(args[0], where))
        if origin in (dict, Mapping):
            return _pairs(self._form(args[0], where), self._form(args[1], where))
        if origin is typing.Literal and all(isinstance(a, str) for a in args):
            return _literal(args)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return _enum(kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._record(kind, where)
        raise TypeError(f"{where}: {kind!r} cannot be stored")

    def _record(self, cls: type, where: str) -> _Form:
        hints = get_type_hints(cls)
        parts: list[tuple[str, str, _Form]] = []
        for f in fields(cls):
            if not f.init:
                raise TypeError(f"{where}.{f.name}: only fields of the constructor can be stored")
            hint = hints[f.name]
            parts.append((f.name, f.name + _suffix(f.name, hint), self._form(hint, f"{where}.{f.name}")))
        names = [stored for _, stored, _ in parts]
        if len(set(names)) != len(names) or "$" in names:
            raise TypeError(f"{where}: two fields share a stored name")
        wanted = set(names)

        def encode(value: Any) -> dict[str, Any]:
            if type(value) is not cls:
                raise TypeError(f"{where} holds {type(value).__name__}, not {cls.__name__}")
            return {stored: form.encode(getattr(value, name)) for name, stored, form in parts}

        def decode(value: Any, path: str) -> Any:
            if not isinstance(value, dict):
                raise _Bad(path, type(value).__name__, "an object")
            if set(value) != wanted:
                odd = sorted(wanted ^ set(value))
                raise _Bad(path, ",".join(odd), f"exactly {','.join(sorted(wanted))}")
            return cls(
                **{name: form.decode(value[stored], f"{path}.{stored}") for name, stored, form in parts}
            )

        return _Form(encode, decode)

    def _union(self, args: tuple[Any, ...], where: str) -> _Form:
        members = [a for a in args if a is not type(None)]
        inner = self._form(members[0], where) if len(members) == 1 else self._tagged(members, where)
        if len(members) == len(args):
            return inner
        return _Form(
            lambda value: None if value is None else inner.encode(value),
            lambda value, path: None if value is None else inner.decode(value, path),
        )

    def _tagged(self, members: list[Any], where: str) -> _Form:
        forms = {m: self._form(m, where) for m in members}
        names = {m.__name__: m for m in members if isinstance(m, type) and is_dataclass(m)}
        if len(names) != len(members):
            raise TypeError(f"{where}: the members of a union are dataclasses of different names")

        def encode(value: Any) -> dict[str, Any]:
            form = forms.get(type(value))
            if form is None:
                raise TypeError(f"{where} cannot hold {type(value).__name__}")
            inner = form.encode(value)
            return {"$": type(value).__name__, **({"value": inner} if type(value) in _OPAQUE else inner)}

        def decode(value: Any, path: str) -> Any:
            if not isinstance(value, dict) or value.get("$") not in names:
                got = value.get("$") if isinstance(value, dict) else type(value).__name__
                raise _Bad(f"{path}.$", got, ",".join(sorted(names)))
            cls = names[value["$"]]
            rest = {k: v for k, v in value.items() if k != "$"}
            return forms[cls].decode(rest["value"] if cls in _OPAQUE else rest, path)

        return _Form(encode, decode)


def dump_json(document: object) -> bytes:
    """Canonical: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def load_json(raw: bytes) -> Any:
    """Strict: UTF-8, no repeated key, no float. Fails with store.codec.malformed."""
    try:
        return json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except _Bad as bad:
        raise _malformed(bad.where, bad.got, bad.allowed) from None
    except (ValueError, RecursionError) as broken:
        raise _malformed("record", type(broken).__name__, "canonical JSON") from broken


def _malformed(where: str, got: object, allowed: str) -> Refused:
    return Refused(CODEC_MALFORMED(field=where, got=str(got)[:80], allowed=allowed))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _Bad("record", "a repeated key", "each key once")
    return result


def _no_float(text: str) -> Any:
    raise _Bad("record", text, "whole numbers only")


def _suffix(name: str, hint: Any) -> str:
    """The unit's suffix, seen through `X | None` and `tuple[X, ...]`; none when the name says it already."""
    args = tuple(a for a in get_args(hint) if a is not type(None) and a is not Ellipsis)
    while len(args) == 1:
        hint = args[0]
        args = tuple(a for a in get_args(hint) if a is not type(None) and a is not Ellipsis)
    suffix = SUFFIX.get(hint, "") if isinstance(hint, type) else ""
    return "" if name.endswith(suffix) or name == suffix[1:] else suffix


def _int_in(value: Any, path: str) -> int:
    if type(value) is not int:
        raise _Bad(path, type(value).__name__, "a whole number")
    return value


def _str_in(value: Any, path: str) -> str:
    if type(value) is not str:
        raise _Bad(path, type(value).__name__, "text")
    return value


def _bytes_in(value: Any, path: str) -> bytes:
    text = _str_in(value, path)
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise _Bad(path, text[:20], "hex") from None
    if raw.hex() != text:
        raise _Bad(path, text[:20], "lower-case hex without spaces")
    return raw


def _bool_in(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise _Bad(path, type(value).__name__, "true or false")
    return value


def _checked(cls: type[Any]) -> Encode:
    def encode(value: Any) -> Any:
        if type(value) is not cls:
            raise TypeError(f"holds {type(value).__name__}, not {cls.__name__}")
        return value.hex() if cls is bytes else value

    return encode


def _fraction_in(value: Any, path: str) -> Fraction:
    if not isinstance(value, list) or len(value) != 2 or _int_in(value[1], path) < 1:
        raise _Bad(path, value, "numerator and denominator")
    fraction = Fraction(_int_in(value[0], path), value[1])
    if [fraction.numerator, fraction.denominator] != value:
        raise _Bad(path, value, "a ratio in lowest terms")
    return fraction


_SIMPLE: dict[Any, _Form] = {
    int: _Form(_checked(int), _int_in),
    str: _Form(_checked(str), _str_in),
    bytes: _Form(_checked(bytes), _bytes_in),
    bool: _Form(_checked(bool), _bool_in),
    Fraction: _Form(lambda value: [value.numerator, value.denominator], _fraction_in),
}


def _wrapped_int(cls: type[Any]) -> _Form:
    def encode(value: Any) -> int:
        if type(value) is not cls:
            raise TypeError(f"holds {type(value).__name__}, not {cls.__name__}")
        return int(value.value)

    return _Form(encode, lambda value, path: cls(_int_in(value, path)))


def _wrapped_bytes(cls: type[Any]) -> _Form:
    def encode(value: Any) -> str:
        if type(value) is not cls:
            raise TypeError(f"holds {type(value).__name__}, not {cls.__name__}")
        return str(value.raw.hex())

    return _Form(encode, lambda value, path: cls(_bytes_in(value, path)))


def _list_in(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Bad(path, type(value).__name__, "a list")
    return value


def _sequence(item: _Form, make: Callable[[Any], Any]) -> _Form:
    return _Form(
        lambda value: [item.encode(v) for v in value],
        lambda value, path: make(item.decode(v, f"{path}[{i}]") for i, v in enumerate(_list_in(value, path))),
    )


def _sorted_set(item: _Form) -> _Form:
    def decode(value: Any, path: str) -> frozenset[Any]:
        values = _list_in(value, path)
        if sorted(values) != values or len(set(map(dump_json, values))) != len(values):
            raise _Bad(path, "unsorted", "rising values")
        return frozenset(item.decode(v, f"{path}[{i}]") for i, v in enumerate(values))

    return _Form(lambda value: sorted(item.encode(v) for v in value), decode)


def _fixed(items: tuple[_Form, ...]) -> _Form:
    def encode(value: Any) -> list[Any]:
        if len(value) != len(items):
            raise TypeError(f"holds {len(value)} values, not {len(items)}")
        return [form.encode(v) for form, v in zip(items, value, strict=True)]

    def decode(value: Any, path: str) -> tuple[Any, ...]:
        values = _list_in(value, path)
        if len(values) != len(items):
            raise _Bad(path, len(values), f"{len(items)} values")
        return tuple(f.decode(v, f"{path}[{i}]") for i, (f, v) in enumerate(zip(items, values, strict=True)))

    return _Form(encode, decode)


def _pairs(key: _Form, item: _Form) -> _Form:
    def decode(value: Any, path: str) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for i, pair in enumerate(_list_in(value, path)):
            if not isinstance(pair, list) or len(pair) != 2:
                raise _Bad(f"{path}[{i}]", pair, "a key and a value")
            result[key.decode(pair[0], f"{path}[{i}]")] = item.decode(pair[1], f"{path}[{i}]")
        if len(result) != len(value):
            raise _Bad(path, "a repeated key", "each key once")
        return result

    return _Form(
        lambda value: sorted(([key.encode(k), item.encode(v)] for k, v in value.items()), key=dump_json),
        decode,
    )


def _literal(values: tuple[str, ...]) -> _Form:
    def check(value: Any, path: str) -> str:
        if value not in values:
            raise _Bad(path, value, ",".join(values))
        return str(value)

    return _Form(lambda value: check(value, "literal"), check)


def _enum(cls: type[Enum]) -> _Form:
    def decode(value: Any, path: str) -> Enum:
        if type(value) not in (int, str):
            raise _Bad(path, type(value).__name__, "a name or number of " + cls.__name__)
        try:
            return cls(value)
        except ValueError:
            raise _Bad(path, value, ",".join(str(m.value) for m in cls)) from None

    return _Form(lambda value: cls(value).value, decode)


def _encode_rejection(value: Rejection) -> list[Any]:
    return [value.code, value.field, value.got, value.allowed, value.detail, value.retry_after_ms]


def _decode_rejection(value: Any, path: str) -> Rejection:
    parts = _list_in(value, path)
    if len(parts) != 6 or parts[0] not in REGISTRY:
        raise _Bad(path, parts[:1], "a known error code and its five fields")
    where, got, allowed, detail = (_str_in(p, path) for p in parts[1:5])
    retry = None if parts[5] is None else _int_in(parts[5], path)
    return Rejection(REGISTRY[parts[0]], where, got, allowed, detail, retry)
