"""R1. An incident file: one swap with every input, moment, event and ledger row; and its replay outside the node.

The file is JSON of the store's own codecs. Replaying decides again on each input, at the moment that was stored with
it, and compares what comes out with the events that the node stored then.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gateway.outcome import Continue
from gateway.profile import PROFILES, NetworkProfile
from gateway.store.codec import Codecs
from gateway.swap import btc_to_cl, cl_to_btc, codecs
from gateway.swap import events as e
from gateway.swap import state as s
from gateway.swap.timelock import Clocks
from gateway.swap.transitions import evolve
from gateway.swap.witness import Seen

VERSION = 1


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the store holds of one swap, decoded. `inputs`: (version of the swap at the decision, input)."""

    events: tuple[tuple[e.Event, int], ...]  # with the time of the commit, ms
    inputs: tuple[tuple[int, Seen], ...]
    rows: tuple[dict[str, Any], ...]


def to_file(
    network: str, kind: str, entity_id: str, recorded: Recorded, facts: dict[str, Any]
) -> dict[str, Any]:
    """`facts`: what is known beside the record (risk, versions); not replayed."""
    known = _codecs()

    def form(value: object) -> Any:
        return json.loads(known.encode(value))

    return {
        "incident": VERSION,
        "network": network,
        "kind": kind,
        "swap": entity_id,
        "events": [{"at_ms": at, "event": form(event)} for event, at in recorded.events],
        "inputs": [{"version": version, "seen": form(seen)} for version, seen in recorded.inputs],
        "ledger": list(recorded.rows),
        "facts": facts,
    }


def replay(document: Any) -> list[str]:
    """What does not come out as it was stored; empty when all does. Raises ValueError on what is no such file."""
    if (
        not isinstance(document, dict)
        or document.get("incident") != VERSION
        or document.get("network") not in PROFILES
    ):
        raise ValueError("not an incident file of this version")
    known = _codecs()

    def value(form: Any) -> Any:
        return known.decode(json.dumps(form).encode())

    events = [value(row["event"]) for row in document["events"]]
    inputs = {int(row["version"]): value(row["seen"]) for row in document["inputs"]}
    profile = PROFILES[document["network"]]
    state: s.State | None = None
    version, wrong = 0, []
    while version < len(events):
        if version not in inputs or state is None:
            if version > 0:  # only the first event, the quote, comes without an input
                wrong.append(f"event {version + 1} has no recorded input")
            state = evolve(state, events[version])
            version += 1
            continue
        until = min((one for one in inputs if one > version), default=len(events))
        stored = tuple(events[version:until])
        made = _decided(document["kind"], state, inputs[version], profile)
        if made != stored:
            wrong.append(f"input at version {version}: {_names(made)} came out, {_names(stored)} was stored")
        for event in stored:
            state = evolve(state, event)
        version += len(stored)
    return wrong


def _decided(kind: str, state: s.State, seen: Seen, profile: NetworkProfile) -> tuple[e.Event, ...]:
    clocks = Clocks(seen.now, seen.height, seen.stress)
    outcome: Any
    if kind == "swap.out":
        outcome = cl_to_btc.decide(state, seen.given, cl_to_btc.Context(profile, clocks, seen.paused))
    else:
        context = btc_to_cl.Context(profile, clocks, seen.constants, seen.attempt, seen.paused)
        outcome = btc_to_cl.decide(state, seen.given, context)
    return tuple(outcome.events) if isinstance(outcome, Continue) else ()


def _names(events: tuple[e.Event, ...]) -> str:
    return ", ".join(type(event).__name__ for event in events) or "nothing"


def _codecs() -> Codecs:
    known = Codecs()
    codecs.register(known)
    return known
