"""Orders of alerts in a database: put with a state, taken by one at a time, ended with what the ledger says of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import exists, select, update

from twinscore.adapters.alert_tables import ORDERS
from twinscore.adapters.sql_control import inserting
from twinscore.adapters.sql_leases import check
from twinscore.adapters.sql_ledger import append
from twinscore.errors import SettingsInvalid, near
from twinscore.monitoring.order import Order
from twinscore.ports.alert_store import KeptOrder, OrderState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Row

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.ports.rollout_store import Lease
    from twinscore.rollout.ledger import Draft

__all__ = ["GIVE_UP_S", "SqlOrders", "put"]

GIVE_UP_S = 3 * 24 * 3600.0
"""An order that could not be carried out for so long is given up, for a person to look at."""


class SqlOrders:
    """The orders of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def take(
        self, lease: Lease | None, *, actions: Collection[str], seconds: float, limit: int,
        busy: Collection[tuple[str, str]] = (),
    ) -> tuple[KeptOrder, ...]:  # fmt: skip
        """Take orders that are due, at most one for a model and action."""
        earlier = ORDERS.alias()
        overtaken = exists().where(
            earlier.c.state == "waiting", earlier.c.incident == ORDERS.c.incident,
            earlier.c.action == ORDERS.c.action, earlier.c.number < ORDERS.c.number,
        )  # fmt: skip
        taken: dict[tuple[str, str], Row[Any]] = {}
        with self._database.writing() as connection:
            if lease is not None:
                check(connection, lease)
            now_s = self._database.now_s(connection)
            due = select(ORDERS).where(
                ORDERS.c.state == "waiting", ORDERS.c.action.in_(sorted(actions)), ORDERS.c.next_try <= now_s,
                ORDERS.c.taken_until <= now_s, ~overtaken,
            )  # fmt: skip
            for row in connection.execute(due.order_by(ORDERS.c.next_try, ORDERS.c.number)):
                lane = (row.model, row.action)
                if len(taken) < limit and lane not in taken and lane not in busy:
                    taken[lane] = row
            numbers = [row.number for row in taken.values()]
            connection.execute(
                update(ORDERS)
                .where(ORDERS.c.number.in_(numbers))
                .values(attempts=ORDERS.c.attempts + 1, taken_until=now_s + seconds)
            )
            found = select(ORDERS).where(ORDERS.c.number.in_(numbers)).order_by(ORDERS.c.number)
            return tuple([_kept(row) for row in connection.execute(found)])

    def remember(self, taken: KeptOrder, progress: Mapping[str, Any]) -> bool:
        """Keep what part of an order is done."""
        with self._database.writing() as connection:
            done = connection.execute(update(ORDERS).where(_is(taken)).values(progress=_json(progress)))
        return bool(done.rowcount)

    def done(self, taken: KeptOrder, result: Mapping[str, Any], drafts: Sequence[Draft] = ()) -> bool:
        """End an order and enter drafts in one transaction."""
        with self._database.writing() as connection:
            at = self._database.now(connection)
            done = connection.execute(
                update(ORDERS)
                .where(_is(taken))
                .values(state="done", result=_json(result), trouble="", ended_at=at.isoformat())
            )
            if done.rowcount:
                append(connection, drafts, at)
        return bool(done.rowcount)

    def later(self, taken: KeptOrder, trouble: str, after_s: float, drafts: Sequence[Draft] = ()) -> OrderState:
        """Let an order wait, or give it up."""
        with self._database.writing() as connection:
            now_s = self._database.now_s(connection)
            at = self._database.now(connection)
            since = connection.execute(select(ORDERS.c.since).where(_is(taken)).with_for_update()).scalar()
            if since is None:
                return "waiting"  # somebody else has it now
            gone = now_s + after_s - since > GIVE_UP_S
            values: dict[str, Any] = {"trouble": trouble[:2000], "taken_until": 0.0}
            values |= {"state": "failed", "ended_at": at.isoformat()} if gone else {"next_try": now_s + after_s}
            connection.execute(update(ORDERS).where(_is(taken)).values(**values))
            if gone:
                append(connection, drafts, at)
        return "failed" if gone else "waiting"

    def again(self, order_id: str) -> KeptOrder:
        """Let an order that waits or was given up be tried at once."""
        with self._database.writing() as connection:
            one = select(ORDERS).where(ORDERS.c.id == order_id)
            row = connection.execute(one.with_for_update()).one_or_none()
            if row is None or row.state == "done":
                open_ = connection.execute(select(ORDERS.c.id).where(ORDERS.c.state != "done")).scalars().all()
                said = f"There is no order {order_id!r}." if row is None else f"The order {order_id} was carried out."
                message = f"{said} {near(order_id, open_)}"
                raise SettingsInvalid(message, order=order_id)
            now_s = self._database.now_s(connection)
            values = {"state": "waiting", "since": now_s, "next_try": now_s, "ended_at": None}
            connection.execute(update(ORDERS).where(ORDERS.c.id == order_id).values(**values))
            return _kept(connection.execute(one).one())

    def orders(
        self, model: str | None = None, *, incident: str | None = None, states: Collection[OrderState] = (),
        limit: int = 1000,
    ) -> tuple[KeptOrder, ...]:  # fmt: skip
        """Return the newest orders, the oldest of them first."""
        wanted = select(ORDERS).order_by(ORDERS.c.number.desc()).limit(limit)
        wanted = wanted if model is None else wanted.where(ORDERS.c.model == model)
        wanted = wanted if incident is None else wanted.where(ORDERS.c.incident == incident)
        wanted = wanted.where(ORDERS.c.state.in_(sorted(states))) if states else wanted
        with self._database.reading() as connection:
            return tuple([_kept(row) for row in connection.execute(wanted)][::-1])


def put(connection: Connection, orders: Sequence[Order], at: datetime, now_s: float) -> None:
    """Put orders; one whose id is there is left as it is."""
    for order in orders:
        connection.execute(
            inserting(connection, ORDERS)
            .values(
                id=order.id, incident=order.incident, model=order.model, action=order.action,
                document=_json(asdict(order)), put_at=at.isoformat(), since=now_s, state="waiting", attempts=0,
                next_try=now_s, taken_until=0.0, progress="{}", result="{}", trouble="",
            )
            .on_conflict_do_nothing()
        )  # fmt: skip


def _is(taken: KeptOrder) -> ColumnElement[bool]:
    """Return whether a row is still the order as it was taken."""
    same: ColumnElement[bool] = (
        (ORDERS.c.id == taken.order.id) & (ORDERS.c.attempts == taken.attempts) & (ORDERS.c.state == "waiting")
    )
    return same


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _kept(row: Row[Any]) -> KeptOrder:
    return KeptOrder(
        order=Order(**json.loads(row.document)),
        state=row.state,
        attempts=row.attempts,
        put_at=datetime.fromisoformat(row.put_at),
        next_try=datetime.fromtimestamp(row.next_try, UTC),
        progress=json.loads(row.progress),
        result=json.loads(row.result),
        trouble=row.trouble,
        ended_at=None if row.ended_at is None else datetime.fromisoformat(row.ended_at),
    )
