"""The newest figures of watched models as Prometheus' text, bounded in series; pure.

    twinscore_watch_psi{model="loans",version="3",role="live",path="online",segment="",subject="income"} 0.31
    twinscore_watch_psi_low{...} 0.27        where there is an interval, `_low` and `_high` beside it
    twinscore_watch_rows{...} 5120           rows of the newest window; without `subject`
    twinscore_watch_window_end_seconds{model,path,role}    when the newest window ended
    twinscore_watch_incidents_open{model,severity}         only where incidents are known
    twinscore_watch_left_out{model}                        series that are not shown, because there are too many

A figure keeps its last value until the next window that has one, as far back as what is given. A version, role or
segment that has no figures in the newest windows of its path any more is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.monitoring.metric import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from prometheus_client.metrics_core import Metric as Family

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.shown import ShownIncident

__all__ = ["LABELS", "MOST_SERIES", "MOST_SUBJECTS", "PREFIX", "exposed_names", "exposition", "newest_figures"]

PREFIX = "twinscore_watch_"
LABELS = ("model", "version", "role", "path", "segment", "subject")
MOST_SUBJECTS = 50
"""Features, groups or decisions of one metric and scope that are shown: the worst."""
MOST_SERIES = 5_000
"""Series of one model that are shown; segments are left out first."""
_STILL_WINDOWS = 2
"""A scope is shown until its path has gone on without it for so many windows."""
_LONGEST = 200
_SEVERITIES = ("critical", "warning", "info")


def exposition(
    figures: Mapping[str, Sequence[Figure]], incidents: Mapping[str, Sequence[ShownIncident]] | None = None
) -> str:
    """Return the text.

    Args:
        figures: of closed windows by model, in any order; the newest of each series counts.
        incidents: by model; None when they are not known here.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_families(figures, incidents))))
    return generate_latest(registry).decode()


def newest_figures(figures: Iterable[Figure]) -> list[Figure]:
    """Return of each metric, subject and series the figure of the newest window, whether it could be told or not."""
    newest: dict[tuple[str, ...], Figure] = {}
    for one in figures:
        series = (one.metric, *(str(getattr(one, name)) for name in LABELS))
        known = newest.get(series)
        if known is None or one.start > known.start:
            newest[series] = one
    return [newest[series] for series in sorted(newest)]


def exposed_names() -> set[str]:
    """Return every name that the text may have."""
    known = {f"{PREFIX}{name}{end}" for name in METRICS for end in ("", "_low", "_high")}
    return known | {f"{PREFIX}{name}" for name in ("rows", "window_end_seconds", "incidents_open", "left_out")}


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Collected:
    families: Sequence[Family]

    def collect(self) -> Iterator[Family]:
        """Yield every family; the registry of `prometheus_client` calls this."""
        return iter(self.families)


def _families(
    figures: Mapping[str, Sequence[Figure]], incidents: Mapping[str, Sequence[ShownIncident]] | None
) -> Iterator[Family]:
    from prometheus_client.core import GaugeMetricFamily

    made: dict[str, Family] = {}

    def put(name: str, says: str, labels: Sequence[str], values: Sequence[str], figure: float) -> None:
        if name not in made:
            made[name] = GaugeMetricFamily(f"{PREFIX}{name}", says, labels=labels)
        made[name].add_metric([one[:_LONGEST] for one in values], figure)  # type: ignore[attr-defined]

    for model, known in sorted(figures.items()):
        ends, rows = _newest_windows(known)
        for (path, role), end in sorted(ends.items()):
            put("window_end_seconds", "When the newest window ended.", ("model", "path", "role"), (model, path, role),
                end.timestamp())  # fmt: skip
        for (path, role, segment, version), many in sorted(rows.items()):
            put("rows", "Rows of the newest window.", LABELS[:-1], (model, version, role, path, segment), many)
        shown, left_out = _shown(known, set(rows))
        put("left_out", "Series that are not shown, because there are too many.", ("model",), (model,), left_out)
        for one in shown:
            labels = (model, one.version, one.role, one.path, one.segment, one.subject)
            for end_, figure in (("", one.value), ("_low", one.low), ("_high", one.high)):
                if figure is not None:
                    says = METRICS[one.metric].says + {"": ".", "_low": ": lower end.", "_high": ": upper end."}[end_]
                    put(f"{one.metric}{end_}", says.capitalize(), LABELS, labels, figure)
    for model, opened in sorted((incidents or {}).items()):
        for severity in _SEVERITIES:
            many = sum(one.state == "open" and one.severity == severity for one in opened)
            put("incidents_open", "Incidents that are not over.", ("model", "severity"), (model, severity), many)
    yield from made.values()


def _newest_windows(
    figures: Sequence[Figure],
) -> tuple[dict[tuple[str, str], datetime], dict[tuple[str, str, str, str], int]]:
    """Return when the newest window of each path and role ended, and the rows of each scope that still has figures."""
    by_path: dict[str, Figure] = {}
    ends: dict[tuple[str, str], datetime] = {}
    newest: dict[tuple[str, str, str], datetime] = {}
    for one in figures:
        if one.path not in by_path or one.end > by_path[one.path].end:
            by_path[one.path] = one
        ends[one.path, one.role] = max(ends.get((one.path, one.role), one.end), one.end)
        scope = one.path, one.role, one.segment
        newest[scope] = max(newest.get(scope, one.end), one.end)
    rows: dict[tuple[str, str, str, str], int] = {}
    for one in figures:
        last, key = by_path[one.path], (one.path, one.role, one.segment, one.version)
        still = last.end - one.end < _STILL_WINDOWS * (last.end - last.start)
        if still and one.end == newest[one.path, one.role, one.segment]:
            rows[key] = max(rows.get(key, 0), one.rows)
    alive = {(path, role) for path, role, _, _ in rows}
    return {key: end for key, end in ends.items() if key in alive}, rows


def _shown(figures: Iterable[Figure], scopes: set[tuple[str, str, str, str]]) -> tuple[list[Figure], int]:
    """Return the newest figure of each series that is shown, and how many series are not."""
    newest: dict[tuple[str, ...], Figure] = {}
    for one in figures:
        if one.value is None or one.metric not in METRICS:
            continue
        if (one.path, one.role, one.segment, one.version) not in scopes:
            continue
        series = (one.segment, one.path, one.role, one.version, one.metric, one.subject)
        if series not in newest or one.end > newest[series].end:
            newest[series] = one
    by_metric: dict[tuple[str, ...], list[Figure]] = {}
    for key in sorted(newest):
        by_metric.setdefault(key[:-1], []).append(newest[key])
    shown = [one for _, kept in sorted(by_metric.items()) for one in sorted(kept, key=_bad)[:MOST_SUBJECTS]]
    return shown[:MOST_SERIES], len(newest) - len(shown[:MOST_SERIES])


def _bad(one: Figure) -> tuple[float, str]:
    """Return what puts the worst figure first."""
    value = one.value or 0.0
    worse = METRICS[one.metric].worse
    return (value if worse == "lower" else -value if worse == "higher" else -abs(value)), one.subject
