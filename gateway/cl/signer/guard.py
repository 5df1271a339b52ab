"""R3. What the signer must never forget (decision 12): persisted before a signature is released.

One record per act. The file is a line each, JSON and a checksum; a torn last line was never acted upon and
is dropped, any other damage stops the signer. Memory and file share the rules in `_State`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gateway.cl.data.types import ChannelId, Cheque, Snapshot, Squash, VerificationKey
from gateway.cl.signer.errors import COVERED, ENDED, EQUIVOCATION, GUARD, REGRESSION, WRITE
from gateway.cl.signer.keystore import sync_folder
from gateway.errors import Refused
from gateway.units import Lovelace


class SignGuard(Protocol):
    """Each call returns once its act is remembered for good, or raises `Refused` (cl.signer.*)."""

    def cheque(self, key: VerificationKey, cid: ChannelId, cheque: Cheque) -> None: ...
    def snapshot(self, key: VerificationKey, cid: ChannelId, snapshot: Snapshot) -> None: ...
    def bind(self, key: VerificationKey, cid: ChannelId) -> None: ...
    def end(self, key: VerificationKey, cid: ChannelId) -> None: ...
    def uncovered(self, key: VerificationKey, cid: ChannelId, sent: Squash) -> tuple[int, ...]: ...
    def channels_of(self, key: VerificationKey) -> frozenset[ChannelId]: ...
    def signed(self, key: VerificationKey, cid: ChannelId) -> tuple[int, Snapshot]: ...


Place = tuple[bytes, bytes]  # key, channel


@dataclass
class _State:
    cheques: dict[Place, dict[int, tuple[int, bytes, int]]] = field(default_factory=dict)
    snapshots: dict[Place, Snapshot] = field(default_factory=dict)
    bound: dict[bytes, set[bytes]] = field(default_factory=dict)
    ended: set[Place] = field(default_factory=set)

    def check_cheque(self, place: Place, cheque: Cheque) -> bool:
        """Whether it is new to us. A later timeout is an extension; all else at a known index is refused."""
        signed = self.snapshots.get(place)
        known = self.cheques.get(place, {}).get(cheque.index)
        if known is None:
            self._check_open(place)
            # Not both squashes: which side is the partner's the signer cannot tell, and indices are per side.
            if signed and signed.first.covers(cheque.index) and signed.second.covers(cheque.index):
                raise Refused(COVERED(field="index", got=cheque.index))
            return True
        amount, lock, timeout = known
        for name, got, allowed in (
            ("amount", cheque.amount.value, amount),
            ("lock", cheque.lock.hex(), lock.hex()),
        ):
            if got != allowed:
                raise Refused(EQUIVOCATION(field=f"cheque {cheque.index} {name}", got=got, allowed=allowed))
        if cheque.timeout.value < timeout:
            field_name = f"cheque {cheque.index} timeout"
            raise Refused(EQUIVOCATION(field=field_name, got=cheque.timeout.value, allowed=f">= {timeout}"))
        if cheque.timeout.value > timeout:
            self._check_open(place)
        return cheque.timeout.value > timeout

    def check_snapshot(self, place: Place, snapshot: Snapshot) -> bool:
        """Decision 5, both sides: each new squash dominates all that this signer signed."""
        old = self.snapshots.get(place, Snapshot())
        sides = (("first", snapshot.first, old.first), ("second", snapshot.second, old.second))
        for name, new, before in sides:
            if not new.is_canonical() or not new.dominates(before):
                raise Refused(REGRESSION(field=name, got=_shown(new), allowed=f"dominates {_shown(before)}"))
        is_new = snapshot != old or place not in self.snapshots
        if is_new:
            self._check_open(place)
        return is_new

    def _check_open(self, place: Place) -> None:
        """Decision 9: what an end pays was fixed when it was signed; nothing that moves value is signed after it."""
        if place in self.ended:
            raise Refused(ENDED(field="channel", got=place[1].hex()))

    def apply(self, row: list[Any]) -> None:
        kind, key, cid, *rest = row
        place = (bytes.fromhex(key), bytes.fromhex(cid))
        self.bound.setdefault(place[0], set()).add(place[1])
        if kind == "c":
            index, amount, lock, timeout = rest
            self.cheques.setdefault(place, {})[index] = (amount, bytes.fromhex(lock), timeout)
        elif kind == "s":
            self.snapshots[place] = Snapshot(*(_squash(r) for r in rest))
        elif kind == "e":
            self.ended.add(place)
        elif kind != "b":
            raise ValueError(kind)


def _shown(s: Squash) -> str:
    return f"amount {s.amount.value} index {s.index} excludes {list(s.exclude)}"


def _squash(row: list[Any]) -> Squash:
    amount, index, exclude = row
    return Squash(Lovelace(amount), index, tuple(exclude))


class MemoryGuard:
    """For tests and for simulations; forgets at the end of the process."""

    def __init__(self) -> None:
        self._state = _State()

    def cheque(self, key: VerificationKey, cid: ChannelId, cheque: Cheque) -> None:
        if self._state.check_cheque((key.raw, cid.raw), cheque):
            lock = cheque.lock.hex()
            self._keep(
                ["c", key.hex(), cid.hex(), cheque.index, cheque.amount.value, lock, cheque.timeout.value]
            )

    def snapshot(self, key: VerificationKey, cid: ChannelId, snapshot: Snapshot) -> None:
        if self._state.check_snapshot((key.raw, cid.raw), snapshot):
            sides = [[s.amount.value, s.index, list(s.exclude)] for s in (snapshot.first, snapshot.second)]
            self._keep(["s", key.hex(), cid.hex(), *sides])

    def bind(self, key: VerificationKey, cid: ChannelId) -> None:
        if cid not in self.channels_of(key):
            self._keep(["b", key.hex(), cid.hex()])

    def end(self, key: VerificationKey, cid: ChannelId) -> None:
        """An end of the channel is about to be signed."""
        if (key.raw, cid.raw) not in self._state.ended:
            self._keep(["e", key.hex(), cid.hex()])

    def uncovered(self, key: VerificationKey, cid: ChannelId, sent: Squash) -> tuple[int, ...]:
        """Indices of cheques that were signed and that `sent` leaves open."""
        known = self._state.cheques.get((key.raw, cid.raw), {})
        return tuple(index for index in sorted(known) if not sent.covers(index))

    def channels_of(self, key: VerificationKey) -> frozenset[ChannelId]:
        return frozenset(ChannelId(c) for c in self._state.bound.get(key.raw, ()))

    def signed(self, key: VerificationKey, cid: ChannelId) -> tuple[int, Snapshot]:
        """The highest index of a cheque (0: none) and the newest snapshot."""
        place = (key.raw, cid.raw)
        return max(self._state.cheques.get(place, ()), default=0), self._state.snapshots.get(
            place, Snapshot()
        )

    def _keep(self, row: list[Any]) -> None:
        self._state.apply(row)


def _line(row: list[Any]) -> bytes:
    text = json.dumps(row, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest()[:16].encode() + b" " + text + b"\n"


class FileGuard(MemoryGuard):
    """An append-only file, synced before each answer. A failed write poisons it: nothing more is signed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._broken = False
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            sync_folder(path.parent)
            raw = path.read_bytes()
        except OSError as e:
            raise Refused(WRITE(field=str(path), detail=e.strerror or "")) from None
        whole = raw.rfind(b"\n") + 1
        for number, line in enumerate(raw[:whole].splitlines(keepends=True), 1):
            self._read(number, line)
        os.ftruncate(self._handle, whole)  # a torn last line: its signature was never released
        os.lseek(self._handle, whole, os.SEEK_SET)

    def _read(self, number: int, line: bytes) -> None:
        try:
            row = json.loads(line[17:])
            if _line(row) != line:
                raise ValueError("checksum")
            self._state.apply(row)
        except (ValueError, TypeError, KeyError, IndexError):
            raise Refused(GUARD(field=f"{self._path} line {number}")) from None

    def _keep(self, row: list[Any]) -> None:
        if self._broken:
            raise Refused(WRITE(field=str(self._path), detail="an earlier write failed; restart the node"))
        line = _line(row)
        try:
            if os.write(self._handle, line) != len(line):
                raise OSError(0, "short write")
            os.fsync(self._handle)
        except OSError as e:
            self._broken = True
            raise Refused(WRITE(field=str(self._path), detail=e.strerror or "")) from None
        super()._keep(row)

    def close(self) -> None:
        os.close(self._handle)
