"""Means, gaps between groups, trends and known figures of a candidate beside those of the live version."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.rollout.figures import figure_of, groups_of, moments_of, trends_of
from twinscore.rollout.finding import Finding
from twinscore.rollout.memory_trend import slope_bounds
from twinscore.rollout.sequential import mean_interval, rate_interval

if TYPE_CHECKING:
    from twinscore.rollout.evidence import ArmEvidence
    from twinscore.rollout.finding import Sides
    from twinscore.rollout.gate import Gate

__all__ = ["compare_figure", "compare_gap", "compare_mean", "compare_trend"]

_LEAST = 100
"""Values on either side before anything is said of a mean: its bounds lean on the central limit."""
_Bounded = tuple[float | None, float, float, int]
"""A figure, the bounds of its truth, and how many samples it has."""


def compare_mean(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Compare the means of values."""
    return _held(gate, *[_mean(gate, sides, arm, alpha / 2) for arm in (sides.candidate, sides.live)])


def compare_gap(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Compare how differently the groups of a column are selected, where they differ most."""
    return _held(gate, *[_gap(arm, alpha / 2) for arm in (sides.candidate, sides.live)])


def compare_trend(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Compare how fast memory grows in the process where it grows fastest; processes share alpha."""
    if gate.beside:
        return _held(gate, *[_trend(arm, alpha / 2) for arm in (sides.candidate, sides.live)])
    return replace(_held(gate, _trend(sides.candidate, alpha), _trend(None, alpha)), live_samples=None)


def compare_figure(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Compare figures that are known and not sampled; alpha is not used, for nothing is left to chance."""
    del alpha
    return _held(gate, *[_known(figure_of(gate.metric, arm)) for arm in (sides.candidate, sides.live)], exact=True)


def _held(gate: Gate, mine: _Bounded, live: _Bounded, *, exact: bool = False) -> Finding:
    """Hold bounds against limits: beyond when all that is possible is beyond, within when all of it is within."""
    value, low, high, samples = mine
    live_value, live_low, live_high, live_samples = live
    beyond, within = [], [samples > 0]
    if gate.max is not None:
        beyond.append(low > gate.max)
        within.append(high <= gate.max)
    if gate.min is not None:
        beyond.append(high < gate.min)
        within.append(low >= gate.min)
    if gate.beside:
        beyond.append(low > gate.line(live_high))
        within.append(high <= gate.line(live_low))
    bounds = [bound if math.isfinite(bound) and samples and not exact else None for bound in (low, high)]
    return Finding(
        value=value, live_value=live_value, low=bounds[0], high=bounds[1], samples=samples,
        live_samples=live_samples, beyond=any(beyond), within=all(within),
    )  # fmt: skip


def _mean(gate: Gate, sides: Sides, arm: ArmEvidence | None, alpha: float) -> _Bounded:
    found = moments_of(gate.metric, arm)
    mean, variance = found.mean, found.variance
    if mean is None or variance is None or found.n < _LEAST or not math.isfinite(mean + variance):
        return mean, -math.inf, math.inf, found.n
    return mean, *mean_interval(found.n / sides.clump(gate, found.n), mean, variance, alpha), found.n


def _gap(arm: ArmEvidence | None, alpha: float) -> _Bounded:
    columns = groups_of(arm)
    if not columns:
        return None, 0.0, 1.0, 0
    each = alpha / sum(map(len, columns))
    value = low = high = 0.0
    for groups in columns:
        rates = [selected / n for selected, n in groups]
        lows, highs = zip(*[rate_interval(selected, n, each) for selected, n in groups], strict=True)
        value = max(value, max(rates) - min(rates))
        low = max(low, max(lows) - min(highs))
        high = max(high, max(highs) - min(lows))
    return value, low, high, min(sum(n for _, n in groups) for groups in columns)


def _trend(arm: ArmEvidence | None, alpha: float) -> _Bounded:
    trends = trends_of(arm)
    found = [slope_bounds(one, alpha / len(trends)) for one in trends]
    values = [value for value, _, _ in found if value is not None]
    if not values:
        return None, -math.inf, math.inf, 0
    return max(values), max(low for _, low, _ in found), max(high for _, _, high in found), len(values)


def _known(figure: float | None) -> _Bounded:
    if figure is None or math.isnan(figure):
        return figure, -math.inf, math.inf, 0
    return figure, figure, figure, 1
