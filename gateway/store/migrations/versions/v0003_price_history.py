"""The price history, from which the volatility is measured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "price_history",
        sa.Column("asset", sa.String(), nullable=False),
        sa.Column("at_ms", Big, nullable=False),
        sa.Column("units_per_bitcoin", Big, nullable=False),
        sa.PrimaryKeyConstraint("asset", "at_ms", name="pk_price_history"),
    )
