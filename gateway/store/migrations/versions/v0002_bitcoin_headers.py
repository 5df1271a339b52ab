"""The header times of the last Bitcoin blocks that the node saw: what its stress factors are made from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "bitcoin_headers",
        sa.Column("height", Big, nullable=False, autoincrement=False),
        sa.Column("time_ms", Big, nullable=False),
        sa.PrimaryKeyConstraint("height", name="pk_bitcoin_headers"),
    )
