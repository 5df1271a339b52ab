"""Where scalus's emulator is known to differ from the ledger: one entry for each line of docs/judges.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from regtest.cardano.failure import Failure


@dataclass(frozen=True, slots=True)
class Known:
    """The devnet refuses with `predicate`, the emulator accepts; `applies` narrows it to the case explained."""

    line: str
    predicate: str
    applies: Callable[[Failure], bool]


def _steps_only(failure: Failure) -> bool:
    given, allowed = failure.data["providedExecutionUnits"], failure.data["maximumExecutionUnits"]
    return bool(given["memory"] <= allowed["memory"])


KNOWN = (
    Known("J1", "OutsideForecast", lambda failure: True),
    Known("J2", "ExUnitsTooBigUTxO", _steps_only),
    Known("J3", "ConwayTxRefScriptsSizeTooBig", lambda failure: True),
    Known("J4", "DecoderError", lambda failure: "given twice in a set" in failure.data["conway"]),
)


def explained(failure: Failure) -> str | None:
    """The line of docs/judges.md for a refusal that the emulator does not share."""
    for entry in KNOWN:
        if entry.predicate == failure.predicate and entry.applies(failure):
            return entry.line
    return None
