"""Every code of docs/errors.md comes out of the real code: by a case here, or by a test that names it.

A code that nothing can produce is dead and must leave the code; a case of a code that is gone must leave too.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gateway.errors import REGISTRY, ErrorCode
from tests.support import provoke

ROOT = Path(__file__).resolve().parents[3]
provoke.load_all()
for room in sorted((ROOT / "tests" / "support").glob("provoke_*.py")):
    importlib.import_module(f"tests.support.{room.stem}")


def test_every_code_has_a_case_and_every_case_a_code() -> None:
    have = {one.code for one in provoke.CASES} | set(provoke.PROVED)
    assert sorted(set(REGISTRY) - have) == []
    assert sorted(have - set(REGISTRY)) == []


@pytest.mark.parametrize("one", provoke.CASES, ids=lambda one: f"{one.code}-{one.case.__name__}")
async def test_provoked(one: provoke.Provocation, tmp_path: Path) -> None:
    assert one.code in await provoke.run(one.case, tmp_path)


@cache
def _module(path: str) -> tuple[ModuleType, ast.Module]:
    """The test module's globals, to learn what its names mean, and its source."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"provoked_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module, ast.parse(file.read_text())


def _mentions(module: ModuleType, node: ast.AST) -> set[str]:
    """Codes that a test compares with: as text, or as the room's constant."""
    found: set[str] = set()
    for part in ast.walk(node):
        value: Any = None
        if isinstance(part, ast.Constant):
            value = REGISTRY.get(part.value) if isinstance(part.value, str) else None
        elif isinstance(part, ast.Name):
            value = getattr(module, part.id, None)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            value = getattr(getattr(module, part.value.id, None), part.attr, None)
        if isinstance(value, ErrorCode):
            found.add(value.code)
        elif isinstance(value, (list, tuple, dict)):  # a table of the module's
            text = repr(value)
            found.update(code for code in REGISTRY if f"'{code}'" in text)
    return found


@pytest.mark.parametrize("code", sorted(provoke.PROVED))
def test_the_named_test_asserts_the_code(code: str) -> None:
    for where in provoke.PROVED[code]:
        path, *names = where.split("::")
        module, node = _module(path)
        body: ast.AST = node
        for name in names:
            body = next(one for one in getattr(body, "body", ()) if getattr(one, "name", "") == name)
        assert code in _mentions(module, body), f"{where} does not speak of {code}"


ENDINGS = {
    "WasRefused", "SwapRefused", "OpenAbandoned", "Alarm", "HeldCancelled", "CancelCheque", "Closing", "Cancel",
    "quote_denied", "SendCancel", "CancelSeen", "Warning", "Error",
}  # fmt: skip


def test_every_reason_that_is_said_in_words_of_its_own_is_declared() -> None:
    """Reasons of refusals, cancels and alarms are written as text: each must be a line of docs/errors.md."""
    unknown = []
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            for part in node.args if name in ENDINGS else ():
                text = getattr(part, "value", None)
                if isinstance(text, str) and re.fullmatch(r"[a-z0-9]+(\.[a-z0-9_]+)+", text):
                    unknown += [f"{path.name}:{node.lineno} {text}"] * (text not in REGISTRY)
    assert unknown == []
