"""Shares, quantiles and distributions of a candidate beside those of the live version, by counting."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from twinscore.rollout.figures import parts_of, share_of
from twinscore.rollout.finding import Finding, any_proved, every_proved
from twinscore.rollout.sequential import log_above, log_below, log_deficit, log_excess, rate_interval, rate_radius

if TYPE_CHECKING:
    from twinscore.rollout.counts import Histogram
    from twinscore.rollout.finding import Sides
    from twinscore.rollout.gate import Gate

__all__ = ["compare_distance", "compare_pairs", "compare_quantile", "compare_rate"]

_ENTITIES_WEIGH = 2.0
"""A design effect from which on more than half of what is not known is which entities there are, and more rows of them
tell little."""


def compare_rate(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Compare how often something happens."""
    return _rates(gate, sides, alpha, share_of(gate.metric, sides.candidate), share_of(gate.metric, sides.live))


def compare_pairs(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Hold the share of rows that both versions scored, and decided differently, against its limit."""
    flips, n = (0, 0) if sides.pair is None else (sides.pair.flips, sides.pair.n)
    return _rates(gate, sides, alpha, (flips, n), None)


def compare_quantile(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Hold the share of answers slower than allowed against the share of live answers slower than the live quantile.

    Limits lie on edges of the histogram, outwards for a failure and inwards for a pass. Which edge stands for the live
    quantile is seen in the data itself, so all edges share alpha.
    """
    q = gate.measure.q
    assert q is not None
    mine = None if sides.candidate is None else sides.candidate.latency_ms
    live = None if sides.live is None else sides.live.latency_ms
    live_n, live_value = (0, None) if live is None else (live.n, live.quantile(q))
    if mine is None or not mine.n:
        return Finding(live_value=live_value, live_samples=live_n)
    m, each = sides.clump(gate, mine.n), alpha / max(1, len(mine.edges))
    n, over, under = mine.n / m, [], []
    if gate.max is not None:
        over.append(log_above(_slower(mine, gate.max, outwards=True) / m, n, 1.0 - q))
        under.append(log_below(_slower(mine, gate.max, outwards=False) / m, n, 1.0 - q))
    if gate.beside and (live is None or live_value is None):
        under.append(0.0)
    elif gate.beside and live is not None and live_value is not None:
        for outwards, found, against in ((True, over, log_excess), (False, under, log_deficit)):
            edge = _edge(live, live_value, outwards=outwards)
            above = _slower(mine, gate.line(edge), outwards=outwards)
            found.append(against(above / m, n, _slower(live, edge, outwards=outwards) / m, live_n / m))
    low, high = _quantile_interval(mine, q, m, each)
    return Finding(
        value=mine.quantile(q), live_value=live_value, low=low, high=high, samples=mine.n, live_samples=live_n,
        beyond=any_proved(over, each), within=every_proved(under, each),
    )  # fmt: skip


def compare_distance(gate: Gate, sides: Sides, alpha: float) -> Finding:
    """Hold the largest difference between shares of rows against its limit, in either direction.

    An arm has a share of the entities, so either side's rows count as so many as its groups of entities say.
    """
    mine, n = parts_of(gate.metric, sides.candidate)
    live, live_n = parts_of(gate.metric, sides.live)
    names = sorted({*mine, *live})
    if not n or not live_n or (gate.metric == "score_shift" and mine.keys() != live.keys()):
        return Finding(samples=n, live_samples=live_n)
    (m, live_m), by = sides.clumps(), gate.line(0.0)
    value, doubt, over, under = 0.0, 0.0, [], []
    for name in names:
        one, other = (mine.get(name, 0) / m, n / m), (live.get(name, 0) / live_m, live_n / live_m)
        share, live_share = one[0] / one[1], other[0] / other[1]
        away = abs(share - live_share)
        if away >= value and m >= _ENTITIES_WEIGH:
            doubt = math.sqrt(share * (1.0 - share) / one[1] + live_share * (1.0 - live_share) / other[1])
        value = max(value, away)
        if away > by:
            over.append(max(log_excess(*one, *other, by=by), log_excess(*other, *one, by=by)))
        elif gate.proven:
            under.append(min(log_deficit(*one, *other, by=by), log_deficit(*other, *one, by=by)))
    each = alpha / (2 * len(names))
    radius = rate_radius(n / m, each) + rate_radius(live_n / live_m, each)
    return Finding(
        value=value, low=max(0.0, value - radius), high=min(1.0, value + radius), samples=n, live_samples=live_n,
        doubt=doubt, beyond=bool(over) and every_proved([max(over)], each),
        within=not over and every_proved(under, each),
    )  # fmt: skip


def _rates(gate: Gate, sides: Sides, alpha: float, mine: tuple[int, int], live: tuple[int, int] | None) -> Finding:
    m = sides.clump(gate, mine[1])
    one, other = (mine[0] / m, mine[1] / m), (0.0, 0.0) if live is None else (live[0] / m, live[1] / m)
    over, under = [], []
    if gate.max is not None:
        over.append(log_above(*one, gate.max))
        under.append(log_below(*one, gate.max))
    if gate.min is not None:
        over.append(log_below(*one, gate.min))
        under.append(log_above(*one, gate.min))
    if gate.beside:
        times, by = gate.slope
        over.append(log_excess(*one, *other, times=times, by=by))
        under.append(log_deficit(*one, *other, times=times, by=by))
    low, high = rate_interval(*one, alpha) if mine[1] else (None, None)
    return Finding(
        value=mine[0] / mine[1] if mine[1] else None, live_value=live[0] / live[1] if live and live[1] else None,
        low=low, high=high, samples=mine[1], live_samples=None if live is None else live[1],
        beyond=any_proved(over, alpha), within=every_proved(under, alpha),
    )  # fmt: skip


def _slower(found: Histogram, limit: float, *, outwards: bool) -> int:
    """Return how many are above the edge next to a limit: outwards at least it, inwards at most it."""
    place = bisect_left(found.edges, limit) if outwards else bisect_right(found.edges, limit) - 1
    return sum(found.counts[place + 1 :])


def _edge(found: Histogram, value: float, *, outwards: bool) -> float:
    place = bisect_left(found.edges, value) if outwards else bisect_right(found.edges, value) - 1
    return found.edges[min(max(place, 0), len(found.edges) - 1)]


def _quantile_interval(found: Histogram, q: float, m: float, alpha: float) -> tuple[float | None, float | None]:
    """Return the edges between which the quantile is; None where it may be anywhere on that side."""
    n, room = found.n / m, math.log(1.0 / alpha)
    slower = [found.n - below for below in accumulate(found.counts[:-1])]
    low = bisect_left(slower, True, key=lambda count: log_above(count / m, n, 1.0 - q) < room)
    high = bisect_left(slower, True, key=lambda count: log_below(count / m, n, 1.0 - q) >= room)
    return found.edges[low - 1] if low else None, found.edges[high] if high < len(slower) else None
