"""Requests, errors and times of a window as figures; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.monitoring.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.monitoring.durations import Durations
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.tally_service import ServiceTally

__all__ = ["service"]

_QUANTILES = {"latency_ms_p50": 0.5, "latency_ms_p95": 0.95, "latency_ms_p99": 0.99}


def service(tally: ServiceTally, figure: Callable[..., Figure]) -> list[Figure]:
    """Return how the requests of one window were answered; nothing without requests.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
    """
    if not tally.requests:
        return []
    found = [figure(metric="requests", value=float(tally.requests), rows=tally.requests)]
    found += [_quantile(figure, name, tally.latency, share) for name, share in _QUANTILES.items()]
    found.append(_share(figure, "error_rate", tally.failed, tally.requests))
    found.append(_share(figure, "shed_rate", tally.shed, tally.requests))
    found.append(_share(figure, "refusal_rate", tally.refused, tally.rows))
    found.append(_share(figure, "cached_share", tally.cached, tally.answered))
    found.append(_share(figure, "degraded_share", tally.degraded, tally.answered))
    return found


def _share(figure: Callable[..., Figure], metric: str, hits: int, rows: int) -> Figure:
    if not rows:
        return figure(metric=metric, value=None, note="no row was read")
    low, high = wilson(hits, rows)
    return figure(metric=metric, value=hits / rows, low=low, high=high, rows=rows)


def _quantile(figure: Callable[..., Figure], metric: str, latency: Durations, share: float) -> Figure:
    if not latency.n:
        return figure(metric=metric, value=None, note="every request was shed")
    low, value, high = (None if one is None else one / 1000.0 for one in latency.interval(share))
    return figure(metric=metric, value=value, low=low, high=high, rows=latency.n)
