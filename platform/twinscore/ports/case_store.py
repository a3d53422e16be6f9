"""Where audits by people are kept, with the cases that were drawn for them; knows no database."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["AuditCase", "CaseStore", "HumanAudit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditCase:
    """One answered row that a person shall look at."""

    request_id: str
    row: int
    """Its place in the request."""
    stratum: str
    """What it was drawn from, such as `sex=F, approve`."""
    version: str
    features: Mapping[str, Any]
    """As they are in the audit log: hashed or left out where the contract says so."""
    answer: Mapping[str, Any]
    """Score, decision and what else was answered; not shown while the audit is blind."""

    def to_json(self, *, blind: bool = False) -> dict[str, Any]:
        """Return JSON values; a blind case says nothing of what the model made of it."""
        document = asdict(self)
        if blind:
            del document["answer"], document["stratum"]
        return document


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanAudit:
    """What people are asked to look into, and why."""

    id: str
    incident: str
    model: str
    title: str
    blind: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Window, groups, seed, and of each stratum how many rows it had and how many were drawn."""
    started_at: datetime | None = None
    """By the store's clock, once it is kept."""
    over_at: datetime | None = None
    """When the incident was over; the cases stay."""


class CaseStore(Protocol):
    """Audits by people."""

    def start(self, audit: HumanAudit, cases: Sequence[AuditCase]) -> HumanAudit:
        """Keep an audit with its cases; one with this id that is there is returned as it is."""
        ...

    def find(self, audit_id: str) -> HumanAudit | None:
        """Return an audit, or None."""
        ...

    def finish(self, audit_id: str) -> HumanAudit | None:
        """Note that the incident is over, once; None when there is no such audit."""
        ...

    def audits(self, model: str | None = None) -> tuple[HumanAudit, ...]:
        """Return every audit, the oldest first."""
        ...

    def cases(self, audit_id: str) -> tuple[AuditCase, ...]:
        """Return the cases of an audit, in the order in which they shall be looked at.

        Raises:
            SettingsInvalid: there is no such audit.
        """
        ...
