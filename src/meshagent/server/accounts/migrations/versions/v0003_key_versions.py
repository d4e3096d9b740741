"""A number for each change of an API key, so that servers on one database read only what changed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    counters = op.create_table(
        "change_counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_change_counters"),
    )
    op.bulk_insert(counters, [{"name": "api_keys", "value": 0}])
    op.add_column("api_keys", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_index("ix_api_keys_version", "api_keys", ["version"], unique=False)
