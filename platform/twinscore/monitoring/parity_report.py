"""What a check of both paths found, as values, as JSON and as figures; compares nothing itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from twinscore.monitoring.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["CheckedPart", "FirstDifference", "JoinedFeature", "ParityFindings"]

Direction = Literal["online", "batch"]
"""Which path's rows were given to the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstDifference:
    """The first row that differs, and why, as far as one can tell."""

    row: str
    """The request and the row in it, or the key."""
    column: str
    """`verdict`, `score` or another column of a scored row."""
    batch: Any
    online: Any
    feature: str = ""
    """The first feature, or column, that the two paths did not see alike; empty where they saw the same."""
    cause: str = ""
    """For people: what the feature was on either side, or what would explain the scores."""

    @property
    def words(self) -> str:
        """Everything in one line."""
        said = f"{self.row}: {self.column} is {self.batch!r} in batch, {self.online!r} online"
        return f"{said}; {self.cause}" if self.cause else said


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPart:
    """Rows of one direction, version and role."""

    direction: Direction
    version: str
    role: str
    checked: int
    """Rows that both paths scored or refused."""
    differing: int
    verdicts: int
    """Rows among them that one path scored and the other refused."""
    ulps: int
    """Largest difference of a score, in units of the last place."""
    columns: Mapping[str, int] = field(default_factory=dict)
    """Differing rows by column, those without any left out."""
    first: FirstDifference | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Rows that were not compared, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedFeature:
    """One feature that batch computes and requests are filled with, beside the table that it comes from."""

    feature: str
    direction: Direction
    checked: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Rows that differ: `value`, `stale`, `null`, `not_found`, `too_old`, `not_in_table`."""
    behind_s: float | None = None
    """How much older the value online was than the table's, at most; None where no times are known."""
    first: str = ""
    """The first of them, for people."""

    @property
    def differing(self) -> int:
        """Rows that differ in value, or whose value is too old to be used."""
        return sum(self.kinds.values())

    def plus(self, other: JoinedFeature) -> JoinedFeature:
        """Return what was found in the rows of both."""
        late = [one for one in (self.behind_s, other.behind_s) if one is not None]
        return replace(
            self, checked=self.checked + other.checked, kinds=dict(Counter(self.kinds) + Counter(other.kinds)),
            behind_s=max(late, default=None), first=self.first or other.first,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityFindings:
    """A check of both paths of one model."""

    model: str
    start: datetime
    """First instant of the answers and runs that were looked at."""
    end: datetime
    parts: Sequence[CheckedPart] = ()
    features: Sequence[JoinedFeature] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What could not be looked at at all, by reason: runs, damaged segments."""

    @property
    def checked(self) -> int:
        """Rows that both paths scored or refused."""
        return sum(part.checked for part in self.parts)

    @property
    def differing(self) -> int:
        """Rows that differ; features that were joined are counted by themselves."""
        return sum(part.differing for part in self.parts)

    @property
    def equal(self) -> bool:
        """Whether nothing differs, joined features included."""
        return not self.differing and not any(one.differing for one in self.features)

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "model": self.model,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "checked": self.checked,
            "differing": self.differing,
            "equal": self.equal,
            "parts": [asdict(part) for part in self.parts],
            "features": [{**asdict(one), "differing": one.differing} for one in self.features],
            "left_out": dict(self.left_out),
        }

    def figures(self) -> list[Figure]:
        """Return the figures of the topic `parity`; without a checked row there is none to be had, and a note why."""
        found: list[Figure] = []
        for part in self.parts:
            about: dict[str, Any] = {
                "model": self.model, "version": part.version, "role": part.role, "path": part.direction,
                "start": self.start, "end": self.end, "rows": part.checked,
            }  # fmt: skip
            why = "; ".join(f"{reason}: {rows} rows" for reason, rows in part.left_out.items())
            note = part.first.words if part.first is not None else why
            counts = {
                "parity_checked": part.checked,
                "parity_differing": part.differing if part.checked else None,
                "parity_bits": part.ulps if part.checked else None,
            }
            for metric, value in counts.items():
                said = why if metric == "parity_checked" else note
                number = None if value is None else float(value)
                found.append(Figure(**about, metric=metric, value=number, note=said))
        found += [
            Figure(
                model=self.model, version="", role="batch" if one.direction == "batch" else "live",
                path=one.direction, start=self.start, end=self.end, metric="parity_feature_differing",
                subject=one.feature, value=float(one.differing) if one.checked else None, rows=one.checked,
                note=one.first,
            )
            for one in self.features
        ]  # fmt: skip
        return found
