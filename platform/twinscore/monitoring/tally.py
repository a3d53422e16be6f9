"""Everything that is counted of one window of one version, role, path and segment; mergeable, pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from twinscore.monitoring.attribution_drift import AttributionTally
from twinscore.monitoring.class_tally import ClassTally
from twinscore.monitoring.estimate_tally import EstimateTally
from twinscore.monitoring.group_tally import GroupTally
from twinscore.monitoring.label_delay import DelayTally
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.monitoring.tally_features import FeatureTally
from twinscore.monitoring.tally_runs import RunTally
from twinscore.monitoring.tally_scores import DecisionTally, ScoreTally, UncertaintyTally
from twinscore.monitoring.tally_service import ServiceTally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.block import Block
    from twinscore.monitoring.mergeable import Mergeable, Tally
    from twinscore.monitoring.plan import Plan

__all__ = ["PARTS", "WindowTally"]

PARTS: dict[str, type[Tally]] = {
    "classes": ClassTally, "delays": DelayTally, "estimate": EstimateTally, "groups": GroupTally,
    "outcomes": OutcomeTally,
}  # fmt: skip
"""Further tallies that are made of every block, by the name that they are kept under."""
_KINDS: dict[str, type[Mergeable]] = {**PARTS, "attribution": AttributionTally}
"""All that may be kept; contributions need the bundle, so they are counted where that is at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTally:
    """Counts of some rows and requests."""

    features: FeatureTally = field(default_factory=FeatureTally)
    score: ScoreTally = field(default_factory=ScoreTally)
    decisions: DecisionTally = field(default_factory=DecisionTally)
    uncertainty: UncertaintyTally = field(default_factory=UncertaintyTally)
    service: ServiceTally = field(default_factory=ServiceTally)
    runs: RunTally = field(default_factory=RunTally)
    parts: Mapping[str, Mergeable] = field(default_factory=dict)
    """Further tallies; one that no row was counted in may be absent."""
    notes: frozenset[str] = frozenset()
    """What could not be counted, and why, in words; figures carry it on."""

    @classmethod
    def of(cls, block: Block, plan: Plan) -> Self:
        """Count scored rows; of requests nothing is known here."""
        return cls(
            features=FeatureTally.of(block, plan),
            score=ScoreTally.of(block, plan),
            decisions=DecisionTally.of(block, plan),
            uncertainty=UncertaintyTally.of(block, plan),
            parts={name: kind.of(block, plan) for name, kind in sorted(PARTS.items())},
        )

    @property
    def rows(self) -> int:
        """Rows with a score."""
        return self.uncertainty.rows

    def merge(self, other: Self, /) -> Self:
        """Return the tally of the rows and requests of both.

        Raises:
            SchemaMismatch: they were made with different plans.
        """
        names = sorted({*self.parts, *other.parts})
        return type(self)(
            features=self.features.merge(other.features),
            score=self.score.merge(other.score),
            decisions=self.decisions.merge(other.decisions),
            uncertainty=self.uncertainty.merge(other.uncertainty),
            service=self.service.merge(other.service),
            runs=self.runs.merge(other.runs),
            parts={name: _merged(self.parts.get(name), other.parts.get(name)) for name in names},
            notes=self.notes | other.notes,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {
            "features": self.features.to_json(),
            "score": self.score.to_json(),
            "decisions": self.decisions.to_json(),
            "uncertainty": self.uncertainty.to_json(),
            "service": self.service.to_json(),
            "runs": self.runs.to_json(),
            "parts": {name: part.to_json() for name, part in sorted(self.parts.items())},
            "notes": sorted(self.notes),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], /) -> Self:
        """Return what `to_json` was made from; a part that this twinscore does not know is left out."""
        return cls(
            features=FeatureTally.from_json(plain["features"]),
            score=ScoreTally.from_json(plain["score"]),
            decisions=DecisionTally.from_json(plain["decisions"]),
            uncertainty=UncertaintyTally.from_json(plain["uncertainty"]),
            service=ServiceTally.from_json(plain["service"]),
            runs=RunTally.from_json(plain["runs"]),
            parts={name: _KINDS[name].from_json(part) for name, part in plain["parts"].items() if name in _KINDS},
            notes=frozenset(plain["notes"]),
        )


def _merged(mine: Mergeable | None, other: Mergeable | None) -> Mergeable:
    if mine is None or other is None:
        found = mine if mine is not None else other
        assert found is not None
        return found
    return mine.merge(other)
