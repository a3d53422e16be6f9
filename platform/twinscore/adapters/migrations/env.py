"""What Alembic runs a migration with: the connection that the store hands over, inside the store's transaction."""

from __future__ import annotations

from alembic import context

from twinscore.adapters.rollout_tables import METADATA, VERSION_TABLE

__all__ = ["run"]


def run() -> None:
    """Bring the tables of the connection up to date."""
    context.configure(
        connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
    )
    with context.begin_transaction():
        context.run_migrations()


run()
