"""R4. The chain providers that the settings name, their keys, and what the API says of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from gateway.api import models as m
from gateway.cl.chain.blockfrost import POLL_S, Blockfrost
from gateway.cl.chain.errors import WRONG_NETWORK
from gateway.cl.chain.http import JsonHttp
from gateway.cl.chain.koios import Koios
from gateway.cl.chain.kupo import Kupo
from gateway.cl.chain.ogmios import Ogmios
from gateway.cl.chain.ogmios_kupo import OgmiosKupo
from gateway.cl.chain.seat import Seat
from gateway.cl.chain.several import Several
from gateway.cl.chain.u5c_link import U5cLink
from gateway.cl.chain.utxorpc import UtxoRpc
from gateway.cl.ports import ChainProvider
from gateway.config import INVALID, ProviderSettings, Settings
from gateway.errors import Action, Fault, Refused, define

KEY_UNREADABLE = define(
    "config.provider_key",
    Fault.LOCAL,
    Action.STOP,
    "the key of a chain provider cannot be read",
    "Put the key alone into the named file (mode 0600) or environment variable.",
    500,
)

KOIOS = {
    "mainnet": "https://api.koios.rest/api/v1",
    "preprod": "https://preprod.koios.rest/api/v1",
    "preview": "https://preview.koios.rest/api/v1",
}
LIVE = ("mainnet", "preprod", "preview")
_REGTEST_POLL_S = 0.1
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def build(settings: Settings, environment: Mapping[str, str] | None = None) -> Several:
    """Raises config.invalid, config.provider_key, cl.chain.bad_url, .wrong_network, each naming the setting."""
    cardano, environment = settings.cardano, os.environ if environment is None else environment
    wanted = cardano.provider or {
        "ogmios": ProviderSettings(kind="ogmios", url=cardano.ogmios_url, kupo_url=cardano.kupo_url)
    }
    quorum = cardano.quorum or len(wanted) // 2 + 1
    if quorum > len(wanted):
        raise Refused(INVALID(field="cardano.quorum", got=quorum, allowed=f"<= {len(wanted)} providers"))
    seats = []
    for name, one in wanted.items():
        provider, url = _provider(name, one, settings, environment)
        seats.append(Seat(name, one.kind, shown(url), provider))
    return Several(seats, quorum)


def shown(url: str) -> str:
    """Without what may be a secret: user, password, query."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def _provider(
    name: str, one: ProviderSettings, settings: Settings, environment: Mapping[str, str]
) -> tuple[ChainProvider, str]:
    magic, where = settings.profile.cardano_magic, f"cardano.provider.{name}"
    poll_s = _REGTEST_POLL_S if settings.network == "regtest" else POLL_S
    match one.kind:
        case "ogmios":
            if not (one.url and one.kupo_url):
                raise Refused(
                    INVALID(field=f"{where}.kupo_url", allowed="url of Ogmios and kupo_url of Kupo")
                )
            return OgmiosKupo(Ogmios(one.url), Kupo(one.kupo_url), magic), one.url
        case "blockfrost":
            url = one.url
            if not url:
                if settings.network not in LIVE:
                    raise Refused(INVALID(field=f"{where}.url", allowed="the address of the API"))
                url = f"https://cardano-{settings.network}.blockfrost.io/api/v0"
            key = _key(where, one, environment)
            _key_fits(where, key, url, settings.network)
            http = JsonHttp(url, name, headers={"project_id": key} if key else {})
            return Blockfrost(http, magic, poll_s=poll_s), url
        case "koios":
            url = one.url or KOIOS.get(settings.network, "")
            if not url:
                raise Refused(INVALID(field=f"{where}.url", allowed="the address of the API"))
            key = _key(where, one, environment)
            _key_fits(where, key, url, settings.network)
            http = JsonHttp(url, name, headers={"Authorization": f"Bearer {key}"} if key else {})
            return Koios(http, magic, poll_s=poll_s), url
        case "utxorpc":
            if not one.url:
                raise Refused(INVALID(field=f"{where}.url", allowed="http://host:port or https://host:port"))
            key = _key(where, one, environment)
            _key_fits(where, key, one.url, settings.network)
            link = U5cLink(one.url, name, headers={"dmtr-api-key": key} if key else {})
            return UtxoRpc(link, magic, poll_s=poll_s), one.url


def _key(where: str, one: ProviderSettings, environment: Mapping[str, str]) -> str:
    """Raises config.provider_key; never shows what it read."""
    if one.key_file:
        try:
            mode = stat.S_IMODE(Path(one.key_file).stat().st_mode)
            key = Path(one.key_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(KEY_UNREADABLE(field=f"{where}.key_file", detail=type(error).__name__)) from None
        if mode & 0o077:
            raise Refused(
                KEY_UNREADABLE(field=f"{where}.key_file", got=oct(mode), allowed="0o600 or stricter")
            )
    elif one.key_env:
        key = environment.get(one.key_env, "").strip()
    else:
        return ""
    if not key or len(key) > 1024 or not (key.isascii() and key.isprintable() and " " not in key):
        field = f"{where}.key_file" if one.key_file else f"{where}.key_env"
        raise Refused(KEY_UNREADABLE(field=field, allowed="one line of printable text"))
    return key


def _key_fits(where: str, key: str, url: str, network: str) -> None:
    """A hosted key begins with the name of its network, and never travels in the clear."""
    of = next((name for name in LIVE if key.startswith(name)), None)
    if of is not None and of != network:
        raise Refused(WRONG_NETWORK(field=f"{where}.key", got=f"a key of {of}", allowed=network))
    host = urlsplit(url).hostname
    if key and not url.startswith("https://") and host not in _LOOPBACK:
        raise Refused(
            INVALID(field=f"{where}.url", got=shown(url)[:80], allowed="https:// when a key is sent")
        )


def view(several: Several) -> m.Providers:
    return m.Providers(
        quorum=several.quorum,
        doubt=several.doubt(),
        providers=[
            m.Provider(
                name=seat.name,
                kind=seat.kind,
                url=seat.url,
                state=seat.state,
                code="" if seat.trouble is None else seat.trouble.code,
                detail=seat.dispute if seat.trouble is None else str(seat.trouble)[:400],
                height=seat.height,
                slot=seat.slot,
                behind_blocks=seat.behind,
                latency_ms=seat.latency_ms,
                failures=seat.failures,
                retry_ms=int(seat.wait_s * 1000),
            )
            for seat in several.seats
        ],
    )
