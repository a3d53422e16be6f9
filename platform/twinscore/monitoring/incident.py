"""Incidents of a model's rules and what is kept of them between two steps, as values that are JSON; knows no store."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from twinscore.monitoring.judge import Series
from twinscore.monitoring.selector import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.monitoring.order import Action
    from twinscore.monitoring.rule import Rule, Severity
    from twinscore.monitoring.selector import SeriesKey

__all__ = ["AlertState", "Done", "Incident", "IncidentKey", "Phase", "RuleState", "key_in"]

Phase = Literal["open", "clearing", "closed"]
IncidentKey = tuple[str, ...]
"""Values of the rule's `each`, in its order."""


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was asked for and not taken back yet."""

    dry_run: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One breach of a rule from its beginning to its end; what comes back within the cooldown is the same one."""

    id: str
    """The same for everybody who steps through the same figures."""
    key: IncidentKey
    phase: Phase
    count: int
    """The how manieth of its key."""
    severity: Severity
    since: datetime
    """First instant of the oldest window that broke the rule."""
    opened_at: datetime
    raised_at: datetime
    """When it was opened or opened again."""
    closed_at: datetime | None = None
    told_at: datetime
    """When it was last spoken of."""
    told_end: datetime | None = None
    """End of the newest window that was spoken of."""
    members: tuple[SeriesKey, ...] = ()
    """What broke the rule since it was raised, first come first."""
    done: Mapping[Action, Done] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    """How many orders were given, by `action/verb`."""
    says: str = ""
    """What it was at last, for people."""
    dismissed_by: str = ""
    """Who ended it before it had recovered; empty when nobody did."""
    dismissed_because: str = ""
    dismissed_until: datetime | None = None
    """What broke the rule then opens nothing until it has recovered, and at the latest until then."""

    def to_json(self) -> dict[str, Any]:
        """Return the incident as JSON values; `from_json` reads them back to an equal one."""
        document = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _MOMENTS:
            document[name] = None if document[name] is None else document[name].isoformat()
        document["key"] = list(self.key)
        document["members"] = [list(one) for one in self.members]
        document["done"] = {name: [one.dry_run, dict(one.options)] for name, one in self.done.items()}
        document["numbers"] = dict(self.numbers)
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Incident:
        """Read what `to_json` wrote."""
        members = dict(document)
        for name in _MOMENTS:
            text = members.get(name)
            members[name] = None if text is None else datetime.fromisoformat(text)
        members["key"] = tuple(members["key"])
        members["members"] = tuple([tuple(one) for one in members["members"]])
        members["done"] = {name: Done(*one) for name, one in members["done"].items()}
        return cls(**members)


_MOMENTS = ("since", "opened_at", "raised_at", "closed_at", "told_at", "told_end", "dismissed_until")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleState:
    """What is kept of one rule."""

    model: str
    rule: str
    """Its name."""
    shape: str = ""
    """Of the rule that the series were made under, see `Rule.shape`."""
    judgement: str = ""
    """See `Rule.judgement`."""
    generation: int = 0
    """How often everything was begun anew, because the rule looks at other figures or was away."""
    since: datetime | None = None
    """When figures were first looked for."""
    each: tuple[str, ...] = ()
    """The dimensions of the rule whose values have incidents of their own."""
    series: Mapping[SeriesKey, Series] = field(default_factory=dict)
    incidents: Mapping[IncidentKey, Incident] = field(default_factory=dict)
    """The newest of each key, until it is long over."""

    @property
    def open(self) -> tuple[Incident, ...]:
        """The incidents that are not over, the oldest first."""
        going = [one for one in self.incidents.values() if one.phase != "closed"]
        return tuple(sorted(going, key=lambda one: (one.opened_at, one.id)))

    @property
    def dismissed(self) -> tuple[Incident, ...]:
        """The incidents that a person dismissed and of which something still breaks the rule, the oldest first."""
        found = []
        for one in self.incidents.values():
            members = [self.series[key] for key in one.members if key in self.series]
            if one.dismissed_by and any(series.dismissed == one.closed_at for series in members):
                found.append(one)
        return tuple(sorted(found, key=lambda one: (one.opened_at, one.id)))

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_json` reads them back to an equal one."""
        return {
            "model": self.model, "rule": self.rule, "shape": self.shape, "judgement": self.judgement,
            "generation": self.generation, "since": None if self.since is None else self.since.isoformat(),
            "each": list(self.each),
            "series": [[list(key), one.to_json()] for key, one in self.series.items()],
            "incidents": [one.to_json() for one in self.incidents.values()],
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RuleState:
        """Read what `to_json` wrote."""
        members = dict(document)
        members["since"] = None if members["since"] is None else datetime.fromisoformat(members["since"])
        members["each"] = tuple(members.get("each", ()))
        members["series"] = {tuple(key): Series.from_json(one) for key, one in members["series"]}
        incidents = [Incident.from_json(one) for one in members["incidents"]]
        members["incidents"] = {one.key: one for one in incidents}
        return cls(**members)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """What is kept of all rules of a model: one document."""

    model: str
    rules: Mapping[str, RuleState] = field(default_factory=dict)

    @property
    def open(self) -> tuple[tuple[str, Incident], ...]:
        """Every incident that is not over, with its rule's name, the oldest first."""
        return _by_age([(name, one) for name, state in self.rules.items() for one in state.open])

    @property
    def dismissed(self) -> tuple[tuple[str, Incident], ...]:
        """Every incident that a person dismissed and that has not recovered, as `open`."""
        return _by_age([(name, one) for name, state in self.rules.items() for one in state.dismissed])

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values; `from_json` reads them back to an equal one."""
        return {"model": self.model, "rules": [state.to_json() for state in self.rules.values()]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AlertState:
        """Read what `to_json` wrote."""
        states = [RuleState.from_json(one) for one in document["rules"]]
        return cls(model=document["model"], rules={one.rule: one for one in states})


def _by_age(found: Sequence[tuple[str, Incident]]) -> tuple[tuple[str, Incident], ...]:
    return tuple(sorted(found, key=lambda pair: (pair[1].opened_at, pair[1].id)))


def key_in(of: Rule | RuleState, key: SeriesKey) -> IncidentKey:
    """Return the incident that a series belongs to."""
    return tuple([key[DIMENSIONS.index(name)] for name in of.each])
