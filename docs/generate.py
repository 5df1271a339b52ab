"""Makes docs/errors.md, docs/risk.md and the state diagrams from the code; `--check` fails when one is stale."""

from __future__ import annotations

import argparse
import ast
import importlib
import pkgutil
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def fields() -> dict[str, set[str]]:
    """code -> names of the fields that its refusals point at, read from every place that makes one."""
    from gateway.errors import ErrorCode

    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "regtest").glob("*.py")]):
        module = sys.modules.get(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            match node.func:
                case ast.Name(name):
                    made = getattr(module, name, None)
                case ast.Attribute(ast.Name(room), name):
                    made = getattr(getattr(module, room, None), name, None)
                case _:
                    continue
            for part in node.keywords if isinstance(made, ErrorCode) else ():
                if part.arg == "field":
                    found[made.code].add(_pattern(part.value))
    return found


def _pattern(value: ast.expr) -> str:
    """A constant as it is; the varying parts of a text as …; a name alone as the place that it stands for."""
    match value:
        case ast.Constant(text):
            return f"`{text}`"
        case ast.JoinedStr(parts):
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in parts)
            return f"`{text}`" if text.strip("… ") else "as named"
        case ast.IfExp(_, one, other):
            return " ".join(sorted({_pattern(one), _pattern(other)}))
        case _:
            return "as named"


def errors_page() -> str:
    """Every code: whose fault, what the node does, which field, what a person does."""
    import gateway
    from gateway.errors import REGISTRY

    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if not module.name.endswith(("env", "__main__")) and ".migrations" not in module.name:
            importlib.import_module(module.name)
    importlib.import_module("regtest.supervisor")  # the test network's own
    lines = [
        "# Error codes",
        "",
        "Made from the code (`make docs`). Every refusal carries one code, names the field and says what to do.",
        "",
        '"As named": the refusal itself names the setting, message field or file.',
        "",
        "| code | fault | the node | HTTP | field | what is wrong | what to do |",
        "|---|---|---|---|---|---|---|",
    ]
    named = fields()
    for code in sorted(REGISTRY):
        e = REGISTRY[code]
        where = ", ".join(sorted(named.get(code, ())))
        row = (f"`{code}`", e.fault, e.action, str(e.http_status), where, e.meaning, e.remedy)
        lines.append("| " + " | ".join(part.replace("|", "\\|") for part in row) + " |")
    return "\n".join(lines) + "\n"


def _marks(node: ast.expr) -> list[tuple[str, str]]:
    """(mark, argument) of `pytest.mark.threat("X")`, also inside pytest.param(..., marks=…) and lists."""
    found = []
    for call in ast.walk(node):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr in ("threat", "kind")
            and call.args
            and isinstance(call.args[0], ast.Constant)
        ):
            found.append((call.func.attr, str(call.args[0].value)))
    return found


def proofs() -> dict[str, dict[str, set[str]]]:
    """threat id -> kind ("" for none) -> tests."""
    result: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text())
        module = [
            mark
            for node in tree.body
            if isinstance(node, ast.Assign)
            and any(getattr(t, "id", "") == "pytestmark" for t in node.targets)
            for mark in _marks(node.value)
        ]
        _collect(tree.body, module, path, result)
    return result


def _collect(
    body: list[ast.stmt],
    inherited: list[tuple[str, str]],
    path: Path,
    result: dict[str, dict[str, set[str]]],
) -> None:
    for node in body:
        if isinstance(node, ast.ClassDef):
            own = inherited + [m for d in node.decorator_list for m in _marks(d)]
            _collect(node.body, own, path, result)
            if any("StateMachine" in ast.unparse(b) for b in node.bases):
                _file(own, f"{path.relative_to(ROOT)}::{node.name}", result)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            own = inherited + [m for d in node.decorator_list for m in _marks(d)]
            _file(own, f"{path.relative_to(ROOT)}::{node.name}", result)
        elif isinstance(node, ast.Assign) and any(m for m in _marks(node.value)):
            name = ast.unparse(node.targets[0])
            if name != "pytestmark":
                _file(inherited + _marks(node.value), f"{path.relative_to(ROOT)}::{name}", result)


def _file(marks: list[tuple[str, str]], test: str, result: dict[str, dict[str, set[str]]]) -> None:
    kinds = {value for mark, value in marks if mark == "kind"} or {""}
    for mark, value in marks:
        if mark == "threat":
            for kind in kinds:
                result[value][kind].add(test)


def risk_page() -> tuple[str, list[str]]:
    """The page, and what is missing."""
    wanted = tomllib.loads((ROOT / "docs" / "threats.toml").read_text())["threat"]
    have = proofs()
    missing = []
    lines = [
        "# Risks and the tests that answer them",
        "",
        "Made from docs/threats.toml and the tests' markers (`make docs`); an id without its tests fails the build.",
        "",
        "| id | threat | kinds | tests |",
        "|---|---|---|---|",
    ]
    for name, row in wanted.items():
        kinds = have.get(name, {})
        tests = sorted({t for group in kinds.values() for t in group})
        if not tests:
            missing.append(f"{name}: no test")
        missing += [f"{name}: no test of kind {k}" for k in row["kinds"] if not kinds.get(k)]
        shown = "<br>".join(t.removeprefix("tests/") for t in tests)
        lines.append(f"| {name} | {row['title']} | {', '.join(row['kinds']) or 'any'} | {shown} |")
    return "\n".join(lines) + "\n", missing


def swap_diagram() -> str:
    from gateway.swap.transitions import EDGES

    lines = [
        "# States of a swap",
        "",
        "Made from gateway/swap/transitions.py (`make docs`). No edge leads from PreimageKnown to a failure,",
        "and no timer appears on any edge.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> Quoted: QuoteGiven",
    ]
    lines += [f"    {a} --> {b}: {event}" for (a, event), b in EDGES.items()]
    lines += [f"    {end} --> [*]" for end in ("Done", "Released", "Refused")]
    return "\n".join([*lines, "```", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    risk, missing = risk_page()
    pages = {"errors.md": errors_page(), "risk.md": risk, "swap-states.md": swap_diagram()}
    stale = []
    for name, text in pages.items():
        path = ROOT / "docs" / name
        if check and (not path.exists() or path.read_text() != text):
            stale.append(f"docs/{name} is stale: run make docs")
        elif not check:
            path.write_text(text)
    for line in [*stale, *missing]:
        print(line)
    return 1 if stale or (check and missing) else 0


if __name__ == "__main__":
    raise SystemExit(main())
