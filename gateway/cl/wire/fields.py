"""R2. How one dataclass maps to one protobuf message, declared field by field and checked both ways.

Every scalar of the schema is `optional`, so an absent field is seen (cl.wire.missing_field) and
never read as 0. Reading raises BadField inside this package only; codec turns it into a Rejection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from gateway.cl.wire import errors
from gateway.errors import Rejection

MAX_INT = (1 << 63) - 1  # what SQL integers and most languages hold


class BadField(Exception):
    """Carries the Rejection up to codec.decode."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.code)
        self.rejection = rejection


class Kind(Protocol):
    """A value's form: `fill` writes it into `name` of a message, `read` takes it from there, `path` names it."""

    def fill(self, into: Any, name: str, value: Any) -> None: ...
    def read(self, source: Any, name: str, path: str) -> Any: ...


class Scalar(Protocol):
    def out(self, value: Any) -> Any: ...
    def back(self, raw: Any, path: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class One:
    """A scalar that must be there."""

    scalar: Scalar

    def fill(self, into: Any, name: str, value: Any) -> None:
        setattr(into, name, self.scalar.out(value))

    def read(self, source: Any, name: str, path: str) -> Any:
        if not source.HasField(name):
            raise BadField(errors.MISSING_FIELD(field=path))
        return self.scalar.back(getattr(source, name), path)


@dataclass(frozen=True, slots=True)
class Maybe:
    """A scalar or message that may be absent: `absent` then stands in the dataclass."""

    kind: Kind
    absent: Any = None

    def fill(self, into: Any, name: str, value: Any) -> None:
        if value != self.absent:
            self.kind.fill(into, name, value)

    def read(self, source: Any, name: str, path: str) -> Any:
        return self.kind.read(source, name, path) if source.HasField(name) else self.absent


@dataclass(frozen=True, slots=True)
class Many:
    """At most `most` scalars, as a tuple or, made by `wrap`, another collection."""

    scalar: Scalar
    most: int
    wrap: Callable[[tuple[Any, ...]], Any] = tuple
    order: Callable[[Any], Any] = tuple

    def fill(self, into: Any, name: str, value: Any) -> None:
        getattr(into, name).extend(self.scalar.out(one) for one in self.order(value))

    def read(self, source: Any, name: str, path: str) -> Any:
        found = getattr(source, name)
        if len(found) > self.most:
            raise BadField(errors.TOO_LONG(field=path, got=len(found), allowed=f"at most {self.most}"))
        return self.wrap(tuple(self.scalar.back(raw, f"{path}[{i}]") for i, raw in enumerate(found)))


@dataclass(frozen=True, slots=True)
class Sub:
    """A message within a message."""

    spec: Spec

    def fill(self, into: Any, name: str, value: Any) -> None:
        part = getattr(into, name)
        part.SetInParent()
        self.spec.fill(part, value)

    def read(self, source: Any, name: str, path: str) -> Any:
        if not source.HasField(name):
            raise BadField(errors.MISSING_FIELD(field=path))
        return self.spec.read(getattr(source, name), path)


@dataclass(frozen=True, slots=True)
class SubMany:
    """At most `most` messages, as a tuple."""

    spec: Spec
    most: int

    def fill(self, into: Any, name: str, value: Any) -> None:
        for one in value:
            self.spec.fill(getattr(into, name).add(), one)

    def read(self, source: Any, name: str, path: str) -> Any:
        found = getattr(source, name)
        if len(found) > self.most:
            raise BadField(errors.TOO_LONG(field=path, got=len(found), allowed=f"at most {self.most}"))
        return tuple(self.spec.read(raw, f"{path}[{i}]") for i, raw in enumerate(found))


@dataclass(frozen=True, slots=True)
class Spec:
    """`fields` maps attribute names of `cls`, which are the protobuf names too unless renamed, to kinds."""

    cls: type
    fields: Mapping[str, Kind]
    renamed: Mapping[str, str] | None = None

    def _proto_name(self, attr: str) -> str:
        return (self.renamed or {}).get(attr, attr)

    def fill(self, into: Any, value: Any) -> None:
        for attr, kind in self.fields.items():
            kind.fill(into, self._proto_name(attr), getattr(value, attr))

    def read(self, source: Any, path: str) -> Any:
        given = {}
        for attr, kind in self.fields.items():
            name = self._proto_name(attr)
            given[attr] = kind.read(source, name, f"{path}.{name}" if path else name)
        try:
            return self.cls(**given)
        except (ValueError, TypeError) as error:  # a rule of the dataclass itself
            raise BadField(errors.OUT_OF_RANGE(field=path, detail=str(error))) from error


@dataclass(frozen=True, slots=True)
class Int:
    """An integer in least..most, as an int or wrapped in a unit type."""

    wrap: Callable[[int], Any] = int
    least: int = 0
    most: int = MAX_INT

    def out(self, value: Any) -> int:
        number = int(value)
        if not self.least <= number <= self.most:
            raise ValueError(f"{value!r} has no form on the wire")
        return number

    def back(self, raw: int, path: str) -> Any:
        if not self.least <= raw <= self.most:
            raise BadField(errors.OUT_OF_RANGE(field=path, got=raw, allowed=f"{self.least} to {self.most}"))
        return self.wrap(raw)


@dataclass(frozen=True, slots=True)
class Bytes:
    """least..most bytes; `wrap` makes the value and `.raw` gives them back."""

    least: int
    most: int
    wrap: Callable[[bytes], Any] | None = None

    def out(self, value: Any) -> bytes:
        raw: bytes = value if self.wrap is None else value.raw
        if not self.least <= len(raw) <= self.most:
            raise ValueError(f"{len(raw)} bytes have no form on the wire")
        return raw

    def back(self, raw: bytes, path: str) -> Any:
        if not self.least <= len(raw) <= self.most:
            allowed = str(self.least) if self.least == self.most else f"{self.least} to {self.most}"
            raise BadField(errors.WRONG_LENGTH(field=path, got=f"{len(raw)} bytes", allowed=allowed))
        return raw if self.wrap is None else self.wrap(raw)


def exactly(size: int, wrap: Callable[[bytes], Any] | None = None) -> Bytes:
    return Bytes(size, size, wrap)


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 of at most `most` bytes; what we send ourselves is cut to fit, at a character."""

    most: int
    cut: bool = True

    def out(self, value: str) -> str:
        raw = value.encode("utf-8", "replace")
        if len(raw) > self.most and not self.cut:
            raise ValueError(f"{len(raw)} bytes of text have no form on the wire")
        return raw[: self.most].decode("utf-8", "ignore")

    def back(self, raw: str, path: str) -> str:
        size = len(raw.encode())
        if size > self.most:
            raise BadField(errors.TOO_LONG(field=path, got=f"{size} bytes", allowed=f"at most {self.most}"))
        return raw


@dataclass(frozen=True, slots=True)
class Choice:
    """A StrEnum as a protobuf enum; member i of `members` is number i + 1 (0 is nobody's)."""

    members: type[StrEnum]

    def out(self, value: Any) -> int:
        return list(self.members).index(value) + 1

    def back(self, raw: int, path: str) -> Any:
        known = list(self.members)
        if not 1 <= raw <= len(known):
            raise BadField(errors.OUT_OF_RANGE(field=path, got=raw, allowed=", ".join(known)))
        return known[raw - 1]


@dataclass(frozen=True, slots=True)
class Flag:
    def out(self, value: bool) -> bool:
        return value

    def back(self, raw: bool, path: str) -> bool:
        return raw
