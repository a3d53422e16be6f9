"""The ledger in a database: read for everybody, written inside the transactions of states and holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from twinscore.adapters.rollout_tables import HEADS, LEDGER
from twinscore.adapters.sql_control import ensured
from twinscore.errors import SettingsInvalid
from twinscore.rollout.ledger import EMPTY, Draft, Entry, Head, canonical_json, chained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["SqlLedger", "append"]


class SqlLedger:
    """What was entered into one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def entries(self, model: str, after: int = 0) -> tuple[Entry, ...]:
        """Return the entries of a model with a higher number than `after`, in order."""
        wanted = select(LEDGER).where(LEDGER.c.model == model, LEDGER.c.number > after).order_by(LEDGER.c.number)
        with self._database.reading() as connection:
            return tuple([_entry(row) for row in connection.execute(wanted)])

    def head(self, model: str) -> Head:
        """Return where the chain of a model ends by the store's own note."""
        with self._database.reading() as connection:
            row = connection.execute(select(HEADS).where(HEADS.c.model == model)).one_or_none()
        return EMPTY if row is None else Head(row.number, row.digest)

    def chains(self) -> tuple[str, ...]:
        """Return every model that has entries, by the notes of where chains end and by the entries themselves."""
        with self._database.reading() as connection:
            noted = connection.execute(select(HEADS.c.model)).scalars().all()
            found = connection.execute(select(LEDGER.c.model).distinct()).scalars().all()
        return tuple(sorted({*noted, *found}))


def append(connection: Connection, drafts: Sequence[Draft], at: datetime) -> None:
    """Enter drafts of one model at the end of its chain, which stays locked until the transaction ends."""
    if not drafts:
        return
    model = drafts[0].model
    last = ensured(connection, HEADS, model, {"number": EMPTY.number, "digest": EMPTY.digest})
    entries = chained(drafts, Head(last.number, last.digest), at)
    connection.execute(insert(LEDGER), [_row(entry) for entry in entries])
    head = entries[-1].head
    connection.execute(update(HEADS).where(HEADS.c.model == model).values(number=head.number, digest=head.digest))


def _row(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "at": entry.to_json()["at"], "evidence": canonical_json(entry.evidence)}


def _entry(row: Row[Any]) -> Entry:
    """Return the entry that a row holds; one that holds no entry any more cannot match its digest, whatever it says."""
    said = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name
    try:
        entry = Entry(**{**said, "evidence": json.loads(said["evidence"]), "at": datetime.fromisoformat(said["at"])})
        if _row(entry) == said:
            return entry
    except (ValueError, TypeError, AttributeError, SettingsInvalid):
        pass
    plain = {name: said[name] for name in ("model", "number", "previous", "digest")}
    rest = {name: str(value) for name, value in said.items() if name not in plain}
    return Entry(**plain, kind="unreadable", evidence=rest, at=datetime.fromtimestamp(0, UTC))
