"""The tables in which rollouts are kept, as SQLAlchemy sees them; how they come to be is in `migrations`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text

__all__ = ["COMMANDS", "HEADS", "HOLDS", "LEASES", "LEDGER", "METADATA", "REVISION", "STATES", "VERSION_TABLE"]

REVISION = "0003"
"""The migration that was written last."""
VERSION_TABLE = "twinscore_schema"
"""Where the migration that was run last is noted; a name of its own, so that MLflow may share the database."""

METADATA = MetaData()
_BIG = BigInteger().with_variant(Integer(), "sqlite")

STATES = Table(
    "twinscore_rollouts",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("revision", _BIG, nullable=False),
    Column("document", Text, nullable=False),
    Column("saved_at", Text, nullable=False),
)

LEDGER = Table(
    "twinscore_ledger",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("from_version", Text),
    Column("to_version", Text),
    Column("requested_by", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("rollout_id", Text, nullable=False),
    Column("previous", Text, nullable=False),
    Column("digest", Text, nullable=False),
)

HEADS = Table(
    "twinscore_ledger_heads",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("number", _BIG, nullable=False),
    Column("digest", Text, nullable=False),
)

LEASES = Table(
    "twinscore_leases",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", _BIG, nullable=False),
    Column("renewed_at", Double, nullable=False),
    Column("until", Double, nullable=False),
)

HOLDS = Table(
    "twinscore_holds",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("scope", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("released_at", Text),
    Column("document", Text, nullable=False),
)

COMMANDS = Table(
    "twinscore_commands",
    METADATA,
    Column("number", _BIG, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("model", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("put_at", Text, nullable=False),
    Column("outcome", Text),
    Column("done_at", Text),
    Index("twinscore_commands_waiting", "model", "outcome"),
)
