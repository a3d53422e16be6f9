"""The report of a watched model as JSON values: figures by window, incidents, distributions, a headline; pure.

    report = report_of("loans", figures, incidents=incidents, now=now)

A scope is who answered (`path`, `role`) and which rows (`segment`); in each scope the figures of one metric and subject
are one series, as long as the scope has windows, with None where there is no figure. When two versions answered in one
window, the one with more rows is shown.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.report_words import headline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.shown import Distribution, ShownIncident

__all__ = ["FORMAT", "report_of"]

FORMAT = 1
"""Of the document; raised when a reader of an older one would misread it."""
_SEVERITIES = {"critical": 0, "warning": 1, "info": 2}


def report_of(
    model: str,
    figures: Iterable[Figure],
    *,
    now: datetime,
    distributions: Iterable[Distribution] = (),
    incidents: Iterable[ShownIncident] = (),
    limits: Mapping[str, float] | None = None,
    most_windows: int = 120,
) -> dict[str, Any]:
    """Return the report of a model.

    Args:
        model: whose figures they are; those of others are left out.
        figures: of closed windows, in any order.
        now: of the report, UTC.
        distributions: of the newest windows.
        incidents: open and closed ones.
        limits: by metric, what rules hold it against or what was promised.
        most_windows: how many windows of a scope are kept, the newest.
    """
    by_scope: dict[tuple[str, str, str], list[Figure]] = {}
    for one in figures:
        if one.model == model and one.metric in METRICS:
            by_scope.setdefault((one.path, one.role, one.segment), []).append(one)
    scopes = [_scope(key, rows, most_windows) for key, rows in sorted(by_scope.items(), key=_by_weight)]
    report: dict[str, Any] = {
        "format": FORMAT,
        "model": model,
        "made_at": now.isoformat(),
        "limits": dict(limits or {}),
        "incidents": [_incident(one) for one in sorted(incidents, key=_by_urgency)],
        "scopes": scopes,
        "distributions": [_distribution(one) for one in distributions],
        "figures": sum(map(len, by_scope.values())),
    }
    return {**report, "headline": headline(report)}


def _scope(key: tuple[str, str, str], figures: list[Figure], most: int) -> dict[str, Any]:
    path, role, segment = key
    rows: dict[tuple[datetime, datetime], dict[str, int]] = {}
    for one in figures:
        versions = rows.setdefault((one.start, one.end), {})
        versions[one.version] = max(versions.get(one.version, 0), one.rows)
    moments = sorted(rows)[-most:]
    place = {moment: at for at, moment in enumerate(moments)}
    shown = [_chosen(rows[moment]) for moment in moments]
    series: dict[tuple[str, str], dict[str, Any]] = {}
    for one in figures:
        at = place.get((one.start, one.end))
        if at is None or one.version != shown[at]:
            continue
        name = one.metric, one.subject
        found = series.get(name) or series.setdefault(name, _empty(one, len(moments)))
        found["values"][at], found["low"][at], found["high"][at] = one.value, one.low, one.high
        found["rows"][at] = one.rows
        if one.note:
            found["notes"][str(at)] = one.note
    return {
        "path": path,
        "role": role,
        "segment": segment,
        "versions": list(dict.fromkeys(shown)),
        "windows": [
            {"start": start.isoformat(), "end": end.isoformat(), "version": version}
            for (start, end), version in zip(moments, shown, strict=True)
        ],
        "left_out": len(rows) - len(moments),
        "series": sorted(series.values(), key=lambda one: (one["metric"], one["subject"])),
    }


def _chosen(rows: Mapping[str, int]) -> str:
    """Return the version with the most rows; of several the later one, which is what follows."""
    return max(rows, key=lambda version: (rows[version], len(version), version))


def _empty(one: Figure, windows: int) -> dict[str, Any]:
    nothing = {name: [None] * windows for name in ("values", "low", "high", "rows")}
    return {"metric": one.metric, "subject": one.subject, **nothing, "notes": {}}


def _by_weight(one: tuple[tuple[str, str, str], list[Figure]]) -> tuple[bool, bool, str, str, str]:
    """Put live before batch, these before other roles, and all rows before a part of them."""
    path, role, segment = one[0]
    return bool(segment), role not in ("live", "batch"), "" if path == "online" else path, role, segment


def _by_urgency(one: ShownIncident) -> tuple[bool, int, float, str, str]:
    since = one.since.timestamp()
    return one.state != "open", _SEVERITIES.get(one.severity, 9), since if one.state == "open" else -since, one.rule, \
        one.subject  # fmt: skip


def _incident(one: ShownIncident) -> dict[str, Any]:
    until = None if one.until is None else one.until.isoformat()
    return {**asdict(one), "since": one.since.isoformat(), "until": until, "done": list(one.done)}


def _distribution(one: Distribution) -> dict[str, Any]:
    moments = {name: None if (at := getattr(one, name)) is None else at.isoformat() for name in ("start", "end")}
    sequences = {name: list(getattr(one, name)) for name in ("names", "counts", "reference")}
    return {**asdict(one), **moments, **sequences}
