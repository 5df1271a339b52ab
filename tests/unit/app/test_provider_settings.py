"""Providers by the settings: which, with whose key, and never one of another network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.app import providers
from gateway.app.init import parse_settings
from gateway.config import dump, load, validate
from gateway.errors import Refused

SECRET = "previewAbCdEf0123456789"
OURS = {"kind": "ogmios", "url": "ws://127.0.0.1:1337", "kupo_url": "http://127.0.0.1:1442"}
HOSTED = {"kind": "blockfrost", "key_env": "BLOCKFROST_KEY"}


def build(network: str = "preview", environment: dict[str, str] | None = None, **cardano: Any) -> Any:
    raw = {"network": network, "allow_mainnet": True, "cardano": cardano}
    return providers.build(validate(raw), {"BLOCKFROST_KEY": SECRET} if environment is None else environment)


def refusal(**settings: Any) -> tuple[str, str, str]:
    with pytest.raises(Refused) as caught:
        build(**settings)
    return caught.value.rejection.code, caught.value.rejection.field, str(caught.value)


async def test_without_more_there_is_one_ogmios_and_kupo() -> None:
    (seat,) = build().seats
    assert (seat.name, seat.kind, seat.url) == ("ogmios", "ogmios", "ws://127.0.0.1:1337")
    assert build().quorum == 1


async def test_several_in_their_order_and_more_than_half_must_agree() -> None:
    both = build(provider={"ours": OURS, "hosted": HOSTED})
    assert [seat.name for seat in both.seats] == ["ours", "hosted"]
    assert both.seats[1].url == "https://cardano-preview.blockfrost.io/api/v0"
    assert both.quorum == 2
    third = {"kind": "blockfrost", "url": "http://127.0.0.1:3000"}
    assert build(provider={"ours": OURS, "hosted": HOSTED, "third": third}).quorum == 2
    assert build(provider={"ours": OURS, "hosted": HOSTED}, quorum=1).quorum == 1


async def test_koios_needs_no_key_and_has_an_address_for_each_network() -> None:
    for network, url in providers.KOIOS.items():
        (seat,) = build(network=network, provider={"k": {"kind": "koios"}}).seats
        assert (seat.url, "authorization" in seat.provider.http._http.headers) == (url, False)
    keyed = build(provider={"k": {"kind": "koios", "key_env": "BLOCKFROST_KEY"}}).seats[0].provider
    assert keyed.http._http.headers["authorization"] == f"Bearer {SECRET}"
    got = refusal(network="regtest", provider={"k": {"kind": "koios"}})
    assert got[:2] == ("config.invalid", "cardano.provider.k.url")


async def test_utxo_rpc_has_an_address_of_its_own() -> None:
    made = build(provider={"u": {"kind": "utxorpc", "url": "https://h:443", "key_env": "BLOCKFROST_KEY"}})
    assert (made.seats[0].kind, made.seats[0].url) == ("utxorpc", "https://h:443")
    assert SECRET not in repr(made.seats) + providers.view(made).model_dump_json()
    await made.close()
    assert refusal(provider={"u": {"kind": "utxorpc"}})[:2] == ("config.invalid", "cardano.provider.u.url")
    bad = refusal(provider={"u": {"kind": "utxorpc", "url": "grpc://h:1"}})
    assert bad[:2] == ("cl.chain.bad_url", "u")


async def test_the_key_goes_to_the_provider_and_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    for one in (HOSTED, {"kind": "blockfrost", "key_file": str(file)}):
        made = build(provider={"hosted": one})
        assert made.seats[0].provider.http._http.headers["project_id"] == SECRET
        assert SECRET not in repr(made.seats) + providers.view(made).model_dump_json()


@pytest.mark.parametrize(
    ("content", "mode"),
    [(SECRET, 0o644), ("", 0o600), ("two\nlines", 0o600), ("sp ace", 0o600), ("ключ", 0o600), (None, 0)],
)
def test_a_bad_key_is_named_and_not_shown(tmp_path: Path, content: str | None, mode: int) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    code, field, words = refusal(provider={"hosted": {"kind": "blockfrost", "key_file": str(file)}})
    assert (code, field) == ("config.provider_key", "cardano.provider.hosted.key_file")
    assert not content or content not in words
    assert refusal(provider={"hosted": HOSTED}, environment={})[:2] == (
        "config.provider_key",
        "cardano.provider.hosted.key_env",
    )


@pytest.mark.parametrize("network", ["mainnet", "preprod"])
def test_a_key_of_another_network_is_refused(network: str) -> None:
    code, field, words = refusal(network=network, provider={"hosted": HOSTED})
    assert (code, field) == ("cl.chain.wrong_network", "cardano.provider.hosted.key")
    assert SECRET not in words


@pytest.mark.parametrize(
    ("cardano", "code", "field"),
    [
        ({"provider": {"ours": OURS}, "quorum": 2}, "config.invalid", "cardano.quorum"),
        ({"provider": {"ours": {"kind": "oracle"}}}, "config.invalid", "cardano.provider.ours.kind"),
        ({"provider": {"ours": {**OURS, "key": "x"}}}, "config.invalid", "cardano.provider.ours.key"),
        ({"provider": {"o": {"kind": "ogmios", "url": "ws://h"}}}, "config.invalid", "cardano.provider.o.kupo_url"),
        ({"provider": {"ours": {**OURS, "url": "http://h"}}}, "cl.chain.bad_url", "ogmios"),
        (
            {"provider": {"h": {**HOSTED, "url": "http://example.com/api"}}},
            "config.invalid",
            "cardano.provider.h.url",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(cardano: dict[str, Any], code: str, field: str) -> None:
    assert refusal(**cardano)[:2] == (code, field)


def test_a_network_without_a_service_needs_an_address() -> None:
    got = refusal(network="regtest", provider={"h": {"kind": "blockfrost"}})
    assert got[:2] == ("config.invalid", "cardano.provider.h.url")


def test_what_may_be_secret_in_an_address_is_not_shown() -> None:
    assert providers.shown("https://me:pw@host:1/api?token=t#f") == "https://host:1/api"


def test_a_file_of_settings_keeps_sections_within_sections(tmp_path: Path) -> None:
    words = [
        "cardano.quorum=2", "cardano.provider.ours.kind=ogmios", "cardano.provider.ours.url=ws://h:1",
        "cardano.provider.ours.kupo_url=http://h:2", "cardano.provider.hosted.kind=blockfrost",
        "cardano.provider.hosted.key_env=K",
    ]  # fmt: skip
    (tmp_path / "config.toml").write_text(dump({"network": "preview", **parse_settings(words)}))
    cardano = load(tmp_path, {}).cardano
    assert list(cardano.provider) == ["ours", "hosted"]
    assert (cardano.quorum, cardano.provider["hosted"].key_env) == (2, "K")
    with pytest.raises(Refused):
        parse_settings(["cardano.quorum=2", "cardano.quorum.x=1"])
