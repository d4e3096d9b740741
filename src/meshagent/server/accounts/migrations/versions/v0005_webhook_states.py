"""Since when webhooks fail, and whether they are disabled."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("failing_since", sa.BigInteger()))
    op.add_column("webhooks", sa.Column("disabled_at", sa.BigInteger()))
    op.add_column("webhooks", sa.Column("disabled_reason", sa.Text()))
