"""States of alert rules in a database, each saved with the orders and entries that it led to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from twinscore.adapters.alert_tables import ALERT_PARTS, ALERTS
from twinscore.adapters.sql_leases import check
from twinscore.adapters.sql_ledger import append
from twinscore.adapters.sql_orders import put
from twinscore.adapters.sql_states import StateTable
from twinscore.errors import SettingsInvalid
from twinscore.ports.rollout_store import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.monitoring.order import Order
    from twinscore.ports.rollout_store import Lease
    from twinscore.rollout.ledger import Draft

__all__ = ["SqlAlerts"]


class SqlAlerts(StateTable):
    """The rule states of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        super().__init__(database, ALERTS, "the rules of ")

    def parts(self, model: str) -> dict[str, Any]:
        """Return the parts of a model's state by name."""
        with self._database.reading() as connection:
            wanted = select(ALERT_PARTS.c.part, ALERT_PARTS.c.document).where(ALERT_PARTS.c.model == model)
            rows = connection.execute(wanted).all()
        return {row.part: json.loads(row.document) for row in rows}

    def save(
        self,
        model: str,
        document: Mapping[str, Any],
        *,
        revision: int,
        lease: Lease | None,
        orders: Sequence[Order] = (),
        drafts: Sequence[Draft] = (),
        parts: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> Stored:
        """Keep a state and its parts, put its orders and enter drafts in one transaction."""
        foreign = sorted(({order.model for order in orders} | {draft.model for draft in drafts}) - {model})
        if foreign:
            message = f"A state of the rules of {model} cannot be saved with orders or entries of {', '.join(foreign)}."
            raise SettingsInvalid(message, model=model)
        # Not refused: a figure that is not a number must not stop an alert, and comes back as it was.
        kept = _text(document)
        changed = {name: None if part is None else _text(part) for name, part in (parts or {}).items()}
        with self._database.writing() as connection:
            if lease is not None:
                check(connection, lease)
            now_s = self._database.now_s(connection)
            at = self._database.now(connection)
            self.set(connection, model, revision, kept, at.isoformat())
            _replace(connection, model, changed)
            put(connection, orders, at, now_s)
            append(connection, drafts, at)
        return Stored(revision + 1, json.loads(kept))


def _replace(connection: Connection, model: str, parts: Mapping[str, str | None]) -> None:
    """Replace parts by their texts, or remove them."""
    if not parts:
        return
    # Nobody else writes a model's parts meanwhile: its document was changed before, in this transaction.
    mine = (ALERT_PARTS.c.model == model) & ALERT_PARTS.c.part.in_(list(parts))
    connection.execute(delete(ALERT_PARTS).where(mine))
    rows = [{"model": model, "part": name, "document": text} for name, text in parts.items() if text is not None]
    if rows:
        connection.execute(insert(ALERT_PARTS), rows)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
