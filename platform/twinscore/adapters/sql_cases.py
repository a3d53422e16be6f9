"""Audits by people and their cases in a database."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from twinscore.adapters.alert_tables import AUDITS, CASES
from twinscore.adapters.sql_control import inserting
from twinscore.errors import SettingsInvalid, near
from twinscore.ports.case_store import AuditCase, HumanAudit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Row

    from twinscore.adapters.sql_control import ControlDatabase

__all__ = ["SqlCases"]


class SqlCases:
    """The audits of one database."""

    def __init__(self, database: ControlDatabase) -> None:
        self._database = database

    def start(self, audit: HumanAudit, cases: Sequence[AuditCase]) -> HumanAudit:
        """Keep an audit with its cases, once for an id."""
        with self._database.writing() as connection:
            at = self._database.now(connection).isoformat()
            made = connection.execute(
                inserting(connection, AUDITS)
                .values(
                    id=audit.id, incident=audit.incident, model=audit.model, title=audit.title, blind=audit.blind,
                    started_at=at, document=_json(audit.facts),
                )
                .on_conflict_do_nothing()
                .returning(AUDITS.c.id)
            ).scalar()  # fmt: skip
            if made is not None and cases:
                connection.execute(insert(CASES), [_case(audit.id, number, one) for number, one in enumerate(cases, 1)])
            return _audit(_row(connection, audit.id))

    def find(self, audit_id: str) -> HumanAudit | None:
        """Return an audit, or None."""
        with self._database.reading() as connection:
            row = connection.execute(select(AUDITS).where(AUDITS.c.id == audit_id)).one_or_none()
        return None if row is None else _audit(row)

    def finish(self, audit_id: str) -> HumanAudit | None:
        """Note that the incident is over, once."""
        with self._database.writing() as connection:
            at = self._database.now(connection).isoformat()
            this = (AUDITS.c.id == audit_id) & AUDITS.c.over_at.is_(None)
            connection.execute(update(AUDITS).where(this).values(over_at=at))
            row = connection.execute(select(AUDITS).where(AUDITS.c.id == audit_id)).one_or_none()
        return None if row is None else _audit(row)

    def audits(self, model: str | None = None) -> tuple[HumanAudit, ...]:
        """Return every audit, the oldest first."""
        wanted = select(AUDITS).order_by(AUDITS.c.started_at, AUDITS.c.id)
        wanted = wanted if model is None else wanted.where(AUDITS.c.model == model)
        with self._database.reading() as connection:
            return tuple([_audit(row) for row in connection.execute(wanted)])

    def cases(self, audit_id: str) -> tuple[AuditCase, ...]:
        """Return the cases of an audit, in the order in which they shall be looked at."""
        with self._database.reading() as connection:
            _row(connection, audit_id)
            wanted = select(CASES).where(CASES.c.audit == audit_id).order_by(CASES.c.number)
            return tuple(
                [
                    AuditCase(
                        request_id=row.request_id, row=row.row, stratum=row.stratum, **json.loads(row.document)
                    )
                    for row in connection.execute(wanted)
                ]
            )  # fmt: skip


def _row(connection: Connection, audit_id: str) -> Row[Any]:
    row = connection.execute(select(AUDITS).where(AUDITS.c.id == audit_id)).one_or_none()
    if row is None:
        known = connection.execute(select(AUDITS.c.id)).scalars().all()
        message = f"There is no audit {audit_id!r}. {near(audit_id, known)}"
        raise SettingsInvalid(message, audit=audit_id)
    return row


def _audit(row: Row[Any]) -> HumanAudit:
    return HumanAudit(
        id=row.id, incident=row.incident, model=row.model, title=row.title, blind=bool(row.blind),
        facts=json.loads(row.document), started_at=datetime.fromisoformat(row.started_at),
        over_at=None if row.over_at is None else datetime.fromisoformat(row.over_at),
    )  # fmt: skip


def _case(audit: str, number: int, one: AuditCase) -> dict[str, Any]:
    document = _json({"version": one.version, "features": one.features, "answer": one.answer})
    return {
        "audit": audit, "number": number, "request_id": one.request_id, "row": one.row, "stratum": one.stratum,
        "document": document,
    }  # fmt: skip


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
