"""R1. The released validator: its bytes and its hash, pinned here and checked before use (V18, S4).

The wheel carries plutus.json beside this module; a checkout has it in validators/.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gateway.cl.data.errors import SCRIPT_HASH
from gateway.errors import Refused

# Written by validators/build.py together with plutus.json.
VALIDATOR_HASH = bytes.fromhex("ae87a1b25fbac5c9289c611b5d114e4d844b12c337ba9d9e1f05630c")
_TITLE = "channel.channel.mint"


@dataclass(frozen=True, slots=True)
class Blueprint:
    script: bytes  # CBOR byte string around the flat program: what a reference script and a witness carry
    hash: bytes  # 28 bytes: the policy id and the payment credential


def parse_blueprint(text: str, pinned: bytes) -> Blueprint:
    """`Refused` (cl.data.script_hash) unless the file holds exactly the script of the pinned hash."""
    try:
        listed = json.loads(text)["validators"]
        script = bytes.fromhex(next(v["compiledCode"] for v in listed if v["title"] == _TITLE))
    except (ValueError, KeyError, TypeError, StopIteration) as e:
        raise Refused(SCRIPT_HASH(field="plutus.json", got=repr(e), allowed=pinned.hex())) from e
    digest = hashlib.blake2b(b"\x03" + script, digest_size=28).digest()
    if digest != pinned:
        raise Refused(SCRIPT_HASH(field="plutus.json", got=digest.hex(), allowed=pinned.hex()))
    return Blueprint(script, digest)


def _path() -> Path:
    installed = Path(__file__).with_name("plutus.json")
    return installed if installed.exists() else Path(__file__).parents[3] / "validators" / "plutus.json"


@cache
def load_blueprint() -> Blueprint:
    """The validator of this release; read and checked once."""
    path = _path()
    try:
        text = path.read_text()
    except OSError as e:
        raise Refused(SCRIPT_HASH(field=str(path), got="unreadable", detail=str(e))) from e
    return parse_blueprint(text, VALIDATOR_HASH)
