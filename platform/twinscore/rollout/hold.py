"""Holds: why no automated step may be taken for a model, or for any; a value that knows nothing of where it is kept.

A hold stops going forward and never going back. It ends when it is released or expires; an override lets one model go
on in spite of it, needs a named person, and leaves the hold as it is for every other model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.rollout.ledger import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["EVERY_MODEL", "PLATFORM", "Hold", "Override", "covering", "overridden", "placed", "released"]

EVERY_MODEL = "*"
PLATFORM = "twinscore"
"""The name under which the platform itself acts: it may place and release holds, never override one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A person's decision that a model goes on in spite of a hold."""

    model: str
    """Or `*`, for every model that the hold covers."""
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One reason why automated steps wait."""

    id: str
    scope: str
    """A model, or `*` for every one."""
    reason: str
    owner: str
    """Who answers for it."""
    source: str
    """What placed it: `person`, or the name of an alert or rule."""
    created_at: datetime
    expires: datetime | None = None
    """From then on it stops nothing; None lasts until it is released."""
    released_by: str = ""
    released_at: datetime | None = None
    release_reason: str = ""
    overrides: tuple[Override, ...] = ()

    def state(self, now: datetime) -> Literal["held", "released", "expired"]:
        """Return whether it is in force."""
        if self.released_at is not None:
            return "released"
        return "expired" if self.expires is not None and now >= self.expires else "held"

    def overridden_for(self, model: str) -> Override | None:
        """Return the latest override that lets `model` go on, if there is one."""
        return next((one for one in reversed(self.overrides) if one.model in (model, EVERY_MODEL)), None)

    def to_json(self) -> dict[str, Any]:
        """Return the hold as JSON values; `from_json` reads it back to an equal value."""
        document = asdict(self)
        for name in _MOMENTS:
            document[name] = None if document[name] is None else document[name].isoformat()
        document["overrides"] = [{**asdict(one), "at": one.at.isoformat()} for one in self.overrides]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Hold:
        """Read what `to_json` wrote."""
        members = dict(document)
        for name in _MOMENTS:
            members[name] = None if members[name] is None else datetime.fromisoformat(members[name])
        members["overrides"] = tuple(
            [Override(**{**one, "at": datetime.fromisoformat(one["at"])}) for one in members["overrides"]]
        )
        return cls(**members)


_MOMENTS = ("created_at", "expires", "released_at")


def covering(holds: Iterable[Hold], model: str, now: datetime) -> tuple[Hold, ...]:
    """Return the holds that stop automated steps of a model now, the oldest first."""
    stopping = [
        hold
        for hold in holds
        if hold.scope in (model, EVERY_MODEL) and hold.state(now) == "held" and hold.overridden_for(model) is None
    ]
    return tuple(sorted(stopping, key=lambda hold: (hold.created_at, hold.id)))


def placed(hold: Hold) -> tuple[Hold, Draft]:
    """Return a new hold as it is to be kept, and what the ledger says of it.

    Raises:
        SettingsInvalid: it has no scope, reason or owner, or expires before it begins.
    """
    _need("scope", hold.scope, "the name of a model, or * for every one")
    _need("reason", hold.reason, "why the model must wait")
    _need("owner", hold.owner, "who answers for the hold")
    if hold.expires is not None and hold.expires <= hold.created_at:
        message = f"The hold would expire at {hold.expires.isoformat()}, before it begins; choose a later time."
        raise SettingsInvalid(message, expires=hold.expires.isoformat())
    draft = Draft(
        model=hold.scope, kind="hold_placed", requested_by=hold.owner, decided_by=hold.source, reason=hold.reason,
        evidence={"hold": hold.id, "expires": None if hold.expires is None else hold.expires.isoformat()},
    )  # fmt: skip
    return hold, draft


def released(hold: Hold, *, by: str, reason: str, at: datetime) -> tuple[Hold, Draft]:
    """Return the hold when it is over, and what the ledger says of it.

    Raises:
        SettingsInvalid: no name or no reason is given.
        StoreConflict: it is over already.
    """
    _need("name", by, "who releases the hold")
    _need("reason", reason, "why the hold is over")
    _in_force(hold, at)
    draft = Draft(
        model=hold.scope, kind="hold_released", requested_by=by, decided_by=by, reason=reason,
        evidence={"hold": hold.id, "held_because": hold.reason},
    )  # fmt: skip
    return replace(hold, released_by=by, released_at=at, release_reason=reason), draft


def overridden(hold: Hold, *, model: str, by: str, reason: str, at: datetime) -> tuple[Hold, Draft]:
    """Return the hold that lets one model go on, and what the ledger says of it.

    Raises:
        SettingsInvalid: no person or no reason is named, or the hold does not cover the model.
        StoreConflict: it is over already.
    """
    _need("name", by, "the person who overrides the hold")
    if by.strip().lower() == PLATFORM:
        message = f"Hold {hold.id} can be overridden by a named person only, not by {PLATFORM} itself."
        raise SettingsInvalid(message, hold=hold.id)
    _need("reason", reason, "why the model goes on in spite of the hold")
    _need("model", model, "the model that goes on")
    if hold.scope not in (model, EVERY_MODEL):
        message = f"Hold {hold.id} is on {hold.scope}, so it does not stop {model}; there is nothing to override."
        raise SettingsInvalid(message, hold=hold.id, model=model)
    _in_force(hold, at)
    draft = Draft(
        model=model, kind="hold_overridden", requested_by=by, decided_by=by, reason=reason,
        evidence={"hold": hold.id, "scope": hold.scope, "held_because": hold.reason, "owner": hold.owner},
    )  # fmt: skip
    one = Override(model=model, by=by, reason=reason, at=at)
    return replace(hold, overrides=(*hold.overrides, one)), draft


def _need(what: str, value: str, meaning: str) -> None:
    if not value.strip():
        message = f"The {what} is empty; say {meaning}."
        raise SettingsInvalid(message, member=what)


def _in_force(hold: Hold, at: datetime) -> None:
    state = hold.state(at)
    if state != "held":
        ended = hold.released_at or hold.expires
        who = f" by {hold.released_by}" if hold.released_by else ""
        message = f"Hold {hold.id} is over: it {state if state == 'expired' else 'was released'}{who} at {ended}."
        raise StoreConflict(message, hold=hold.id)
