"""Holds in a database; each change is entered into the ledger in the same transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import insert, select, update

from twinscore.adapters.rollout_tables import HOLDS
from twinscore.adapters.sql_ledger import append
from twinscore.errors import SettingsInvalid, near
from twinscore.rollout.hold import Hold, overridden, placed, released
from twinscore.rollout.ledger import canonical_json

if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from sqlalchemy import Connection

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["SqlHolds"]


class SqlHolds:
    """The holds of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def place(
        self, scope: str, *, reason: str, owner: str, source: str, expires: datetime | None = None,
        hold_id: str | None = None,
    ) -> Hold:  # fmt: skip
        """Hold one model, or with `*` every one; once for an id."""
        with self._database.writing() as connection:
            known = None if hold_id is None else _text_of(connection, hold_id)
            if known is not None:
                return Hold.from_json(json.loads(known))
            at = self._database.now(connection)
            hold, draft = placed(
                Hold(
                    id=hold_id or uuid4().hex[:10], scope=scope, reason=reason, owner=owner, source=source,
                    created_at=at, expires=expires,
                )
            )  # fmt: skip
            connection.execute(insert(HOLDS).values(id=hold.id, created_at=at.isoformat(), **_row(hold)))
            append(connection, [draft], at)
        return hold

    def release(self, hold_id: str, *, by: str, reason: str) -> Hold:
        """End a hold."""
        with self._database.writing() as connection:
            hold = _find(connection, hold_id)
            at = self._database.now(connection)
            changed, draft = released(hold, by=by, reason=reason, at=at)
            connection.execute(update(HOLDS).where(HOLDS.c.id == hold_id).values(**_row(changed)))
            append(connection, [draft], at)
        return changed

    def override(self, hold_id: str, *, model: str, by: str, reason: str) -> Hold:
        """Let one model go on in spite of a hold that stays."""
        with self._database.writing() as connection:
            hold = _find(connection, hold_id)
            at = self._database.now(connection)
            changed, draft = overridden(hold, model=model, by=by, reason=reason, at=at)
            connection.execute(update(HOLDS).where(HOLDS.c.id == hold_id).values(**_row(changed)))
            append(connection, [draft], at)
        return changed

    def held(self, *, over: bool = False) -> tuple[Hold, ...]:
        """Return the holds in force, the oldest first; with `over` also those that ended."""
        wanted = select(HOLDS.c.document).order_by(HOLDS.c.created_at, HOLDS.c.id)
        if not over:
            wanted = wanted.where(HOLDS.c.released_at.is_(None))
        with self._database.reading() as connection:
            found = [Hold.from_json(json.loads(text)) for text in connection.execute(wanted).scalars()]
            now = self._database.now(connection)
        return tuple([hold for hold in found if over or hold.state(now) == "held"])


def _find(connection: Connection, hold_id: str) -> Hold:
    text = _text_of(connection, hold_id)
    if text is None:
        known = connection.execute(select(HOLDS.c.id).where(HOLDS.c.released_at.is_(None))).scalars().all()
        message = f"There is no hold {hold_id!r}. {near(hold_id, known)}"
        raise SettingsInvalid(message, hold=hold_id)
    return Hold.from_json(json.loads(text))


def _text_of(connection: Connection, hold_id: str) -> str | None:
    found: str | None = connection.execute(
        select(HOLDS.c.document).where(HOLDS.c.id == hold_id).with_for_update()
    ).scalar()
    return found


def _row(hold: Hold) -> dict[str, Any]:
    return {
        "scope": hold.scope,
        "released_at": None if hold.released_at is None else hold.released_at.isoformat(),
        "document": canonical_json(hold.to_json()),
    }
