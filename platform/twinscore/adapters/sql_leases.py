"""Leases in a database: one holder at a time, by the database's clock, with an epoch that only rises.

Nothing here is trusted to be on time. A holder that was stopped past its lease finds its epoch behind when it writes;
and a clock that went backwards ends a lease rather than prolonging it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from twinscore.adapters.rollout_tables import LEASES
from twinscore.adapters.sql_control import ensured
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.ports.rollout_store import Lease

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["SqlLeases", "check"]

_NOBODY = ""


class SqlLeases:
    """The leases of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def take(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease that is free; a holder that takes again, as after a restart, leaves its earlier self behind."""
        if holder == _NOBODY or seconds <= 0:
            message = f"A lease needs a holder and a time above 0 s, got {holder!r} and {seconds}."
            raise SettingsInvalid(message, lease=name)
        with self._database.writing() as connection:
            row = ensured(connection, LEASES, name, {"holder": _NOBODY, "epoch": 0, "renewed_at": 0.0, "until": 0.0})
            now = self._database.now_s(connection)
            held = row.holder not in (_NOBODY, holder) and row.renewed_at <= now < row.until
            if held:
                return None
            epoch = row.epoch + 1
            connection.execute(
                update(LEASES)
                .where(LEASES.c.name == name)
                .values(holder=holder, epoch=epoch, renewed_at=now, until=now + seconds)
            )
        return Lease(name, holder, epoch, datetime.fromtimestamp(now + seconds, UTC))

    def keep(self, lease: Lease, seconds: float) -> Lease | None:
        """Return the lease with a later end, None when it was taken by somebody else since."""
        with self._database.writing() as connection:
            now = self._database.now_s(connection)
            done = connection.execute(update(LEASES).where(_is(lease)).values(renewed_at=now, until=now + seconds))
        kept = Lease(lease.name, lease.holder, lease.epoch, datetime.fromtimestamp(now + seconds, UTC))
        return kept if done.rowcount else None

    def give_back(self, lease: Lease) -> None:
        """End a lease; its epoch stays, so that the next one is higher."""
        with self._database.writing() as connection:
            connection.execute(update(LEASES).where(_is(lease)).values(holder=_NOBODY, until=0.0))


def check(connection: Connection, lease: Lease) -> None:
    """Hold the lease as it is until the transaction ends.

    Raises:
        StoreConflict: somebody else holds it now; the field `stale` is `lease`.
    """
    row = connection.execute(select(LEASES).where(LEASES.c.name == lease.name).with_for_update()).one_or_none()
    if row is None or row.epoch != lease.epoch or row.holder != lease.holder:
        now = "nobody" if row is None or not row.holder else f"{row.holder} with epoch {row.epoch}"
        message = (
            f"The lease {lease.name} is held by {now}, so what {lease.holder} decided under epoch {lease.epoch} is not "
            "kept."
        )
        raise StoreConflict(message, stale="lease", lease=lease.name, sent=lease.epoch)


def _is(lease: Lease) -> ColumnElement[bool]:
    same: ColumnElement[bool] = (
        (LEASES.c.name == lease.name) & (LEASES.c.holder == lease.holder) & (LEASES.c.epoch == lease.epoch)
    )
    return same
