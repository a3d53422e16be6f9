"""States of alert rules, their orders, tickets, and audits by people with their cases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from twinscore.errors import StoreConflict

__all__ = ["downgrade", "upgrade"]

revision = "0002"
down_revision = "0001"

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "twinscore_alerts",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("revision", _BIG, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("saved_at", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_alert_orders",
        sa.Column("number", _BIG, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("put_at", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", _BIG, nullable=False),
        sa.Column("next_try", sa.Double, nullable=False),
        sa.Column("taken_until", sa.Double, nullable=False),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("trouble", sa.Text, nullable=False),
        sa.Column("ended_at", sa.Text),
    )
    op.create_index(
        "twinscore_alert_orders_waiting", "twinscore_alert_orders", ["state", "incident", "action", "number"]
    )
    op.create_table(
        "twinscore_tickets",
        sa.Column("number", _BIG, primary_key=True, autoincrement=True),
        sa.Column("incident", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("opened_at", sa.Text, nullable=False),
        sa.Column("closed_at", sa.Text),
    )
    op.create_table(
        "twinscore_ticket_notes",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("ticket", _BIG, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_audits",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("incident", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("blind", sa.Boolean, nullable=False),
        sa.Column("started_at", sa.Text, nullable=False),
        sa.Column("over_at", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_audit_cases",
        sa.Column("audit", sa.Text, primary_key=True),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("row", _BIG, nullable=False),
        sa.Column("stratum", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Refuse: open incidents would be forgotten, and their tickets opened a second time.

    Raises:
        StoreConflict: always.
    """
    message = "The tables of alerts hold open incidents, so no migration removes them. Restore a backup instead."
    raise StoreConflict(message)
