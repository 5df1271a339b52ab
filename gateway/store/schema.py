"""The tables as SQLAlchemy sees them; the migrations are what creates them, a test compares both.

Amounts and times are bare ints with a suffix; payloads are canonical JSON of `codec`. Ids of
entities are text (hex where they are bytes). Binary columns hold raw bytes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite gives rowids (never reused with AUTOINCREMENT) only to INTEGER keys.
Big = BigInteger().with_variant(Integer(), "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

entities = Table(
    "entities",
    metadata,
    Column("kind", String, primary_key=True),
    Column("entity_id", String, primary_key=True),
    Column("version", Big, nullable=False),  # seq of its last event
    Column("live", Boolean, nullable=False),  # false: final, not loaded at start
    Column("state", LargeBinary, nullable=False),
    Column("updated_ms", Big, nullable=False),
    Index("ix_entities_live", "kind", "live"),
)

events = Table(
    "events",
    metadata,
    Column("position", Big, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Column("seq", Big, nullable=False),
    Column("tag", String, nullable=False),
    Column("codec_version", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", Big, nullable=False),
    UniqueConstraint("kind", "entity_id", "seq"),
    sqlite_autoincrement=True,
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Column("tag", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", Big, nullable=False),
    Column("done_at_ms", Big),
    Column("attempts", Integer, nullable=False),
    Column("last_error", String, nullable=False),
    Index(
        "ix_outbox_open",
        "id",
        sqlite_where=text("done_at_ms IS NULL"),
        postgresql_where=text("done_at_ms IS NULL"),
    ),
    Index("ix_outbox_done", "done_at_ms"),
    sqlite_autoincrement=True,
)

inbox = Table(
    "inbox",
    metadata,
    Column("source", String, primary_key=True),
    Column("message_id", LargeBinary, primary_key=True),
    Column("received_ms", Big, nullable=False),
    Column("answer", LargeBinary),  # what was answered, to answer the same again
    Index("ix_inbox_received", "received_ms"),
)

lookups = Table(
    "lookups",
    metadata,
    Column("name", String, primary_key=True),
    Column("key", LargeBinary, primary_key=True),
    Column("kind", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Index("ix_lookups_entity", "kind", "entity_id"),
)

swap_attempts = Table(
    "swap_attempts",
    metadata,
    Column("swap_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("hashlock", LargeBinary, nullable=False),
    Column("direction", String, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("created_ms", Big, nullable=False),
    Column("ended_ms", Big),
    # X6: one live swap for a payment hash, enforced where no race can pass it.
    Index(
        "uq_swap_attempts_live_hashlock",
        "hashlock",
        unique=True,
        sqlite_where=text("live"),
        postgresql_where=text("live"),
    ),
    Index("ix_swap_attempts_hashlock", "hashlock"),
)

quotes = Table(
    "quotes",
    metadata,
    Column("quote_id", LargeBinary, primary_key=True),
    Column("hashlock", LargeBinary),
    Column("peer", LargeBinary),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", Big, nullable=False),
    Column("expires_ms", Big, nullable=False),
    Index("ix_quotes_expires", "expires_ms"),
    Index("ix_quotes_hashlock", "hashlock"),
)

payments = Table(
    "payments",
    metadata,
    Column("payment_id", String, primary_key=True),
    Column("hashlock", LargeBinary, nullable=False),
    Column("direction", String, nullable=False),  # "out" | "in"
    Column("status", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", Big, nullable=False),
    Column("updated_ms", Big, nullable=False),
    Index("ix_payments_hashlock", "hashlock"),
    Index("ix_payments_created", "created_ms"),
)

chain_points = Table(
    "chain_points",
    metadata,
    Column("slot", Big, primary_key=True),
    Column("block_hash", LargeBinary, nullable=False),
    Column("height", Big, nullable=False),
    Column("time_ms", Big, nullable=False),
    Index("ix_chain_points_height", "height"),
)

bitcoin_headers = Table(
    "bitcoin_headers",
    metadata,
    Column("height", Big, primary_key=True, autoincrement=False),
    Column("time_ms", Big, nullable=False),
)

swap_inputs = Table(
    "swap_inputs",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("entity_id", String, nullable=False),
    Column("version", Big, nullable=False),  # of the swap when the input was decided on
    Column("payload", LargeBinary, nullable=False),
    Column("created_ms", Big, nullable=False),
    UniqueConstraint("kind", "entity_id", "version"),
    sqlite_autoincrement=True,
)

observations = Table(
    "observations",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("slot", Big, nullable=False),
    Column("topic", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("ix_observations_slot", "slot"),
    Index("ix_observations_key", "topic", "key"),
    sqlite_autoincrement=True,
)

signer_guard = Table(
    "signer_guard",
    metadata,
    Column("key", LargeBinary, primary_key=True),
    Column("topic", String, primary_key=True),  # "cheque", "snapshot", …
    Column("index", Big, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    Column("signed_ms", Big, nullable=False),
)

peers = Table(
    "peers",
    metadata,
    Column("node_id", LargeBinary, primary_key=True),
    Column("payload", LargeBinary, nullable=False),
    Column("updated_ms", Big, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Big, primary_key=True, autoincrement=True),
    Column("entry", String, nullable=False),  # rows of one entry sum to zero per unit
    Column("account", String, nullable=False),
    Column("unit", String, nullable=False),  # "lovelace" | "msat"
    Column("amount", Big, nullable=False),
    Column("memo", String, nullable=False),
    Column("created_ms", Big, nullable=False),
    UniqueConstraint("entry", "account", "unit"),
    Index("ix_audit_account", "account", "unit"),
    sqlite_autoincrement=True,
)

price_history = Table(
    "price_history",
    metadata,
    Column("asset", String, primary_key=True),  # "ada"
    Column("at_ms", Big, primary_key=True),
    Column("units_per_bitcoin", Big, nullable=False),  # lovelace of ada
)

APPEND_ONLY = ("events", "audit")
