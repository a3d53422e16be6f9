"""States of alert rules in a database, each saved with the orders and entries that it led to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twinscore.adapters.alert_tables import ALERTS
from twinscore.adapters.sql_leases import check
from twinscore.adapters.sql_ledger import append
from twinscore.adapters.sql_orders import put
from twinscore.adapters.sql_states import StateTable
from twinscore.errors import SettingsInvalid
from twinscore.ports.rollout_store import Stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.monitoring.order import Order
    from twinscore.ports.rollout_store import Lease
    from twinscore.rollout.ledger import Draft

__all__ = ["SqlAlerts"]


class SqlAlerts(StateTable):
    """The rule states of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        super().__init__(database, ALERTS, "the rules of ")

    def save(
        self,
        model: str,
        document: Mapping[str, Any],
        *,
        revision: int,
        lease: Lease | None,
        orders: Sequence[Order] = (),
        drafts: Sequence[Draft] = (),
    ) -> Stored:
        """Keep a state, put its orders and enter drafts in one transaction."""
        foreign = sorted(({order.model for order in orders} | {draft.model for draft in drafts}) - {model})
        if foreign:
            message = f"A state of the rules of {model} cannot be saved with orders or entries of {', '.join(foreign)}."
            raise SettingsInvalid(message, model=model)
        # Not refused: a figure that is not a number must not stop an alert, and comes back as it was.
        kept = json.dumps(document, sort_keys=True, separators=(",", ":"))
        with self._database.writing() as connection:
            if lease is not None:
                check(connection, lease)
            now_s = self._database.now_s(connection)
            at = self._database.now(connection)
            self.set(connection, model, revision, kept, at.isoformat())
            put(connection, orders, at, now_s)
            append(connection, drafts, at)
        return Stored(revision + 1, json.loads(kept))
