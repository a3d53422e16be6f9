"""The words of a report: the headline that says whether anything is wrong, moments, values by unit; pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.report_series import main_scopes, series_of
from twinscore.page.words import count, cut, duration, percent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ago", "headline", "listed", "moment", "number", "scale_unit", "value", "window_name"]

NOTHING = "-"
_LATE_WINDOWS = 3
"""Newest figures that are older than so many windows are said to be old."""
_NAMED = 3
_DAY_S = 86_400.0


def headline(report: Mapping[str, Any]) -> dict[str, str]:
    """Say whether anything is wrong, since when, and what is being done: `state`, `badge`, `says`.

    `state` is `bad` (a critical incident is open), `warn`, `good` or `unknown` (nothing was watched).
    """
    incidents = [one for one in report["incidents"] if one["state"] == "open"]
    late = _late(report)
    if incidents:
        worst = incidents[0]
        state = "bad" if any(one["severity"] == "critical" for one in incidents) else "warn"
        first = min(one["since"] for one in incidents)
        many = "One incident is open" if len(incidents) == 1 else f"{len(incidents)} incidents are open"
        names = listed([_of(one) for one in incidents])
        since = f"since {moment(first)} UTC" if len(incidents) == 1 else f"the oldest since {moment(first)} UTC"
        says = f"{many}, {since}: {names}. {worst['says']}"
        done = list(dict.fromkeys(what for one in incidents for what in one["done"]))
        says += f" Being done: {listed(done, most=4)}." if done else " Nothing is being done about it yet."
        return {"state": state, "badge": many.lower(), "says": f"{says}{late}"}
    if not any(one["windows"] for one in report["scopes"]):
        says = "No figures yet: nothing was watched, or no window is over. `twinscore monitor run` makes them."
        return {"state": "unknown", "badge": "no figures", "says": says}
    drifted = _drifted(report)
    if drifted:
        says = f"No incident is open. In the newest window {listed(drifted)} drifted."
        return {"state": "warn", "badge": "drift, no incident", "says": f"{says}{late}"}
    if late:
        return {"state": "warn", "badge": "figures are old", "says": f"No incident is open.{late}"}
    return {"state": "good", "badge": "all well", "says": "Nothing is wrong: no incident is open, no feature drifted."}


def value(metric: str, figure: float | None) -> str:
    """Write a figure in the unit of its metric.

    >>> value("auc", 0.8431), value("latency_ms_p99", 61.04), value("error_rate", 0.0012), value("psi", 0.3141)
    ('0.843', '61.0 ms', '0.12 %', '0.314')
    """
    if figure is None:
        return NOTHING
    unit = METRICS[metric].unit
    if unit == "share" and metric not in _PLAIN_SHARES:
        return percent(figure)
    if unit == "ms":
        return f"{figure:,.1f} ms" if figure < 1_000 else f"{figure:,.0f} ms"
    if unit == "s":
        return ago(figure)
    return count(figure) if unit in ("rows", "count") else number(figure)


_PLAIN_SHARES = ("auc", "estimated_auc", "attribution_ndcg", "ks", "score_ks")
"""Between 0 and 1, and yet nobody says them in percent."""


def scale_unit(metric: str, figures: Iterable[float | None]) -> tuple[float, str]:
    """Return what the figures of a metric are divided by on a scale, and the word after it.

    >>> scale_unit("error_rate", [0.1]), scale_unit("run_s", [200.0, 900.0])
    ((0.01, ' %'), (60.0, ' min'))
    """
    unit = METRICS[metric].unit
    if unit == "share" and metric not in _PLAIN_SHARES:
        return 0.01, " %"
    if unit != "s":
        return 1.0, " ms" if unit == "ms" else ""
    most = max((abs(one) for one in figures if one is not None), default=0.0)
    return next((many, word) for many, word in _TIMES if most >= 2 * many or many == 1.0)


_TIMES = ((_DAY_S, " days"), (3_600.0, " h"), (60.0, " min"), (1.0, " s"))


def number(figure: float | None) -> str:
    """Write a number without a unit."""
    if figure is None:
        return NOTHING
    size = abs(figure)
    return f"{figure:,.0f}" if size >= 1_000 else f"{figure:.3g}" if size >= 1 or not size else f"{figure:.3f}"


def ago(seconds: float | None) -> str:
    """Write a long time: 12 days, 5 h 3 min.

    >>> ago(86400 * 12.4), ago(3700)
    ('12.4 days', '1 h 1 min')
    """
    return f"{seconds / _DAY_S:,.1f} days" if seconds is not None and seconds >= 2 * _DAY_S else duration(seconds)


def moment(at: str | None) -> str:
    """Write an instant: 5 May 2026 14:00."""
    return NOTHING if at is None else _written(datetime.fromisoformat(at), year=True)


def window_name(window: Mapping[str, Any]) -> str:
    """Write when a window was: 5 May 12:00 to 18:00, or the day when it is one."""
    start, end = (datetime.fromisoformat(window[name]) for name in ("start", "end"))
    if not start.hour and not start.minute and (end - start).total_seconds() == _DAY_S:
        return f"{start.day} {start:%b}"
    return f"{_written(start)} to {end:%H:%M}" if (end - start).total_seconds() < _DAY_S else \
        f"{_written(start)} to {_written(end)}"  # fmt: skip


def listed(names: Iterable[str], most: int = _NAMED) -> str:
    """Write a list of names as people say it.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
    ('a, b and c', 'a, b, c and 2 more')
    """
    every = [cut(one) for one in names]
    shown, left = every[:most], len(every) - most
    if left > 0:
        return f"{', '.join(shown)} and {left} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), *shown[-1:]]))


def _written(at: datetime, *, year: bool = False) -> str:
    return f"{at.day} {at:%b}{at: %Y}{at: %H:%M}" if year else f"{at.day} {at:%b %H:%M}"


def _of(incident: Mapping[str, Any]) -> str:
    return f"{incident['rule']} ({incident['subject']})" if incident["subject"] else str(incident["rule"])


def _drifted(report: Mapping[str, Any]) -> list[str]:
    """Return the features that drifted in the newest window of a main scope, the scores among them."""
    found: dict[str, None] = {}
    for scope in main_scopes(report):
        for one in (*series_of(scope, "feature_drift"), *series_of(scope, "score_drift")):
            if one["values"] and one["values"][-1]:
                found[one["subject"] or "the scores"] = None
    return list(found)


def _late(report: Mapping[str, Any]) -> str:
    """Say that the newest figures are old; empty when they are not."""
    scopes = [one for one in main_scopes(report) if one["windows"]]
    if not scopes:
        return ""
    newest_scope = max(scopes, key=lambda one: one["windows"][-1]["end"])
    window = newest_scope["windows"][-1]
    start, end, made = (datetime.fromisoformat(one) for one in (window["start"], window["end"], report["made_at"]))
    age_s = (made - end).total_seconds()
    if age_s <= _LATE_WINDOWS * (end - start).total_seconds():
        return ""
    return f" The newest figures are {ago(age_s)} old: nothing is watching now."
