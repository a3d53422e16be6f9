"""States of rollouts in a database: compared before they are set, under a lease, with everything that goes along."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from twinscore.adapters.rollout_tables import COMMANDS, STATES
from twinscore.adapters.sql_control import ensured
from twinscore.adapters.sql_leases import check
from twinscore.adapters.sql_ledger import append
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.ports.rollout_store import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.ports.rollout_store import Lease
    from twinscore.rollout.ledger import Draft

__all__ = ["SqlRollouts"]


class SqlRollouts:
    """The state documents of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def load(self, model: str) -> Stored | None:
        """Return the state of a model, None before the first save."""
        with self._database.reading() as connection:
            row = connection.execute(select(STATES).where(STATES.c.model == model)).one_or_none()
        return None if row is None else Stored(row.revision, json.loads(row.document))

    def models(self) -> tuple[str, ...]:
        """Return every model that has a state."""
        with self._database.reading() as connection:
            return tuple(connection.execute(select(STATES.c.model).order_by(STATES.c.model)).scalars())

    def save(
        self,
        model: str,
        document: Mapping[str, Any],
        *,
        revision: int,
        lease: Lease | None,
        drafts: Sequence[Draft] = (),
        done: Mapping[str, str] | None = None,
    ) -> Stored:
        """Keep a state, enter drafts and end commands in one transaction."""
        foreign = sorted({draft.model for draft in drafts} - {model})
        if foreign:
            message = f"A state of {model} cannot be saved with ledger entries of {', '.join(foreign)}."
            raise SettingsInvalid(message, model=model)
        # Not refused: a figure that is not a number must not stop a rollout, and comes back as it was.
        kept = json.dumps(document, sort_keys=True, separators=(",", ":"))
        with self._database.writing() as connection:
            if lease is not None:
                check(connection, lease)
            at = self._database.now(connection)
            _set(connection, model, revision, kept, at.isoformat())
            append(connection, drafts, at)
            for command, outcome in (done or {}).items():
                connection.execute(
                    update(COMMANDS)
                    .where(COMMANDS.c.id == command, COMMANDS.c.outcome.is_(None))
                    .values(outcome=outcome, done_at=at.isoformat())
                )
        return Stored(revision + 1, json.loads(kept))


def _set(connection: Connection, model: str, revision: int, document: str, at: str) -> None:
    values = {"revision": revision + 1, "document": document, "saved_at": at}
    current = ensured(connection, STATES, model, {**values, "revision": 0}).revision
    if current != revision:
        message = (
            f"The state of {model} has revision {current}, not {revision}: somebody else saved it first. "
            "Load it again and decide anew."
        )
        raise StoreConflict(message, stale="revision", model=model, sent=revision, current=current)
    connection.execute(update(STATES).where(STATES.c.model == model).values(**values))
