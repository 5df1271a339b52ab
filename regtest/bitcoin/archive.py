"""The best chain in a file. btcd throws its own database of a regtest away at every start ("Removing regression
test database", removeRegressionDB in btcd.go), so what was mined is handed back to it block by block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Archive:
    """Lines `height block` (hex), appended. A height that comes again replaces all from there on (reorganisation);
    a last line that a kill cut short does not count."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._whole = False  # the file ends with a whole line

    def add(self, first_height: int, blocks: Sequence[str]) -> None:
        if not self._whole:
            self._mend()
        with self._path.open("a") as file:
            file.writelines(f"{first_height + n} {block}\n" for n, block in enumerate(blocks))

    def _mend(self) -> None:
        if self._path.exists():
            data = self._path.read_bytes()
            kept = data[: data.rfind(b"\n") + 1]
            if kept != data:
                self._path.write_bytes(kept)
        self._whole = True

    def blocks(self) -> list[str]:
        """From height 1 on. A line that leaves a gap ends the chain there."""
        chain: list[str] = []
        if not self._path.exists():
            return chain
        with self._path.open() as file:
            for line in file:
                height, _, block = line.rstrip("\n").partition(" ")
                if not line.endswith("\n") or not height.isdigit() or not 1 <= int(height) <= len(chain) + 1:
                    break
                del chain[int(height) - 1 :]
                chain.append(block)
        return chain
