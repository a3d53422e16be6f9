"""The tables of alerts, as SQLAlchemy sees them: states of rules, orders, tickets, audits by people and their cases."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, Table, Text

from twinscore.adapters.rollout_tables import METADATA

__all__ = ["ALERTS", "ALERT_PARTS", "AUDITS", "CASES", "NOTES", "ORDERS", "TICKETS"]

_BIG = BigInteger().with_variant(Integer(), "sqlite")

ALERTS = Table(
    "twinscore_alerts",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("revision", _BIG, nullable=False),
    Column("document", Text, nullable=False),
    Column("saved_at", Text, nullable=False),
)

ALERT_PARTS = Table(
    "twinscore_alert_parts",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("document", Text, nullable=False),
)

ORDERS = Table(
    "twinscore_alert_orders",
    METADATA,
    Column("number", _BIG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("incident", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("put_at", Text, nullable=False),
    Column("since", Double, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", _BIG, nullable=False),
    Column("next_try", Double, nullable=False),
    Column("taken_until", Double, nullable=False),
    Column("progress", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("trouble", Text, nullable=False),
    Column("ended_at", Text),
    Index("twinscore_alert_orders_waiting", "state", "incident", "action", "number"),
)

TICKETS = Table(
    "twinscore_tickets",
    METADATA,
    Column("number", _BIG, primary_key=True, autoincrement=True),
    Column("incident", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("opened_at", Text, nullable=False),
    Column("closed_at", Text),
)

NOTES = Table(
    "twinscore_ticket_notes",
    METADATA,
    Column("order_id", Text, primary_key=True),
    Column("ticket", _BIG, nullable=False),
    Column("at", Text, nullable=False),
    Column("body", Text, nullable=False),
)

AUDITS = Table(
    "twinscore_audits",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("incident", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("started_at", Text, nullable=False),
    Column("over_at", Text),
    Column("document", Text, nullable=False),
)

CASES = Table(
    "twinscore_audit_cases",
    METADATA,
    Column("audit", Text, primary_key=True),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("request_id", Text, nullable=False),
    Column("row", _BIG, nullable=False),
    Column("stratum", Text, nullable=False),
    Column("document", Text, nullable=False),
)
