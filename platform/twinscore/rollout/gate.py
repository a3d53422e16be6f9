"""What a candidate is held to: gates over named metrics, and what was found of each; knows nothing of statistics."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

from twinscore.document import read_value
from twinscore.errors import SettingsInvalid, near

__all__ = ["DEFAULT_GATES", "METRICS", "Gate", "GateVerdict", "Metric", "Outcome"]

Outcome = Literal["pass", "fail", "inconclusive"]
Kind = Literal["rate", "quantile", "mean", "distance", "paired", "gap", "gauge", "trend", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure that a gate can hold a candidate to."""

    words: str
    kind: Kind
    unit: str
    of: str
    """What `samples` counts."""
    samples: int
    """The least number of them for a pass, where the gate does not say."""
    burst_s: float = 0.0
    """What disturbs one answer disturbs its neighbours: those within so many seconds count as one."""
    q: float | None = None

    @property
    def limits(self) -> tuple[str, ...]:
        """The limits that mean something for it."""
        if self.kind == "distance":
            return ("worse_by",)
        if self.kind == "paired":
            return ("max",)
        return ("max", "min", "worse_by", "times") if self.kind in ("rate", "mean") else ("max", "worse_by", "times")


_LATENCY: dict[str, Any] = {"kind": "quantile", "unit": "ms", "of": "answers", "burst_s": 1.0}
METRICS: dict[str, Metric] = {
    "error_rate": Metric(
        words="calls that failed", kind="rate", unit="", of="calls", samples=200, burst_s=0.1,
    ),
    "latency_ms_p50": Metric(words="median latency", samples=100, q=0.5, **_LATENCY),
    "latency_ms_p95": Metric(words="95th percentile of latency", samples=100, q=0.95, **_LATENCY),
    "latency_ms_p99": Metric(words="99th percentile of latency", samples=200, q=0.99, **_LATENCY),
    "refusal_rate": Metric(words="rows refused by the contract", kind="rate", unit="", of="rows", samples=200),
    "score_shift": Metric(words="scores moved", kind="distance", unit="", of="rows", samples=200),
    "decision_rate": Metric(words="decisions moved", kind="distance", unit="", of="rows", samples=200),
    "decision_flips": Metric(
        words="decisions changed on the same rows", kind="paired", unit="", of="pairs", samples=200
    ),
    "review_rate": Metric(words="rows that ask for review", kind="rate", unit="", of="rows", samples=200),
    "uncertainty_width": Metric(words="mean width of intervals", kind="mean", unit="", of="rows", samples=200),
    "restarts": Metric(words="replicas restarted", kind="count", unit="", of="arms", samples=1),
    "memory_mb": Metric(words="memory taken since ready", kind="gauge", unit="MB", of="arms", samples=1),
    "memory_mb_per_h": Metric(words="growth of memory", kind="trend", unit="MB/h", of="arms", samples=1),
    "loss": Metric(words="mean loss on labelled rows", kind="mean", unit="", of="labels", samples=200),
    "group_gap": Metric(words="gap of selection between groups", kind="gap", unit="", of="labels", samples=200),
}  # fmt: skip
"""Every metric that a gate may name."""

_SHARES = ("rate", "distance", "paired", "gap")
_NUMBERS = ("max", "min", "worse_by", "times", "burst_s", "alpha_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Limits of one metric; a candidate fails when it is proved to be beyond any of them.

    The limit beside the live version is `times` its figure and `worse_by` more, whichever of the two is given.
    """

    metric: str
    name: str = ""
    """What verdicts call it; empty means like the metric."""
    max: float | None = None
    min: float | None = None
    worse_by: float | None = None
    """More than the live version, in the metric's own unit; of a metric that is a distance from live, the distance."""
    times: float | None = None
    """A multiple of the live version's figure, such as 1.5."""
    samples: int | None = None
    """The least number for a pass; None means the metric's own. A failure may be proved with fewer."""
    burst_s: float | None = None
    """Answers within so many seconds count as one; None means the metric's own."""
    proven: bool = False
    """Pass only when being beyond a limit is ruled out, and not as soon as the figure is within it."""
    when_given: bool = False
    """Decide nothing where neither version has such figures, such as decisions of a model without a threshold."""
    dry_run: bool = False
    """Reported, but decides nothing."""
    alpha_share: float | None = None
    """Of the rollout's permitted false alarms, from 0 to 1; None means an equal part of what the others leave."""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            message = f"The gate has the metric {self.metric!r}, which is unknown. {near(self.metric, METRICS)}"
            raise SettingsInvalid(message, key="metric")
        if not self.name:
            object.__setattr__(self, "name", self.metric)
        for key in _NUMBERS:
            value = getattr(self, key)
            if value is not None and not (math.isfinite(value) and (value >= 0 or key in ("max", "min"))):
                self._refuse(key, "a finite number, not below 0", value)
        limits = self.measure.limits
        given = [key for key in ("max", "min", "worse_by", "times") if getattr(self, key) is not None]
        for key in given:
            if key not in limits:
                self._refuse(key, f"left out: {self.metric} is limited by {' or '.join(limits)}", getattr(self, key))
            if key != "times" and self.measure.kind in _SHARES and getattr(self, key) > 1.0:
                self._refuse(key, "a share from 0 to 1, such as 0.01 for one in a hundred", getattr(self, key))
        if not given:
            self._refuse("limits", f"at least one of {', '.join(limits)}", "none")
        if self.samples is not None and self.samples < 1:
            self._refuse("samples", "at least 1", self.samples)
        if self.alpha_share is not None and not 0 < self.alpha_share < 1:
            self._refuse("alpha_share", "between 0 and 1", self.alpha_share)

    @property
    def measure(self) -> Metric:
        """What it measures."""
        return METRICS[self.metric]

    @property
    def least(self) -> int:
        """The least number of samples for a pass."""
        return self.measure.samples if self.samples is None else self.samples

    @property
    def burst(self) -> float:
        """Seconds within which answers count as one."""
        return self.measure.burst_s if self.burst_s is None else self.burst_s

    @property
    def beside(self) -> bool:
        """Whether it has a limit that depends on the live version."""
        return self.worse_by is not None or self.times is not None

    @property
    def slope(self) -> tuple[float, float]:
        """The limit beside the live version: so many times its figure, and so much more."""
        return (1.0 if self.times is None else self.times, 0.0 if self.worse_by is None else self.worse_by)

    def line(self, live_value: float) -> float:
        """Return what a live figure allows.

        >>> Gate(metric="latency_ms_p95", times=1.5, worse_by=25.0).line(10.0)
        40.0
        """
        times, by = self.slope
        return times * live_value + by if times else by

    @classmethod
    def from_document(cls, document: object, *, source: str = "The policy", within: str = "gates.") -> Gate:
        """Read a gate as people write it: `{metric: latency_ms_p95, times: 1.5, worse_by: 25}`.

        Raises:
            SettingsInvalid: a key or metric is unknown, a value is of the wrong kind, or no limit is given.
        """
        return read_value(cls, document, source=source, within=within)

    def to_json(self) -> dict[str, Any]:
        """Return what was said, without defaults; `from_document` reads it back to an equal value."""
        return {key: value for key, value in asdict(self).items() if value is not None and value is not False}

    def _refuse(self, key: str, expected: str, found: object) -> None:
        message = f"The gate {self.name} has {key}: {found}, which must be {expected}."
        raise SettingsInvalid(message, gate=self.name, key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """What one look found of one gate."""

    gate: str
    outcome: Outcome
    words: str
    """One sentence with the figures, for people."""
    value: float | None = None
    """The candidate's figure."""
    live_value: float | None = None
    low: float | None = None
    """With `high`, where the candidate's true figure is, at all looks at once; None where it is exact."""
    high: float | None = None
    samples: int = 0
    dry_run: bool = False
    """It decides nothing: a dry run, or figures that neither version has."""

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; `from_json` reads them back to an equal value."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: object) -> GateVerdict:
        """Read what `to_json` wrote."""
        members = dict(cast("dict[str, Any]", document))
        return read_value(cls, members, source="The gate verdict")


DEFAULT_GATES: tuple[Gate, ...] = (
    Gate(metric="error_rate", worse_by=0.01),
    Gate(metric="latency_ms_p50", times=1.5, worse_by=20.0),
    Gate(metric="latency_ms_p95", times=1.5, worse_by=25.0),
    Gate(metric="latency_ms_p99", times=2.0, worse_by=50.0),
    Gate(metric="refusal_rate", worse_by=0.02),
    Gate(metric="score_shift", worse_by=0.1),
    Gate(metric="decision_rate", worse_by=0.1, when_given=True),
    Gate(metric="decision_flips", max=0.1, when_given=True),
    Gate(metric="review_rate", worse_by=0.1),
    Gate(metric="restarts", max=2.0),
    Gate(metric="memory_mb", worse_by=256.0, when_given=True),
    Gate(metric="memory_mb_per_h", max=256.0, when_given=True),
)
"""What a policy without gates of its own holds a candidate to."""
