"""An alert rule: which figures, what they must not be, for how long, and what is done; a value without contradictions.

Knows nothing of files, see `rule_file`, nor of how figures are judged, see `judge`.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.condition import Condition, Missing, negated, show_condition
from twinscore.monitoring.condition_range import bounds_of, possible
from twinscore.monitoring.metric import Metric, metric_named
from twinscore.monitoring.selector import DIMENSIONS, Dimension, Selectors

if TYPE_CHECKING:
    from twinscore.monitoring.wish import Wish

__all__ = ["MOST_WINDOWS", "Cadence", "Clear", "Rule", "Severity", "Windows"]

Severity = Literal["info", "warning", "critical"]
Cadence = Literal["window", "live"]
"""Figures of whole windows, or those of the last seconds that replicas give."""
MOST_WINDOWS = 100
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,58}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Windows:
    """So many of the last so many windows that say something."""

    enough: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.enough} of {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """When an incident is over: hysteresis, so that a figure at the boundary does not open and close it all day."""

    when: Condition | None = None
    """None is as soon as the rule's own condition does not hold."""
    windows: Windows | None = None
    """None is as many in a row as it took to open."""
    for_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert rule of a model."""

    name: str
    metric: str
    when: Condition
    each: tuple[Dimension, ...]
    """What incidents are apart by; figures that differ elsewhere are members of one incident."""
    do: tuple[Wish, ...] = ()
    """None only shows the incident."""
    select: Selectors = field(default_factory=Selectors)
    cadence: Cadence = "window"
    windows: Windows = Windows()
    for_s: float = 0.0
    """From the end of the first window in which `windows` was met to the end of the last, without a break."""
    clear: Clear = Clear()
    cooldown_s: float = 86_400.0
    """Between two comments; and an incident that comes back within it after its end is the same one."""
    least_rows: int = 0
    """Figures of fewer rows say nothing."""
    severity: Severity = "warning"
    dry_run: bool = False
    """Judge and show, and do nothing."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            self._refuse("name", "be of letters, digits, spaces, dots, - and _, at most 60", self.name)
        metric = metric_named(self.metric)
        self.select.check(metric)
        self._check_each(metric)
        for key, windows in (("windows", self.windows), ("clear.windows", self.clear.windows)):
            if windows is not None and not 1 <= windows.enough <= windows.of <= MOST_WINDOWS:
                self._refuse(key, f"be M of N with 1 <= M <= N <= {MOST_WINDOWS}", str(windows))
        if self.least_rows < 0:
            self._refuse("least_rows", "be 0 or more", self.least_rows)
        self._check_conditions(metric)
        self._check_wishes(metric)

    @property
    def measure(self) -> Metric:
        """The metric."""
        return metric_named(self.metric)

    @property
    def clear_when(self) -> Condition:
        """The condition under which a figure speaks for the end of an incident."""
        if self.clear.when is not None:
            return self.clear.when
        return self.when if isinstance(self.when, Missing) else negated(self.when)

    @property
    def clear_windows(self) -> Windows:
        """How many windows must speak for the end."""
        return self.clear.windows or Windows(self.windows.enough, self.windows.enough)

    @property
    def says(self) -> str:
        """The condition as people read it: metric, condition, how often, how long."""
        often = f", {self.windows} windows" if self.windows.of > 1 else ""
        return f"{self.metric}: {show_condition(self.when, self.measure.unit)}{often}"

    @property
    def shape(self) -> str:
        """Digest of which figures are looked at and what incidents are apart by."""
        missing = isinstance(self.when, Missing)
        said = [self.metric, [getattr(self.select, name) for name in DIMENSIONS], self.each, self.cadence, missing]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def judgement(self) -> str:
        """How figures are judged; what was judged otherwise is judged again."""
        return f"{show_condition(self.when)} | {show_condition(self.clear_when)} | {self.least_rows}"

    def _check_each(self, metric: Metric) -> None:
        if len(set(self.each)) != len(self.each) or not set(self.each) <= set(DIMENSIONS):
            self._refuse("each", f"name some of {', '.join(DIMENSIONS)}, each once", ", ".join(self.each))
        if "subject" in self.each and not metric.subject:
            self._refuse("each", f"leave out subject: {metric.name} is a figure of the model as a whole", "subject")

    def _check_conditions(self, metric: Metric) -> None:
        if isinstance(self.when, Missing):
            unused = {
                "windows": self.windows != Windows(), "for": self.for_s != 0, "clear": self.clear != Clear(),
                "least_rows": self.least_rows != 0,
            }  # fmt: skip
            for key, given in unused.items():
                if given:
                    self._refuse(key, "be left out: `missing for` is about time alone", "one")
            return
        if isinstance(self.clear.when, Missing):
            self._refuse("clear.when", "be about figures: an incident is not over because nothing is known", "missing")
        low, high = bounds_of(metric)
        range_ = f"; {metric.name} goes from {low:g} to {high:g}"
        if not possible([self.when], metric):
            self._refuse("when", f"be able to hold{range_}", show_condition(self.when, metric.unit))
        if not possible([negated(self.when)], metric):
            self._refuse("when", f"be able not to hold{range_}", show_condition(self.when, metric.unit))
        if self.clear.when is None:
            return
        said = show_condition(self.clear.when, metric.unit)
        if not possible([self.clear.when], metric):
            self._refuse("clear.when", f"be able to hold{range_}", said)
        if possible([self.when, self.clear.when], metric):
            self._refuse("clear.when", f"not hold together with `{show_condition(self.when, metric.unit)}`", said)

    def _check_wishes(self, metric: Metric) -> None:
        actions = [wish.action for wish in self.do]
        for at, action in enumerate(actions):
            if action in actions[:at]:
                self._refuse(f"do[{at}]", "ask for each action once", action)
            if action in ("scale", "degrade") and metric.topic != "service":
                expected = f"ask for {action} with a metric of the service only, such as latency_ms_p99"
                self._refuse(f"do[{at}]", expected, metric.name)
            if action == "audit" and metric.topic in ("service", "staleness", "batch"):
                self._refuse(f"do[{at}]", "ask for an audit where there are cases of people to look at", metric.name)

    def _refuse(self, key: str, expected: str, got: object) -> NoReturn:
        message = f"The {key} of the rule {self.name[:60]!r} must {expected}, got {str(got)[:120]!r}."
        raise SettingsInvalid(message, rule=self.name[:60], key=key)
