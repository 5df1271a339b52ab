"""R3. What a peer may cost us before it is cut off. Seconds are of the machine's monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

MAX_MESSAGE = 65_535  # one BOLT 8 frame; longer protocol messages do not exist, so nothing is reassembled


@dataclass(frozen=True, slots=True)
class Limits:
    connect_s: float = 10.0
    handshake_s: float = 10.0  # all three acts together, whatever trickles in
    idle_s: float = 180.0  # without a whole message; pings of the session come far more often
    message_s: float = 30.0  # from the first byte of a message to its last (slow loris, P13)
    send_s: float = 30.0  # a peer that does not read
    backlog_bytes: int = 512 * 1024  # written by us, not yet taken by the link; the longest books fit twice
    close_s: float = 5.0  # to flush when we close in peace
    connections: int = 512
    handshakes: int = 64  # unfinished, in all
    handshakes_per_host: int = 8
