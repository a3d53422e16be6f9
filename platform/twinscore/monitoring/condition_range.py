"""Whether conditions can hold at all, or at once, given what a metric's figures can be; exact, and pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from twinscore.monitoring.condition import Both, Comparison, Either

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.monitoring.metric import Metric

__all__ = ["bounds_of", "possible"]


@dataclass(frozen=True, slots=True)
class _Span:
    """Numbers from one to another; an end that is open does not belong to it."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    @property
    def empty(self) -> bool:
        return self.low > self.high or (self.low == self.high and (self.low_open or self.high_open))

    def above(self, low: float, *, open_: bool) -> _Span:
        """Return what of it is above."""
        if (low, open_) > (self.low, self.low_open):
            return replace(self, low=low, low_open=open_)
        return self

    def below(self, high: float, *, open_: bool) -> _Span:
        """Return what of it is below."""
        if high < self.high or (high == self.high and open_):
            return replace(self, high=high, high_open=open_)
        return self


def bounds_of(metric: Metric) -> tuple[float, float]:
    """Return the lowest and highest figure that a metric can have.

    >>> from twinscore.monitoring.metric import METRICS
    >>> bounds_of(METRICS["fpr_gap"]), bounds_of(METRICS["decision_shift"])
    ((0.0, 1.0), (-1.0, 1.0))
    """
    if metric.unit == "share":
        return (-1.0 if metric.name.endswith("_shift") else 0.0), 1.0
    return (0.0 if metric.unit in ("ms", "s", "rows", "count") else -math.inf), math.inf


def possible(conditions: Sequence[Comparison | Both | Either], metric: Metric) -> bool:
    """Return whether a figure of the metric can be as all the conditions say; low <= value <= high of every figure.

    >>> from twinscore.monitoring.metric import METRICS
    >>> possible([Comparison("low", ">", 0.05), Comparison("value", "<", 0.05)], METRICS["fpr_gap"])
    False
    """
    return any(_feasible(case, metric) for case in _cases(Both(tuple(conditions))))


def _cases(condition: Comparison | Both | Either) -> list[list[Comparison]]:
    """Return the condition as cases, one of which holds, each of comparisons that all hold."""
    if isinstance(condition, Comparison):
        return [[condition]]
    inner = [_cases(part) for part in condition.parts]
    if isinstance(condition, Either):
        return [case for cases in inner for case in cases]
    return [[one for case in chosen for one in case] for chosen in product(*inner)]


def _feasible(comparisons: Sequence[Comparison], metric: Metric) -> bool:
    lowest, highest = bounds_of(metric)
    spans = {name: _Span(lowest, highest) for name in ("low", "value", "high")}
    spans |= {"p_value": _Span(0.0, 1.0), "rows": _Span(0.0, math.inf)}
    for one in comparisons:
        strict = one.operator in (">", "<")
        span = spans[one.term]
        narrow = span.above if one.operator in (">", ">=") else span.below
        spans[one.term] = narrow(one.number, open_=strict)
    # An interval has its figure inside: what bounds one end bounds the others.
    for lower, upper in (("low", "value"), ("value", "high")):
        spans[upper] = spans[upper].above(spans[lower].low, open_=spans[lower].low_open)
    for lower, upper in (("value", "high"), ("low", "value")):
        spans[lower] = spans[lower].below(spans[upper].high, open_=spans[upper].high_open)
    return not any(span.empty for span in spans.values())
