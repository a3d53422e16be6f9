"""What is known of each version under comparison: counts that add up over replicas and time; knows no statistics.

Everything here is cumulative and merges by addition, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar, get_args

from twinscore.errors import SchemaMismatch, near
from twinscore.rollout.counts import DIFF_EDGES, LATENCY_EDGES_MS, Histogram, Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
]

Role = Literal["live", "canary", "ab", "shadow"]
_NEVER = datetime.min.replace(tzinfo=UTC)
_Part = TypeVar("_Part", bound="_Counts")


class _Counts(Protocol):
    def merged(self, other: Self, /) -> Self: ...
    def minus(self, earlier: Self, /) -> Self: ...


@dataclass(frozen=True, slots=True)
class Labelled:
    """What outcomes said of a version's answers."""

    n: int = 0
    loss: Moments = field(default_factory=Moments)
    """Of one answer."""
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By `column=value`: answers, and how many of them had the deciding class."""

    def merged(self, other: Labelled) -> Labelled:
        """Add other outcomes."""
        return self._with(other, 1)

    def minus(self, earlier: Labelled) -> Labelled:
        """Take earlier outcomes away."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return {"n": self.n, "loss": self.loss.to_json(), "groups": {name: list(v) for name, v in self.groups.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Labelled:
        """Read what `to_json` returned."""
        groups = {name: (int(n), int(selected)) for name, (n, selected) in document["groups"].items()}
        return cls(document["n"], Moments.from_json(document["loss"]), groups)

    def _with(self, other: Labelled, sign: int) -> Labelled:
        groups = dict(self.groups)
        for name, (n, selected) in other.groups.items():
            mine = groups.get(name, (0, 0))
            groups[name] = (mine[0] + sign * n, mine[1] + sign * selected)
        loss = self.loss.merged(other.loss) if sign > 0 else self.loss.minus(other.loss)
        return Labelled(self.n + sign * other.n, loss, {name: found for name, found in groups.items() if any(found)})


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
    memory_mb: float | None = None
    """Most MiB that one of its processes took beyond what it had when it was ready; None when not known."""
    labelled: Labelled | None = None

    def merged(self, other: ArmEvidence) -> ArmEvidence:
        """Add what is known from elsewhere or later; raises SchemaMismatch when scores are in other bins."""
        return self._with(other, 1)

    def minus(self, earlier: ArmEvidence) -> ArmEvidence:
        """Take away what was known earlier; of memory the highest stays. Raises as `merged`."""
        return self._with(earlier, -1)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return _to_json(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArmEvidence:
        """Read what `to_json` returned.

        Raises:
            SchemaMismatch: it is no such document.
        """
        members = _members(cls, document, _ARM_PARTS)
        if members["role"] not in get_args(Role):
            message = f"The role of evidence must be one of {', '.join(get_args(Role))}, got {members['role']!r}."
            raise SchemaMismatch(message, role=str(members["role"]))
        return cls(**members)

    def _with(self, other: ArmEvidence, sign: int) -> ArmEvidence:
        _same(f"{self.role} {self.version}", f"{other.role} {other.version}")
        labelled = self.labelled
        if other.labelled is not None:
            labelled = _joined(labelled or Labelled(), other.labelled, sign)
        memory = [one for one in (self.memory_mb, other.memory_mb if sign > 0 else None) if one is not None]
        return replace(
            self,
            calls=self.calls + sign * other.calls,
            failed=_added(self.failed, other.failed, sign),
            rows=self.rows + sign * other.rows,
            refused_rows=self.refused_rows + sign * other.refused_rows,
            latency_ms=_joined(self.latency_ms, other.latency_ms, sign),
            answer_ms=_joined(self.answer_ms, other.answer_ms, sign),
            scores=_joined(self.scores, other.scores, sign),
            score=_joined(self.score, other.score, sign),
            decisions=_added(self.decisions, other.decisions, sign),
            review_rows=self.review_rows + sign * other.review_rows,
            width=_joined(self.width, other.width, sign),
            restarts=self.restarts + sign * other.restarts,
            memory_mb=max(memory, default=None),
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
        return _to_json(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PairEvidence:
        """Read what `to_json` returned; raises SchemaMismatch when it is no such document."""
        return cls(**_members(cls, document, _PAIR_PARTS))

    def _with(self, other: PairEvidence, sign: int) -> PairEvidence:
        _same(f"shadow {self.version}", f"shadow {other.version}")
        numbers = ("n", "flips", "flips_up", "flips_down", "failed", "dropped")
        return replace(
            self,
            diff=_joined(self.diff, other.diff, sign),
            signed=_joined(self.signed, other.signed, sign),
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
            arms=_by_name(self.arms, other.arms, _arm_name, 1),
            pairs=_by_name(self.pairs, other.pairs, _pair_name, 1),
            at=max(self.at, other.at),
            replicas=max(self.replicas, other.replicas),
            stale=tuple(sorted({*self.stale, *other.stale})),
        )

    def minus(self, earlier: Evidence) -> Evidence:
        """Return what was added since; time, replicas and memory are those of now. Raises as `merged`."""
        return replace(
            self,
            arms=_by_name(self.arms, earlier.arms, _arm_name, -1),
            pairs=_by_name(self.pairs, earlier.pairs, _pair_name, -1),
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
        """Read what `to_json` returned; raises SchemaMismatch when it is no such document."""
        members = _members(cls, document, {"at": datetime.fromisoformat, "stale": tuple})
        members["arms"] = tuple([ArmEvidence.from_json(arm) for arm in members["arms"]])
        members["pairs"] = tuple([PairEvidence.from_json(pair) for pair in members["pairs"]])
        return cls(**members)


def _arm_name(arm: ArmEvidence) -> tuple[str, ...]:
    return (arm.role, arm.version)


def _pair_name(pair: PairEvidence) -> tuple[str, ...]:
    return (pair.version,)


def _by_name(
    mine: Sequence[_Part], its: Sequence[_Part], name: Callable[[_Part], tuple[str, ...]], sign: int
) -> tuple[_Part, ...]:
    """Join parts of one name; what only the other side has is added, and cannot be taken away."""
    found = {name(part): part for part in mine}
    for part in its:
        known = found.get(name(part))
        if known is not None:
            found[name(part)] = _joined(known, part, sign)
        elif sign > 0:
            found[name(part)] = part
    return tuple([found[one] for one in sorted(found)])


def _joined(mine: _Part, its: _Part, sign: int) -> _Part:
    return mine.merged(its) if sign > 0 else mine.minus(its)


def _added(mine: Mapping[str, int], its: Mapping[str, int], sign: int) -> dict[str, int]:
    found = dict(mine)
    for name, count in its.items():
        found[name] = found.get(name, 0) + sign * count
    return {name: count for name, count in found.items() if count}


def _same(mine: str, its: str) -> None:
    if mine != its:
        message = f"Evidence of {mine} cannot be joined with evidence of {its}."
        raise SchemaMismatch(message)


def _to_json(part: ArmEvidence | PairEvidence) -> dict[str, Any]:
    found = {one.name: getattr(part, one.name) for one in fields(part)}
    return {name: value.to_json() if hasattr(value, "to_json") else value for name, value in found.items()}


def _members(kind: type, document: Mapping[str, Any], parts: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Return the arguments of a value; a member that is unknown, missing or of another form is refused by name."""
    known = {one.name for one in fields(kind)}
    for name in document:
        if name not in known:
            message = f"The evidence has an unknown member {name!r}. {near(name, known)}"
            raise SchemaMismatch(message, member=name)
    found = dict(document)
    for name in sorted(known):
        if name not in found:
            message = f"The evidence lacks {name!r}; it is of another release."
            raise SchemaMismatch(message, member=name)
        if name in parts and found[name] is not None:
            try:
                found[name] = parts[name](found[name])
            except (KeyError, TypeError, ValueError) as error:
                message = f"The evidence has a {name!r} that cannot be read: {error!r}"
                raise SchemaMismatch(message, member=name) from error
    return found


_ARM_PARTS: dict[str, Callable[[Any], Any]] = {
    "failed": dict,
    "latency_ms": Histogram.from_json,
    "answer_ms": Histogram.from_json,
    "scores": Histogram.from_json,
    "score": Moments.from_json,
    "decisions": dict,
    "width": Moments.from_json,
    "labelled": Labelled.from_json,
}
_PAIR_PARTS: dict[str, Callable[[Any], Any]] = {"diff": Histogram.from_json, "signed": Moments.from_json}
