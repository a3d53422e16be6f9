"""What is known of each version under comparison: counts that add up over replicas and time; knows no statistics.

Everything here is cumulative and merges by addition, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from twinscore.errors import SchemaMismatch
from twinscore.rollout.counts import DIFF_EDGES, LATENCY_EDGES_MS, Histogram, Moments
from twinscore.rollout.entity_groups import EntityGroups
from twinscore.rollout.evidence_parts import added, by_name, join, members_of, part_to_json, same
from twinscore.rollout.labelled import Labelled
from twinscore.rollout.memory_trend import MemoryTrend, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "DIFF_EDGES",
    "LATENCY_EDGES_MS",
    "ArmEvidence",
    "Evidence",
    "Histogram",
    "Labelled",
    "Moments",
    "PairEvidence",
    "Role",
    "lacks_members",
]

Role = Literal["live", "canary", "ab", "shadow"]
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEvidence:
    """One version in one role: what it was asked for, and what came of it."""

    version: str
    role: Role
    calls: int = 0
    """Scoring calls meant for it: it was asked, or would have been had it not been resting or full."""
    failed: dict[str, int] = field(default_factory=dict)
    """Of the calls, those without a usable answer, by reason."""
    rows: int = 0
    """Rows of the calls."""
    refused_rows: int = 0
    """Of the rows answered, those that its contract refused."""
    latency_ms: Histogram = field(default_factory=lambda: Histogram.empty(LATENCY_EDGES_MS))
    """Of scoring alone, where it is done, of one row: alike for the live version and for a challenger."""
    answer_ms: Histogram = field(default_factory=lambda: Histogram.empty(LATENCY_EDGES_MS))
    """Of a challenger's call, from asking to the answer: with the way there and the queue. Nothing for the live one."""
    scores: Histogram
    """In the bins of the profile that comparisons start from."""
    score: Moments = field(default_factory=Moments)
    decisions: dict[str, int] = field(default_factory=dict)
    review_rows: int = 0
    width: Moments = field(default_factory=Moments)
    """Of the uncertainty."""
    restarts: int = 0
    """Processes that ended unasked."""
    groups: EntityGroups = field(default_factory=EntityGroups)
    """Of the rows whose entities are known: those that were asked while a challenger had a share."""
    memory_mb: float | None = None
    """Most MiB that one of its processes took beyond what it had when it was ready; None when not known."""
    memory_trends: tuple[MemoryTrend, ...] = ()
    """How its processes' memory grew, each over its whole life; see `rollout.memory_trend`."""
    labelled: Labelled | None = None

    def merged(self, other: ArmEvidence) -> ArmEvidence:
        """Add what is known from elsewhere or later; raises SchemaMismatch when scores are in other bins."""
        return self._with(other, 1)

    def minus(self, earlier: ArmEvidence) -> ArmEvidence:
        """Take away what was known earlier; of memory the highest and its trends stay. Raises as `merged`."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {**part_to_json(self), "memory_trends": [one.to_json() for one in self.memory_trends]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArmEvidence:
        """Read what `to_json` returned.

        Raises:
            SchemaMismatch: it is no such document.
        """
        members = members_of(cls, document, _ARM_PARTS)
        if members["role"] not in get_args(Role):
            message = f"The role of evidence must be one of {', '.join(get_args(Role))}, got {members['role']!r}."
            raise SchemaMismatch(message, role=str(members["role"]))
        return cls(**members)

    def _with(self, other: ArmEvidence, sign: int) -> ArmEvidence:
        same(f"{self.role} {self.version}", f"{other.role} {other.version}")
        labelled = self.labelled
        if other.labelled is not None:
            labelled = join(labelled or Labelled(), other.labelled, sign)
        memory = [one for one in (self.memory_mb, other.memory_mb if sign > 0 else None) if one is not None]
        return replace(
            self,
            calls=self.calls + sign * other.calls,
            failed=added(self.failed, other.failed, sign),
            rows=self.rows + sign * other.rows,
            refused_rows=self.refused_rows + sign * other.refused_rows,
            latency_ms=join(self.latency_ms, other.latency_ms, sign),
            answer_ms=join(self.answer_ms, other.answer_ms, sign),
            scores=join(self.scores, other.scores, sign),
            score=join(self.score, other.score, sign),
            decisions=added(self.decisions, other.decisions, sign),
            review_rows=self.review_rows + sign * other.review_rows,
            width=join(self.width, other.width, sign),
            restarts=self.restarts + sign * other.restarts,
            groups=join(self.groups, other.groups, sign),
            memory_mb=max(memory, default=None),
            memory_trends=joined(self.memory_trends, other.memory_trends if sign > 0 else ()),
            labelled=labelled,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEvidence:
    """A shadow and the live version on the same rows."""

    version: str
    n: int = 0
    """Rows that both scored."""
    flips: int = 0
    """Of them, those with another decision."""
    flips_up: int = 0
    """Of the flips, those that the shadow scored higher."""
    flips_down: int = 0
    diff: Histogram = field(default_factory=lambda: Histogram.empty(DIFF_EDGES))
    """Of absolute differences of scores."""
    signed: Moments = field(default_factory=Moments)
    """Of shadow minus live."""
    failed: int = 0
    """Rows that were sent, and not answered in time or not as they should be."""
    dropped: int = 0
    """Rows that found the queue full; a sample smaller than wanted, not a fault of the version."""

    def merged(self, other: PairEvidence) -> PairEvidence:
        """Add what is known from elsewhere or later."""
        return self._with(other, 1)

    def minus(self, earlier: PairEvidence) -> PairEvidence:
        """Take away what was known earlier."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return part_to_json(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PairEvidence:
        """Read what `to_json` returned; raises SchemaMismatch when it is no such document."""
        return cls(**members_of(cls, document, _PAIR_PARTS))

    def _with(self, other: PairEvidence, sign: int) -> PairEvidence:
        same(f"shadow {self.version}", f"shadow {other.version}")
        numbers = ("n", "flips", "flips_up", "flips_down", "failed", "dropped")
        return replace(
            self,
            diff=join(self.diff, other.diff, sign),
            signed=join(self.signed, other.signed, sign),
            **{name: getattr(self, name) + sign * getattr(other, name) for name in numbers},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known at one moment of the versions of a model."""

    arms: tuple[ArmEvidence, ...] = ()
    """Each version and role at most once."""
    pairs: tuple[PairEvidence, ...] = ()
    at: datetime = _NEVER
    """Of the newest count."""
    replicas: int = 0
    """Of the gateway, that told."""
    stale: tuple[str, ...] = ()
    """Replicas that did not answer."""

    def arm(self, version: str, role: Role) -> ArmEvidence | None:
        """Return what is known of a version in a role, or None."""
        return next((arm for arm in self.arms if (arm.version, arm.role) == (version, role)), None)

    def pair(self, version: str) -> PairEvidence | None:
        """Return what is known of a shadow beside the live version, or None."""
        return next((pair for pair in self.pairs if pair.version == version), None)

    def merged(self, other: Evidence) -> Evidence:
        """Add what is known from elsewhere or later.

        Raises:
            SchemaMismatch: scores of one arm are in different bins.
        """
        return Evidence(
            arms=by_name(self.arms, other.arms, _arm_name, 1),
            pairs=by_name(self.pairs, other.pairs, _pair_name, 1),
            at=max(self.at, other.at),
            replicas=max(self.replicas, other.replicas),
            stale=tuple(sorted({*self.stale, *other.stale})),
        )

    def minus(self, earlier: Evidence) -> Evidence:
        """Return what was added since; time, replicas and memory are those of now. Raises as `merged`."""
        return replace(
            self,
            arms=by_name(self.arms, earlier.arms, _arm_name, -1),
            pairs=by_name(self.pairs, earlier.pairs, _pair_name, -1),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {
            "arms": [arm.to_json() for arm in self.arms],
            "pairs": [pair.to_json() for pair in self.pairs],
            "at": self.at.isoformat(),
            "replicas": self.replicas,
            "stale": list(self.stale),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Evidence:
        """Read what `to_json` returned; raises SchemaMismatch when it is no such document.

        It may be an earlier build's, kept over an upgrade: what that did not count yet is read as nothing.
        """
        members = members_of(cls, document, {"at": datetime.fromisoformat, "stale": tuple})
        members["arms"] = tuple([ArmEvidence.from_json({**_LATER, **arm}) for arm in members["arms"]])
        members["pairs"] = tuple([PairEvidence.from_json(pair) for pair in members["pairs"]])
        return cls(**members)


def lacks_members(document: Mapping[str, Any]) -> bool:
    """Tell whether kept evidence is of a build that did not count all that is counted now."""
    return any(not _LATER.keys() <= arm.keys() for arm in document["arms"])


def _arm_name(arm: ArmEvidence) -> tuple[str, ...]:
    return (arm.role, arm.version)


def _pair_name(pair: PairEvidence) -> tuple[str, ...]:
    return (pair.version,)


_ARM_PARTS: dict[str, Callable[[Any], Any]] = {
    "failed": dict,
    "latency_ms": Histogram.from_json,
    "answer_ms": Histogram.from_json,
    "scores": Histogram.from_json,
    "score": Moments.from_json,
    "decisions": dict,
    "width": Moments.from_json,
    "groups": EntityGroups.from_json,
    "memory_trends": lambda found: tuple([MemoryTrend.from_json(one) for one in found]),
    "labelled": Labelled.from_json,
}
_LATER: Mapping[str, Any] = {"groups": EntityGroups().to_json(), "memory_trends": []}
"""Members that an arm was given after evidence was first kept, with nothing counted."""
_PAIR_PARTS: dict[str, Callable[[Any], Any]] = {"diff": Histogram.from_json, "signed": Moments.from_json}
