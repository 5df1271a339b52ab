"""R4. Makes a node's data directory: keys in an encrypted file, config.toml, token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.api import token
from gateway.cl.l1.address import key_address
from gateway.cl.signer.keys import KeyRing, check_words, new_words
from gateway.cl.signer.keystore import Keystore
from gateway.config import INVALID, dump, validate
from gateway.errors import Refused

KEYS, CONFIG, TOKEN = "keys", "config.toml", "api.token"


def parse_settings(words: list[str]) -> dict[str, Any]:
    """["swap.least_msat=5", "alias=x"] as nested settings; raises config.invalid naming the word."""
    raw: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        *sections, key = name.split(".")
        if not sign or not key or not all(sections):
            raise Refused(INVALID(field=word[:60], allowed="section.key=value"))
        literal: Any = value
        if value.lower() in ("true", "false"):
            literal = value.lower() == "true"
        elif value.lstrip("-").isdigit():
            literal = int(value)
        inner = raw
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise Refused(INVALID(field=word[:60], allowed=f"{section} is one setting, not a section"))
        inner[key] = literal
    return raw


def initialise(
    directory: Path, network: str, password: str, alias: str, settings: list[str], mnemonic: str | None
) -> dict[str, Any]:
    """Everything or nothing is refused before a file is written; returns what the user must see once."""
    raw: dict[str, Any] = {"network": network, "alias": alias, **parse_settings(settings)}
    checked = validate(raw)
    words = new_words() if mnemonic is None else check_words(mnemonic)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    Keystore.create(directory / KEYS, network, password, words)
    token.load_or_create(directory / TOKEN)
    (directory / CONFIG).write_text(dump(raw))
    ring = KeyRing(words, network)
    made: dict[str, Any] = {
        "directory": str(directory),
        "network": network,
        "node_id": ring.node_id.hex(),
        "address": str(key_address(ring.wallet_hash, checked.profile.cardano_magic)),
    }
    if mnemonic is None:
        made["mnemonic"] = words
    return made
