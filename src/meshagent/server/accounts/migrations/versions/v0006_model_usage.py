"""What participants used of the models, by day."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_KEY = ("project_id", "day", "room_name", "key_id", "participant", "model")
_SUMS = (
    "requests",
    "estimated_requests",
    "unpriced_requests",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost",
)


def upgrade() -> None:
    op.create_table(
        "model_usage",
        *(sa.Column(name, sa.Text(), nullable=False) for name in _KEY),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_model_usage_project_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*_KEY, name="pk_model_usage"),
    )
    op.create_index("ix_model_usage_day", "model_usage", ["day"], unique=False)
