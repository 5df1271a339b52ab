"""First schema: entities with their events and outbox, look-ups, chain cursor, guard, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _big(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, Big, nullable=null)


def _text(name: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(), nullable=null)


def _blob(name: str, *, null: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=null)


def _auto(name: str) -> sa.Column[int]:
    return sa.Column(name, Big, autoincrement=True, nullable=False)


def _core() -> None:
    op.create_table("meta", _text("key"), _text("value"), sa.PrimaryKeyConstraint("key", name="pk_meta"))
    op.create_table(
        "entities",
        _text("kind"),
        _text("entity_id"),
        _big("version"),
        sa.Column("live", sa.Boolean(), nullable=False),
        _blob("state"),
        _big("updated_ms"),
        sa.PrimaryKeyConstraint("kind", "entity_id", name="pk_entities"),
    )
    op.create_index("ix_entities_live", "entities", ["kind", "live"])
    op.create_table(
        "events",
        _auto("position"),
        _text("kind"),
        _text("entity_id"),
        _big("seq"),
        _text("tag"),
        sa.Column("codec_version", sa.Integer(), nullable=False),
        _blob("payload"),
        _big("created_ms"),
        sa.PrimaryKeyConstraint("position", name="pk_events"),
        sa.UniqueConstraint("kind", "entity_id", "seq", name="uq_events_kind_entity_id_seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "outbox",
        _auto("id"),
        _text("kind"),
        _text("entity_id"),
        _text("tag"),
        _blob("payload"),
        _big("created_ms"),
        _big("done_at_ms", null=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _text("last_error"),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("done_at_ms IS NULL")
    op.create_index("ix_outbox_open", "outbox", ["id"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("ix_outbox_done", "outbox", ["done_at_ms"])


def _messages() -> None:
    op.create_table(
        "inbox",
        _text("source"),
        _blob("message_id"),
        _big("received_ms"),
        _blob("answer", null=True),
        sa.PrimaryKeyConstraint("source", "message_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_received", "inbox", ["received_ms"])
    op.create_table(
        "lookups",
        _text("name"),
        _blob("key"),
        _text("kind"),
        _text("entity_id"),
        sa.PrimaryKeyConstraint("name", "key", name="pk_lookups"),
    )
    op.create_index("ix_lookups_entity", "lookups", ["kind", "entity_id"])


def _swaps() -> None:
    op.create_table(
        "swap_attempts",
        _text("swap_id"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        _blob("hashlock"),
        _text("direction"),
        sa.Column("live", sa.Boolean(), nullable=False),
        _big("created_ms"),
        _big("ended_ms", null=True),
        sa.PrimaryKeyConstraint("swap_id", "attempt", name="pk_swap_attempts"),
    )
    live = sa.text("live")
    op.create_index(
        "uq_swap_attempts_live_hashlock",
        "swap_attempts",
        ["hashlock"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("ix_swap_attempts_hashlock", "swap_attempts", ["hashlock"])
    op.create_table(
        "quotes",
        _blob("quote_id"),
        _blob("hashlock", null=True),
        _blob("peer", null=True),
        _blob("payload"),
        _big("created_ms"),
        _big("expires_ms"),
        sa.PrimaryKeyConstraint("quote_id", name="pk_quotes"),
    )
    op.create_index("ix_quotes_expires", "quotes", ["expires_ms"])
    op.create_index("ix_quotes_hashlock", "quotes", ["hashlock"])
    op.create_table(
        "payments",
        _text("payment_id"),
        _blob("hashlock"),
        _text("direction"),
        _text("status"),
        _blob("payload"),
        _big("created_ms"),
        _big("updated_ms"),
        sa.PrimaryKeyConstraint("payment_id", name="pk_payments"),
    )
    op.create_index("ix_payments_hashlock", "payments", ["hashlock"])
    op.create_index("ix_payments_created", "payments", ["created_ms"])


def _chain() -> None:
    op.create_table(
        "chain_points",
        _big("slot"),
        _blob("block_hash"),
        _big("height"),
        _big("time_ms"),
        sa.PrimaryKeyConstraint("slot", name="pk_chain_points"),
    )
    op.create_index("ix_chain_points_height", "chain_points", ["height"])
    op.create_table(
        "observations",
        _auto("id"),
        _big("slot"),
        _text("topic"),
        _blob("key"),
        _blob("payload"),
        sa.PrimaryKeyConstraint("id", name="pk_observations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_observations_slot", "observations", ["slot"])
    op.create_index("ix_observations_key", "observations", ["topic", "key"])


def _rest() -> None:
    op.create_table(
        "signer_guard",
        _blob("key"),
        _text("topic"),
        _big("index"),
        _blob("payload"),
        _big("signed_ms"),
        sa.PrimaryKeyConstraint("key", "topic", "index", name="pk_signer_guard"),
    )
    op.create_table(
        "peers",
        _blob("node_id"),
        _blob("payload"),
        _big("updated_ms"),
        sa.PrimaryKeyConstraint("node_id", name="pk_peers"),
    )
    op.create_table(
        "audit",
        _auto("id"),
        _text("entry"),
        _text("account"),
        _text("unit"),
        _big("amount"),
        _text("memo"),
        _big("created_ms"),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.UniqueConstraint("entry", "account", "unit", name="uq_audit_entry_account_unit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_account", "audit", ["account", "unit"])


def _append_only(table: str) -> None:
    """The database itself refuses to change history: our own bug must not be able to."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_append_only()"
    )


def upgrade() -> None:
    _core()
    _messages()
    _swaps()
    _chain()
    _rest()
    for table in ("events", "audit"):
        _append_only(table)
