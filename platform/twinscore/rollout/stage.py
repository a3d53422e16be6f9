"""One stage of a promotion: what of the traffic it gets, for how long, what must be shown, who must say yes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from twinscore.errors import SettingsInvalid
from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.plan import show_share

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Stage", "StageKind", "as_seconds", "show_seconds"]

StageKind = Literal["shadow", "canary", "approve", "bake"]
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage; the one that follows begins only when this one has shown all that it must."""

    kind: StageKind
    """`shadow` is mirrored, `canary` answers a share, `approve` waits for a person, `bake` is full traffic, watched."""
    name: str
    share: int = 0
    """Of the entities, in 1/10,000; of a canary."""
    sampling: int = 0
    """Of the entities that are mirrored, in 1/10,000; of a shadow."""
    requests: int = 0
    """That the candidate must have been asked since the stage began."""
    at_least_s: float = 0.0
    """Since the candidate was up in this stage."""
    at_most_s: float = 86_400.0
    """Since the stage began, not counting the time in which it was held, frozen or paused."""
    on_deadline: Literal["roll_back", "pause"] = "roll_back"
    gates: tuple[str, ...] = ()
    """Names of the gates that decide here; none means all."""
    approvers: tuple[str, ...] = ()
    """Who may approve; none means anybody who may operate the model."""

    def __post_init__(self) -> None:
        for what, value, needed in (("share", self.share, "canary"), ("sampling", self.sampling, "shadow")):
            if (self.kind == needed) != (0 < value <= BUCKETS):
                expected = f"{what} above 0% and at most 100%" if self.kind == needed else f"no {what}"
                _refuse(what, f"have {expected}, being of kind {self.kind}", show_share(value))
        if self.kind == "canary" and self.share == BUCKETS:
            _refuse("share", "be a bake, when it is all of the traffic", "100%")
        if self.kind == "approve" and (self.requests or self.at_least_s or self.gates):
            _refuse(
                "approve", "wait for people only; requests, at_least and gates belong to the stage before", self.name
            )
        if self.kind != "approve" and self.approvers:
            _refuse("approvers", "be of kind approve to have approvers", self.kind)
        if self.kind != "approve" and self.requests < 1:
            _refuse("requests", "ask for at least one request: silence never passes", self.requests)
        if self.at_least_s < 0 or self.at_most_s <= self.at_least_s:
            _refuse("at_most", f"last longer than at_least, {show_seconds(self.at_least_s)}", self.at_most_s)

    @property
    def title(self) -> str:
        """What people call it: its name, with the share."""
        return f"{self.name} {show_share(self.share)}" if self.kind == "canary" and self.name == "canary" else self.name

    def to_json(self) -> dict[str, Any]:
        """Return the stage as JSON values; `from_json` reads it back to an equal value."""
        return {**asdict(self), "gates": list(self.gates), "approvers": list(self.approvers)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Stage:
        """Read what `to_json` wrote."""
        return cls(**{**document, "gates": tuple(document["gates"]), "approvers": tuple(document["approvers"])})


def as_seconds(text: object) -> float:
    """Return a duration in seconds.

    Raises:
        SettingsInvalid: it is no number with one of the units ms, s, m, h and d.

    >>> as_seconds("90s"), as_seconds("1.5 h"), as_seconds("250ms")
    (90.0, 5400.0, 0.25)
    """
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        message = f"A duration must be a number with a unit (ms, s, m, h or d), such as 90s or 2h, got {text!r}."
        raise SettingsInvalid(message)
    return round(float(found[1]) * _UNITS[found[2]], 3)


def show_seconds(seconds: float) -> str:
    """Return a duration as people write it, in the largest unit that keeps it whole.

    >>> show_seconds(5400), show_seconds(90), show_seconds(86400), show_seconds(0.25)
    ('90m', '90s', '1d', '250ms')
    """
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS[unit] and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{round(seconds)}s" if seconds >= 60 else f"{round(seconds * 1_000)}ms"


def _refuse(what: str, expected: str, got: object) -> NoReturn:
    message = f"A stage must {expected}; got {str(got)[:80]!r}."
    raise SettingsInvalid(message, key=what)
