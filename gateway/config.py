"""R1. Settings of a node: a TOML file in its data directory, overridden by GATEWAY_<SECTION>_<KEY>.

Every key has a unit in its name. Mainnet is refused until `allow_mainnet` is set (and should not be set
before the swap engine's proof is done: see README).
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import Action, Fault, Refused, define
from gateway.prices.tickers import VENUES
from gateway.profile import PROFILES, NetworkProfile
from gateway.swap.limits import Limits
from gateway.swap.quote import SwapPolicy
from gateway.units import BlockDelta, Lovelace, Ms, Msat, Rate

UNREADABLE = define(
    "config.unreadable",
    Fault.LOCAL,
    Action.STOP,
    "the configuration cannot be read",
    "Correct the named line of config.toml, or run gateway init.",
    500,
)
INVALID = define(
    "config.invalid",
    Fault.LOCAL,
    Action.STOP,
    "a setting is unknown, missing or out of range",
    "Correct the named setting in config.toml.",
    500,
)
MAINNET_REFUSED = define(
    "config.mainnet_refused",
    Fault.LOCAL,
    Action.STOP,
    "this node does not run on mainnet by default",
    "Use a test network. Nobody should set allow_mainnet before the swap engine's proof is done.",
    500,
)

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
NodeIds = Annotated[str, Field(pattern=r"^(0[23][0-9a-f]{64}(,0[23][0-9a-f]{64})*)?$")]  # commas between
Share = Annotated[int, Field(ge=0, le=1_000_000)]


def _node_ids(text: str) -> frozenset[bytes]:
    return frozenset(bytes.fromhex(one) for one in text.split(",") if one)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProviderSettings(_Section):
    """One provider of Cardano's chain. `url` may be left out where a service has one for the network. The key is
    read from `key_file` (mode 0600) or from the environment variable that `key_env` names, never from here."""

    kind: Literal["ogmios", "blockfrost", "koios", "utxorpc"]
    url: str = ""
    kupo_url: str = ""  # of an Ogmios
    key_file: str = ""
    key_env: str = ""


class CardanoSettings(_Section):
    """`provider` by name, the most trusted first; empty: one Ogmios and Kupo at the two addresses."""

    provider: dict[Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,20}$")], ProviderSettings] = {}
    quorum: Natural = 0  # providers that must agree before anything new is risked; 0: more than half
    ogmios_url: str = "ws://127.0.0.1:1337"
    kupo_url: str = "http://127.0.0.1:1442"
    reference_script: str = ""  # tx_id#index of the published validator; empty: in each transaction


class BitcoinSettings(_Section):
    """The LND that this node drives; a node without one is a plain CL node."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 10009
    tls_cert: str = ""
    macaroon: str = ""
    node_id: str = ""  # only to replace the LND of before: the identity key of the new one
    hold_cancel_blocks: Natural = 0  # the operator's own holdexpirydelta; the larger of it and LND's wins


class SwapSettings(_Section):
    enabled: bool = False
    rate_lovelace: Positive = 1
    rate_msat: Positive = 1
    base_fee_lovelace: Natural = 1_000
    proportional_fee_ppm: Natural = 5_000
    routing_fee_base_msat: Natural = 1_000
    routing_fee_ppm: Natural = 5_000
    least_msat: Positive = 1_000_000
    most_msat: Positive = 1_000_000_000
    quote_life_ms: Positive = 60_000
    hop_blocks: Natural = 160  # two forwarding nodes with LND's own delta of 80
    receive_life_ms: Natural = 0  # 0: the profile's
    bitcoin_reserve_msat: Natural = 0
    cardano_reserve_lovelace: Natural = 0
    slot_reserve: Annotated[int, Field(ge=0, le=19)] = 2
    auto_add_most_lovelace: Natural = 0
    spread_ppm: Share = 0
    inventory_ppm: Share = 0
    option_percent: Annotated[int, Field(ge=0, le=1_000)] = 100
    option_free_peers: NodeIds = ""
    peer_open_most_msat: Natural = 0  # 0: no limit, here and below
    open_most_msat: Natural = 0
    peer_day_most_msat: Natural = 0
    day_most_msat: Natural = 0
    allow_peers: NodeIds = ""
    deny_peers: NodeIds = ""
    quotes_per_minute: Natural = 6_000  # of one peer
    # of a payment of this node itself, above its own price of the invoice; an option for days alone may be 4 %
    pay_most_fee_permille: Annotated[int, Field(ge=0, le=1_000)] = 80

    @property
    def has_own_rate(self) -> bool:
        """The rate is somebody's word: written down, or the one that this gateway itself quotes with."""
        return self.enabled or {"rate_lovelace", "rate_msat"} <= self.model_fields_set

    def policy(self, profile: NetworkProfile) -> SwapPolicy:
        return SwapPolicy(
            rate=Rate(self.rate_lovelace, self.rate_msat),
            base_fee=Lovelace(self.base_fee_lovelace),
            proportional_ppm=self.proportional_fee_ppm,
            routing_fee_base=Msat(self.routing_fee_base_msat),
            routing_fee_ppm=self.routing_fee_ppm,
            least=Msat(self.least_msat),
            most=Msat(self.most_msat),
            quote_life=Ms(self.quote_life_ms),
            hop_blocks=BlockDelta(self.hop_blocks),
            receive_life=Ms(self.receive_life_ms) if self.receive_life_ms else profile.receive_life,
            bitcoin_reserve=Msat(self.bitcoin_reserve_msat),
            cardano_reserve=Lovelace(self.cardano_reserve_lovelace),
            slot_reserve=self.slot_reserve,
            auto_add_most=Lovelace(self.auto_add_most_lovelace),
            spread_ppm=self.spread_ppm,
            inventory_ppm=self.inventory_ppm,
            option_percent=self.option_percent,
            option_free=_node_ids(self.option_free_peers),
            limits=Limits(
                peer_open=Msat(self.peer_open_most_msat),
                all_open=Msat(self.open_most_msat),
                peer_day=Msat(self.peer_day_most_msat),
                all_day=Msat(self.day_most_msat),
                allow=_node_ids(self.allow_peers),
                deny=_node_ids(self.deny_peers),
                quotes_per_minute=self.quotes_per_minute,
            ),
        )


class PricesSettings(_Section):
    """Where the rate of swaps comes from (docs/prices.md). `fixed`: swap.rate_lovelace for swap.rate_msat."""

    source: Literal["fixed", "exchanges", "oracle"] = "fixed"
    exchanges: str = ",".join(sorted(VENUES))
    oracle_url: str = ""
    poll_ms: Annotated[int, Field(ge=1_000, le=60_000)] = 10_000
    timeout_ms: Annotated[int, Field(ge=100, le=30_000)] = 5_000
    least_sources: Annotated[int, Field(ge=3, le=len(VENUES))] = 3
    most_age_ms: Annotated[int, Field(ge=2_000, le=300_000)] = 30_000
    most_spread_ppm: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    most_jump_ppm: Annotated[int, Field(ge=1, le=1_000_000)] = 200_000
    volatility_least_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    volatility_default_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 50_000
    volatility_fixed_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    kraken_url: str = ""
    coinbase_url: str = ""
    binance_url: str = ""
    bitstamp_url: str = ""
    bitfinex_url: str = ""
    okx_url: str = ""

    @property
    def venues(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.exchanges.split(",") if name.strip())

    def url_of(self, venue: str) -> str:
        """The operator's own address for an exchange; empty: the exchange's."""
        return str(getattr(self, f"{venue}_url"))

    @model_validator(mode="after")
    def _fits(self) -> PricesSettings:
        unknown = sorted(set(self.venues) - set(VENUES))
        if unknown or len(set(self.venues)) != len(self.venues):
            raise ValueError(f"exchanges: each once, of {', '.join(sorted(VENUES))}")
        if self.source == "exchanges" and len(self.venues) < self.least_sources:
            raise ValueError("exchanges: fewer than least_sources")
        if self.source == "oracle" and not self.oracle_url:
            raise ValueError("oracle_url: needed by source = oracle")
        for url in (self.oracle_url, *(self.url_of(venue) for venue in VENUES)):
            if url and not url.startswith(("http://", "https://")):
                raise ValueError("an address begins with https:// (or http:// on a machine of your own)")
        return self


class ChannelSettings(_Section):
    """What this node accepts from peers that open channels to it, and asks for its own."""

    respond_period_ms: Natural = 0  # 0: the profile's least
    least_funding_lovelace: Positive = 5_000_000
    most_pending: Annotated[int, Field(ge=1, le=20)] = 20


class Settings(_Section):
    network: Literal["mainnet", "preprod", "preview", "regtest"] = "regtest"
    allow_mainnet: bool = False
    alias: Annotated[str, Field(max_length=32)] = ""
    listen_host: str = "127.0.0.1"
    listen_port: Port = 9911
    api_port: Port = 9912
    database_url: str = ""  # empty: SQLite in the data directory
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_bytes: Positive = 10_000_000
    password_file: str = ""
    cardano: CardanoSettings = CardanoSettings()
    bitcoin: BitcoinSettings = BitcoinSettings()
    swap: SwapSettings = SwapSettings()
    prices: PricesSettings = PricesSettings()
    channel: ChannelSettings = ChannelSettings()

    @property
    def profile(self) -> NetworkProfile:
        return PROFILES[self.network]


def load(directory: Path, environment: dict[str, str] | None = None) -> Settings:
    """The settings of a data directory; raises Refused (config.*) naming the setting."""
    path = directory / "config.toml"
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise Refused(UNREADABLE(field="config.toml", detail="there is no such file")) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(UNREADABLE(field="config.toml", detail=str(error)[:200])) from error
    _override(raw, dict(os.environ) if environment is None else environment)
    return validate(raw)


def validate(raw: dict[str, Any]) -> Settings:
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise Refused(INVALID(field=field, got=str(first.get("input"))[:80], detail=first["msg"])) from error
    if settings.network == "mainnet" and not settings.allow_mainnet:
        raise Refused(MAINNET_REFUSED(field="network", got="mainnet", allowed="allow_mainnet = true"))
    if settings.network == "mainnet" and settings.swap.enabled and settings.prices.source == "fixed":
        # a rate that never moves is an option for everybody: test networks only
        raise Refused(INVALID(field="prices.source", got="fixed", allowed="exchanges or oracle on mainnet"))
    return settings


def _override(raw: dict[str, Any], environment: dict[str, str]) -> None:
    """GATEWAY_SWAP_LEAST_MSAT=… sets swap.least_msat; GATEWAY_API_PORT=… sets api_port."""
    sections = {"cardano", "bitcoin", "swap", "prices", "channel"}
    known = set(Settings.model_fields)
    for name, value in environment.items():
        if not name.startswith("GATEWAY_"):
            continue
        key = name.removeprefix("GATEWAY_").lower()
        section, _, rest = key.partition("_")
        if section in sections and rest:
            raw.setdefault(section, {})[rest] = value
        elif key in known and key not in sections:
            raw[key] = value


def dump(raw: dict[str, Any]) -> str:
    """TOML of plain settings (strings, ints, booleans, sections within sections)."""

    def literal(value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    def section(name: str, values: dict[str, Any]) -> list[str]:
        plain = [f"{k} = {literal(v)}" for k, v in values.items() if not isinstance(v, dict)]
        lines = ["", f"[{name}]", *plain] if name and (plain or not values) else plain
        for key, inner in values.items():
            if isinstance(inner, dict):
                lines += section(f"{name}.{key}" if name else key, inner)
        return lines

    return "\n".join(section("", raw)) + "\n"
