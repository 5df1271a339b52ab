"""docs/channel.md is drawn from evolve.EDGES; `python -m tests.unit.cl_channel.test_channel_doc` draws it again."""

from __future__ import annotations

from pathlib import Path

from gateway.cl.channel.evolve import EDGES

PAGE = Path(__file__).parents[3] / "docs" / "channel.md"
BEGIN, END = "<!-- edges -->\n", "<!-- /edges -->\n"


def diagram() -> str:
    """State changes as arrows; what leaves the state as it is, as a table."""
    arrows: dict[tuple[str, str], list[str]] = {}
    inside: dict[str, list[str]] = {}
    for (before, event), after in EDGES.items():
        if before == after:
            inside.setdefault(before, []).append(event)
        else:
            arrows.setdefault((before or "[*]", after), []).append(event)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    targets = {after for _, after in arrows}
    lines += [f"    {end} --> [*]" for end in sorted(targets - {before for before, _ in EDGES})]
    lines += ["```", "", "| state | events that stay in it |", "|---|---|"]
    lines += [f"| {state} | {', '.join(sorted(events))} |" for state, events in inside.items()]
    return "\n".join([*lines, ""])


def drawn(page: str) -> str:
    head, rest = page.split(BEGIN)
    return head + BEGIN + diagram() + END + rest.split(END)[1]


def test_the_page_shows_the_edges_of_the_code() -> None:
    page = PAGE.read_text()
    assert drawn(page) == page, "stale: run python -m tests.unit.cl_channel.test_channel_doc"


def test_every_state_is_reached_and_described() -> None:
    page = PAGE.read_text()
    states = set(EDGES.values())
    assert {before for before, _ in EDGES if before} <= states
    for state in states:
        assert f"**{state}**" in page, f"{state} is not described"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
