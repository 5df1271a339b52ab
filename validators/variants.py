"""Variants of the validator, each with one named clause taken out: proof that the clause's test bites.

A clause is a comment `// clause: Close.3` before the statement that enforces it. Taken out, an `expect` goes;
`// clause: Close.1 ~ owner,` names what stands in the statement's place instead. Compiled like the real one.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from validators import build

_MARK = re.compile(r"^(\s*)// clause: ([A-Z]\w*\.\d+)(?: ~ (.*))?$")
_CLOSING = (")", "}", "]")


@dataclass(frozen=True)
class Clause:
    name: str
    path: str
    line: int  # 0-based, of the mark
    instead: str | None  # None: the statement goes


def clauses(tree: dict[str, str] | None = None) -> dict[str, Clause]:
    """Every clause by its id. Fails when an id is marked twice or stands before nothing that can go."""
    found: dict[str, Clause] = {}
    for path, text in (tree or build.sources()).items():
        lines = text.split("\n")
        for at, line in enumerate(lines):
            match = _MARK.match(line)
            if match is None:
                if "clause:" in line:
                    raise SystemExit(f"{path}:{at + 1}: not a clause mark: {line.strip()}")
                continue
            _, name, instead = match.groups()
            if name in found:
                raise SystemExit(f"clause {name} is marked twice")
            if instead is None and not lines[at + 1].strip().startswith("expect"):
                raise SystemExit(f"{path}:{at + 2}: clause {name} stands before no expect")
            found[name] = Clause(name, path, at, instead)
    return found


def without(clause: Clause, tree: dict[str, str] | None = None) -> dict[str, str]:
    """The sources with this clause taken out."""
    tree = dict(tree or build.sources())
    lines = tree[clause.path].split("\n")
    start = clause.line + 1
    indent = _indent(lines[start])
    end = start + 1
    while end < len(lines) and (_indent(lines[end]) > indent or lines[end].strip().startswith(_CLOSING)):
        if _indent(lines[end]) < indent:
            break
        end += 1
    instead = [] if clause.instead is None else [" " * indent + clause.instead]
    tree[clause.path] = "\n".join(lines[: clause.line] + instead + lines[end:])
    return tree


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" ")) if line.strip() else 10_000


def script_without(name: str) -> bytes:
    """The compiled variant, from the cache when it was compiled before."""
    blueprint = build.cached(without(clauses()[name]))
    return bytes.fromhex(blueprint["validators"][0]["compiledCode"])


def main() -> int:
    for name in clauses():
        print(name, len(script_without(name)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
