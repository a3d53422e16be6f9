"""States, ledger, leases, holds and commands of rollouts; the ledger refuses to be changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from twinscore.errors import StoreConflict

__all__ = ["downgrade", "upgrade"]

revision = "0001"
down_revision = None

_BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "twinscore_rollouts",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("revision", _BIG, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("saved_at", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_ledger",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("number", _BIG, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("from_version", sa.Text),
        sa.Column("to_version", sa.Text),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.Text, nullable=False),
        sa.Column("rollout_id", sa.Text, nullable=False),
        sa.Column("previous", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_ledger_heads",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("number", _BIG, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("epoch", _BIG, nullable=False),
        sa.Column("renewed_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
    )
    op.create_table(
        "twinscore_holds",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("released_at", sa.Text),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "twinscore_commands",
        sa.Column("number", _BIG, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("put_at", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("done_at", sa.Text),
    )
    op.create_index("twinscore_commands_waiting", "twinscore_commands", ["model", "outcome"])
    for statement in _GUARDS[op.get_bind().dialect.name]:
        op.execute(statement)


def downgrade() -> None:
    """Refuse: the ledger would go with the tables.

    Raises:
        StoreConflict: always.
    """
    message = "The tables of rollouts hold the ledger, so no migration removes them. Restore a backup instead."
    raise StoreConflict(message)


# An entry can be added only. Whoever owns the database can take the guard away; the chain shows what was done then.
_GUARDS = {
    "sqlite": [
        f"create trigger twinscore_ledger_{what} before {what} on twinscore_ledger "
        "begin select raise(abort, 'twinscore_ledger can only be added to'); end"
        for what in ("update", "delete")
    ],
    "postgresql": [
        """create function twinscore_ledger_guard() returns trigger language plpgsql as
        $$ begin raise exception 'twinscore_ledger can only be added to'; end $$""",
        """create trigger twinscore_ledger_guard before update or delete or truncate on twinscore_ledger
        for each statement execute function twinscore_ledger_guard()""",
    ],
}
