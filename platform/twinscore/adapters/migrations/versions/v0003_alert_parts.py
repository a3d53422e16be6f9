"""States of alert rules in parts, so that a look writes only what it changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from twinscore.errors import StoreConflict

__all__ = ["downgrade", "upgrade"]

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table; a state that was kept whole is taken apart when it is next saved."""
    op.create_table(
        "twinscore_alert_parts",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refuse: open incidents would be forgotten, and their tickets opened a second time.

    Raises:
        StoreConflict: always.
    """
    message = "The tables of alerts hold open incidents, so no migration removes them. Restore a backup instead."
    raise StoreConflict(message)
