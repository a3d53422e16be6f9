"""The newest figures as Prometheus reads them; pure.

    twinscore_watch_psi{model="loans",version="3",role="live",path="online",segment="",subject="income"} 0.12

Of each series the newest window is told; `twinscore_watch_window_end_seconds` says when that ended. A figure that could
not be told is left out, so that an alert on its absence is possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.monitoring.metric import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client.core import GaugeMetricFamily

    from twinscore.monitoring.figure import Figure

__all__ = ["PREFIX", "exposition", "newest_figures"]

PREFIX = "twinscore_watch_"
_LABELS = ("model", "version", "role", "path", "segment", "subject")
_WHERE = _LABELS[:-1]


def newest_figures(figures: Iterable[Figure]) -> list[Figure]:
    """Return of each metric, subject and series the figure of the newest window."""
    newest: dict[tuple[str, ...], Figure] = {}
    for one in figures:
        series = (one.metric, *(str(getattr(one, name)) for name in _LABELS))
        known = newest.get(series)
        if known is None or one.start > known.start:
            newest[series] = one
    return [newest[series] for series in sorted(newest)]


def exposition(figures: Iterable[Figure]) -> str:
    """Return figures in the text format of Prometheus, the newest of each series."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(newest_figures(figures)))
    return generate_latest(registry).decode()


class _Figures:
    """What a registry asks for metrics."""

    def __init__(self, figures: list[Figure]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a family for each metric that has a figure, and the windows' ends."""
        from prometheus_client.core import GaugeMetricFamily

        families: dict[str, GaugeMetricFamily] = {}
        ends: dict[tuple[str, ...], float] = {}
        for one in self._figures:
            where = tuple(str(getattr(one, name)) for name in _WHERE)
            ends[where] = max(ends.get(where, 0.0), one.end.timestamp())
            if one.value is None or one.metric not in METRICS:
                continue
            if one.metric not in families:
                families[one.metric] = GaugeMetricFamily(
                    f"{PREFIX}{one.metric}", METRICS[one.metric].says, labels=_LABELS
                )
            families[one.metric].add_metric([*where, one.subject], one.value)
        yield from families.values()
        last = GaugeMetricFamily(
            f"{PREFIX}window_end_seconds", "when the newest window ended, Unix time", labels=_WHERE
        )
        for where, end in ends.items():
            last.add_metric(where, end)
        yield last
