"""Documents of state in a table, one per model, each with a revision that rises with every save."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from twinscore.adapters.sql_control import ensured
from twinscore.errors import StoreConflict
from twinscore.ports.rollout_store import Stored

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["StateTable"]


class StateTable:
    """One table of states, with the columns model, revision, document and saved_at.

    Args:
        database: that it is in.
        table: which.
        called: what a state is of, in messages.
    """

    def __init__(self, database: ControlDatabase, table: Table, called: str) -> None:
        self._database = database
        self._table = table
        self._called = called

    def load(self, model: str) -> Stored | None:
        """Return the state of a model, None before the first save."""
        with self._database.reading() as connection:
            row = connection.execute(select(self._table).where(self._table.c.model == model)).one_or_none()
        return None if row is None else Stored(row.revision, json.loads(row.document))

    def models(self) -> tuple[str, ...]:
        """Return every model that has a state."""
        with self._database.reading() as connection:
            return tuple(connection.execute(select(self._table.c.model).order_by(self._table.c.model)).scalars())

    def set(self, connection: Connection, model: str, revision: int, document: str, at: str) -> None:
        """Keep a document in a transaction that has begun.

        Args:
            revision: the one that was loaded; 0 before the first save.

        Raises:
            StoreConflict: another one was kept meanwhile.
        """
        values = {"revision": revision + 1, "document": document, "saved_at": at}
        current = ensured(connection, self._table, model, {**values, "revision": 0}).revision
        if current != revision:
            message = (
                f"The state of {self._called}{model} has revision {current}, not {revision}: somebody else saved it "
                "first. Load it again and decide anew."
            )
            raise StoreConflict(message, stale="revision", model=model, sent=revision, current=current)
        connection.execute(update(self._table).where(self._table.c.model == model).values(**values))
