"""R2. Where a message belongs: to a connection, a channel, a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.cl.wire.fields import Spec


class Presence(Enum):
    MUST = "must"
    MAY = "may"
    MUST_NOT = "must_not"


class Turn(Enum):
    """Whose conversation a message may speak in: its sender's own, the other side's, or any."""

    STARTS = "starts"
    ANSWERS = "answers"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Body:
    """`name` is the field of the envelope's oneof."""

    name: str
    spec: Spec
    channel: Presence
    conversation: Presence
    turn: Turn = Turn.ANY
