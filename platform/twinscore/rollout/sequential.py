"""Tests that hold at every look, however often one looks; knows nothing of versions, gates or traffic.

Evidence against a claim is the logarithm of an e-value: under the claim it ever exceeds log(1/alpha) with chance alpha
at most, over all looks together (Ville 1939). The alternative is a mixture over all rates by Jeffreys' prior
(Robbins 1970; Krichevsky and Trofimov 1981), and a claim about two rates is held against its likeliest member
(Wasserman, Ramdas and Balakrishnan 2020, "Universal inference"). Counts may be fractions: m outcomes that may all hang
together, divided by m, are a mean in [0, 1], for which everything here holds as for a single outcome.
"""

from __future__ import annotations

import math

__all__ = ["log_above", "log_below", "log_deficit", "log_excess", "mean_interval", "rate_interval", "rate_radius"]

_STEPS = 32
"""Halvings of an interval; a rate is found to 2^-32."""


def log_above(hits: float, n: float, limit: float) -> float:
    """Return the evidence against `the rate is at most limit`; 0 or less when nothing speaks against it.

    >>> round(log_above(30, 100, 0.1), 1), log_above(5, 100, 0.1), log_above(0, 0, 0.1)
    (12.8, 0.0, 0.0)
    """
    return _log_mixture(hits, n) - _log_likelihood(hits, n, limit) if n > 0 and hits > limit * n else 0.0


def log_below(hits: float, n: float, limit: float) -> float:
    """Return the evidence against `the rate is at least limit`."""
    return log_above(n - hits, n, 1.0 - limit)


def log_excess(hits: float, n: float, live_hits: float, live_n: float, *, times: float = 1.0, by: float = 0.0) -> float:
    """Return the evidence against `the rate is at most times the live rate and by more`.

    >>> round(log_excess(10, 50, 2, 1000), 1), log_excess(0, 50, 2, 1000)
    (20.3, 0.0)
    """
    if n <= 0 or live_n <= 0 or hits / n <= times * live_hits / live_n + by:
        return 0.0
    return _log_against(hits, n, live_hits, live_n, times, by)


def log_deficit(
    hits: float, n: float, live_hits: float, live_n: float, *, times: float = 1.0, by: float = 0.0
) -> float:
    """Return the evidence against `the rate is at least times the live rate and by more`."""
    if n <= 0 or live_n <= 0 or hits / n >= times * live_hits / live_n + by:
        return 0.0
    return math.inf if by > 1.0 else _log_against(hits, n, live_hits, live_n, times, by)


def rate_interval(hits: float, n: float, alpha: float) -> tuple[float, float]:
    """Return bounds that hold the rate at all looks at once, but for a chance of alpha.

    >>> [round(bound, 3) for bound in rate_interval(10, 100, 0.05)]
    [0.029, 0.228]
    """
    if n <= 0:
        return 0.0, 1.0
    room = _log_mixture(hits, n) + math.log(alpha)
    return _bound(hits, n, room, 0.0), _bound(hits, n, room, 1.0)


def rate_radius(n: float, alpha: float, *, soon: float = 500.0) -> float:
    """Return how far the mean of values in [0, 1] may be from the truth, at all looks at once but for alpha.

    The normal mixture of Robbins for variance proxy 1/4; tightest at about `soon` values.
    """
    return _radius(n, alpha, soon) / 2 if n > 0 else 1.0


def mean_interval(n: float, mean: float, variance: float, alpha: float, *, soon: float = 500.0) -> tuple[float, float]:
    """Return bounds that hold a mean of unbounded values at all looks at once, but for about alpha.

    An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024): it leans on the central
    limit, so a few hundred values should be there before anybody believes it.
    """
    if n <= 0:
        return -math.inf, math.inf
    radius = math.sqrt(variance) * _radius(n, alpha, soon)
    return mean - radius, mean + radius


def _bound(hits: float, n: float, room: float, outside: float) -> float:
    """Return the rate, on the way from the observed one outwards, at which the likelihood leaves its room."""
    inside = min(1.0, max(0.0, hits / n))
    if _log_likelihood(hits, n, outside) > room:
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        if _log_likelihood(hits, n, middle) > room:
            inside = middle
        else:
            outside = middle
    return outside


def _radius(n: float, alpha: float, soon: float) -> float:
    """Return the boundary of the normal mixture for values of variance 1."""
    wanted = -2.0 * math.log(alpha)
    spread = (wanted + math.log(wanted) + 1.0) / soon  # rho squared: tightest at `soon`
    held = n * spread + 1.0
    return math.sqrt(2.0 * held / (n * n * spread) * (math.log(held) / 2.0 - math.log(alpha)))


def _log_mixture(hits: float, n: float) -> float:
    """Return the log-likelihood of counts under all rates, weighed by Jeffreys' prior."""
    hits = min(max(hits, 0.0), n)
    return math.lgamma(hits + 0.5) + math.lgamma(n - hits + 0.5) - math.lgamma(n + 1.0) - math.log(math.pi)


def _log_likelihood(hits: float, n: float, rate: float) -> float:
    return _times_log(hits, rate) + _times_log(n - hits, 1.0 - rate)


def _times_log(count: float, rate: float) -> float:
    if count <= 0:
        return 0.0
    return count * math.log(rate) if rate > 0 else -math.inf


def _log_against(hits: float, n: float, live_hits: float, live_n: float, times: float, by: float) -> float:
    """Return the evidence against the likeliest pair of rates on the line `rate = times * live + by`.

    The log-likelihood is concave along the line, so its slope is followed to the top by halving.
    """
    rate, live = min(1.0, hits / n), min(1.0, max(0.0, live_hits / live_n))
    most = max(0.0, (1.0 - by) / times) if times > 0 else 1.0
    crossing = min(max((rate - by) / times, 0.0), most, 1.0) if times > 0 else live
    low, high = sorted((min(live, most), crossing))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        line = times * middle + by
        slope = times * _slope(hits, n, line) + _slope(live_hits, live_n, middle)
        if slope > 0:
            low = middle
        else:
            high = middle
    middle = (low + high) / 2
    likeliest = _log_likelihood(hits, n, min(1.0, times * middle + by)) + _log_likelihood(live_hits, live_n, middle)
    return _log_mixture(hits, n) + _log_mixture(live_hits, live_n) - likeliest


def _slope(hits: float, n: float, rate: float) -> float:
    up = hits / rate if rate > 0 else (math.inf if hits > 0 else 0.0)
    down = (n - hits) / (1.0 - rate) if rate < 1 else (math.inf if n > hits else 0.0)
    return up - down
