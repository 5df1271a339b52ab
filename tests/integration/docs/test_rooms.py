"""docs/rooms.md is held to the tree: a newcomer finds every room there, and nothing that is gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`((?:gateway|regtest|tests|validators|docs)/[\w./*-]*)`")
NO_ROOMS = {"tests/golden/cl_data/probe"}  # the compiled probe of golden bytes


def rooms() -> set[str]:
    """Every directory with modules of ours."""
    found: set[str] = set()
    for top in ("gateway", "regtest", "tests"):
        found |= {
            str(f.parent.relative_to(ROOT)) for f in (ROOT / top).rglob("*.py") if f.name != "__init__.py"
        }
    return found - NO_ROOMS - {"gateway", "regtest", "gateway/cl", "tests", "gateway/store/migrations"}


def test_every_room_is_named() -> None:
    named = {place.rstrip("/") for place in PATH.findall((ROOT / "docs" / "rooms.md").read_text())}
    assert sorted(rooms() - named) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert [place for place in PATH.findall(text) if not list(ROOT.glob(place.rstrip("/")))] == []
    links = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text)]
    assert [t for t in links if "://" not in t and t and not (page.parent / t).exists()] == []


def test_every_page_is_linked() -> None:
    linked = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in PAGES
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text())
        if "://" not in target
    }
    assert [page.name for page in PAGES[1:] if page not in linked] == []


def test_the_readme_shows_the_two_commands_and_names_what_never_met_a_real_node() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.search(r"^make demo ", text, flags=re.M)
    assert re.search(r"^make test ", text, flags=re.M)
    assert "never a real cardano-node" in text
    assert "nobody should" in text  # set allow_mainnet
