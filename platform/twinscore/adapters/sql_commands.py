"""Commands to the control in a database: they wait there until a saved state says what became of them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from twinscore.adapters.rollout_tables import COMMANDS
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.ports.rollout_store import WaitingCommand
from twinscore.rollout.ledger import canonical_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Row

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["SqlCommands"]


class SqlCommands:
    """The commands of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def put(self, model: str, document: Mapping[str, Any], *, command_id: str) -> WaitingCommand:
        """Leave a command, once for an id.

        Raises:
            StoreConflict: another command was left with this id.
        """
        text = canonical_json(document)
        earlier = select(COMMANDS).where(COMMANDS.c.id == command_id)
        with self._database.writing() as connection:
            row = connection.execute(earlier).one_or_none()
            if row is None:
                at = self._database.now(connection).isoformat()
                connection.execute(insert(COMMANDS).values(id=command_id, model=model, document=text, put_at=at))
                row = connection.execute(earlier).one()
        if (row.model, row.document) != (model, text):
            message = f"Another command was left with the id {command_id} at {row.put_at}; choose a new id."
            raise StoreConflict(message, command=command_id)
        return _waiting(row)

    def take(self, model: str) -> tuple[WaitingCommand, ...]:
        """Return what waits for a model, in the order of arrival."""
        wanted = select(COMMANDS).where(COMMANDS.c.model == model, COMMANDS.c.outcome.is_(None))
        with self._database.reading() as connection:
            return tuple([_waiting(row) for row in connection.execute(wanted.order_by(COMMANDS.c.number))])

    def outcome(self, command_id: str, *, model: str | None = None) -> str | None:
        """Return what became of a command, None while it waits; with `model` only of that one's."""
        with self._database.reading() as connection:
            row = connection.execute(select(COMMANDS).where(COMMANDS.c.id == command_id)).one_or_none()
        if row is None or model not in (None, row.model):
            message = f"No command was left with the id {command_id!r}{'' if model is None else f' for {model}'}."
            raise SettingsInvalid(message, command=command_id)
        return None if row.outcome is None else str(row.outcome)


def _waiting(row: Row[Any]) -> WaitingCommand:
    return WaitingCommand(row.id, row.model, json.loads(row.document), datetime.fromisoformat(row.put_at))
