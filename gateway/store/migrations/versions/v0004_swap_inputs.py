"""The inputs that changed a swap, with the moment of each decision: what an incident file replays."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "swap_inputs",
        sa.Column("id", Big, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("entity_id", sa.String(), nullable=False),
        sa.Column("version", Big, nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("created_ms", Big, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_swap_inputs"),
        sa.UniqueConstraint("kind", "entity_id", "version", name="uq_swap_inputs_kind_entity_id_version"),
        sqlite_autoincrement=True,
    )
