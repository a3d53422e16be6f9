"""Tickets in the control store's own database: one for an incident, one note for an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from twinscore.adapters.alert_tables import NOTES, TICKETS
from twinscore.adapters.sql_control import inserting
from twinscore.ports.ticket_store import Ticket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Row

    from twinscore.adapters.sql_control import ControlDatabase
    from twinscore.ports.ticket_store import Message

__all__ = ["SqlTickets"]


class SqlTickets:
    """The tickets of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def open(self, message: Message) -> Ticket:
        """Return the ticket of an incident: the one that is there, else a new one."""
        with self._database.writing() as connection:
            at = self._database.now(connection).isoformat()
            connection.execute(
                inserting(connection, TICKETS)
                .values(
                    incident=message.incident, model=message.model, severity=message.severity, title=message.title,
                    body=message.body, opened_at=at,
                )
                .on_conflict_do_nothing()
            )  # fmt: skip
            row = _row(connection, message)
            assert row is not None
            if message.reopened:
                self._note(connection, row.number, message)
                connection.execute(update(TICKETS).where(TICKETS.c.number == row.number).values(closed_at=None))
        return Ticket(str(row.number))

    def comment(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say something on the incident's ticket."""
        del ticket  # the incident names it
        with self._database.writing() as connection:
            row = _row(connection, message)
            if row is not None:
                self._note(connection, row.number, message)
        return None if row is None else Ticket(str(row.number))

    def close(self, ticket: Ticket | None, message: Message) -> Ticket | None:
        """Say why, and close the incident's ticket."""
        del ticket
        with self._database.writing() as connection:
            row = _row(connection, message)
            if row is not None:
                self._note(connection, row.number, message)
                at = self._database.now(connection).isoformat()
                this = (TICKETS.c.number == row.number) & TICKETS.c.closed_at.is_(None)
                connection.execute(update(TICKETS).where(this).values(closed_at=at))
        return None if row is None else Ticket(str(row.number))

    def tickets(self, model: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """Return every ticket with its notes, the oldest first."""
        wanted = select(TICKETS).order_by(TICKETS.c.number)
        wanted = wanted if model is None else wanted.where(TICKETS.c.model == model)
        with self._database.reading() as connection:
            notes: dict[int, list[dict[str, Any]]] = {}
            for note in connection.execute(select(NOTES).order_by(NOTES.c.at, NOTES.c.order_id)):
                notes.setdefault(note.ticket, []).append({"at": note.at, "order": note.order_id, "body": note.body})
            return tuple(
                [{**row._mapping, "notes": notes.get(row.number, [])} for row in connection.execute(wanted)]  # noqa: SLF001 - SQLAlchemy's documented name
            )

    def _note(self, connection: Connection, ticket: int, message: Message) -> None:
        at = self._database.now(connection).isoformat()
        values = {"order_id": message.id, "ticket": ticket, "at": at, "body": message.body}
        connection.execute(inserting(connection, NOTES).values(**values).on_conflict_do_nothing())


def _row(connection: Connection, message: Message) -> Row[Any] | None:
    this = select(TICKETS).where(TICKETS.c.incident == message.incident)
    return connection.execute(this.with_for_update()).one_or_none()
