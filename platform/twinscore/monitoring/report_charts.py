"""Figures over time as a report shows them: a legend, a chart, and the table it is drawn from; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.report_series import newest, one_series
from twinscore.monitoring.report_words import moment, scale_unit, value, window_name
from twinscore.page.cards import table, text
from twinscore.page.lines import Line, time_chart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Pick", "axis_of", "latest", "over_time", "spans_of"]

_ROWS = 12
"""Windows in the table below a chart, the newest; the JSON has all."""
_MOST_TITLES = 100
_KINDS = ("run", "second", "third", "fourth", "fifth")
_TICKS = 4


@dataclass(frozen=True, slots=True)
class Pick:
    """A series to draw."""

    metric: str
    subject: str = ""
    name: str = ""
    """In the legend; empty for what the catalogue says."""
    dots: bool = False


def over_time(
    report: Mapping[str, Any],
    scope: Mapping[str, Any],
    picks: Sequence[Pick],
    *,
    zero: bool = False,
    limited: bool = True,
) -> str:
    """Return the chart of a few series of one unit, or nothing when none of them has a value.

    Args:
        report: limits and incidents are taken from it.
        scope: whose series are drawn.
        picks: what is drawn, at most five; those without a value are left out.
        zero: let the scale begin at zero.
        limited: draw the limit of the first metric.
    """
    found = [
        (pick, series) for pick in picks if newest(series := one_series(scope, pick.metric, pick.subject)) is not None
    ]
    if not found:
        return ""
    kinds = {pick: _KINDS[min(at, len(_KINDS) - 1)] for at, pick in enumerate(picks)}
    lines = [
        Line(_name(pick), series["values"], *_ends(series), kind=kinds[pick], dots=pick.dots)
        for pick, series in found
        if series is not None
    ]
    metric = found[0][0].metric
    limit = report["limits"].get(metric) if limited else None
    at = [(start + end) / 2 for start, end in spans_of(scope)]
    unit, word = scale_unit(metric, [one for line in lines for one in line.values])
    chart = time_chart(
        [_in(unit, line) for line in lines], at, label=_label(scope, lines, metric),
        write=lambda one: f"{one:,.10g}{word}", axis=axis_of(scope), zero=zero,
        limits=[] if limit is None else [limit / unit], shades=_shades(report, scope, picks),
        switches=_switches(scope), titles=_titles(scope, lines, metric) if len(at) <= _MOST_TITLES else (),
    )  # fmt: skip
    return f"<figure>{_legend(lines, metric, limit, scope)}{chart}{_figures(scope, lines, metric)}</figure>"


def latest(scope: Mapping[str, Any], metric: str, subject: str = "") -> tuple[float | None, str]:
    """Return the newest value of a series, and when it was if that is not the newest window."""
    series = one_series(scope, metric, subject)
    at = newest(series)
    if series is None or at is None:
        return None, ""
    late = at < len(scope["windows"]) - 1
    return series["values"][at], f"as of {window_name(scope['windows'][at])}" if late else ""


def spans_of(scope: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Return begin and end of each window, 0 to 1 of the time from the first to the last."""
    first, whole = _span(scope)
    return [
        ((_second(one["start"]) - first) / whole, (_second(one["end"]) - first) / whole) for one in scope["windows"]
    ]


def axis_of(scope: Mapping[str, Any]) -> list[str]:
    """Return moments for the axis below a scope's charts, evenly spread."""
    first, whole = _span(scope)
    days = whole >= 3 * 86_400
    moments = [datetime.fromtimestamp(first + whole * at / _TICKS, tz=_zone(scope)) for at in range(_TICKS + 1)]
    named = [f"{one.day} {one:%b}" if days else f"{one:%H:%M}" if one.day == moments[0].day else
             f"{one.day} {one:%b %H:%M}" for one in moments]  # fmt: skip
    return named if len(set(named)) == len(named) else [named[0], named[-1]]


def _zone(scope: Mapping[str, Any]) -> Any:
    return datetime.fromisoformat(scope["windows"][0]["start"]).tzinfo


def _second(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _span(scope: Mapping[str, Any]) -> tuple[float, float]:
    """Return the first second of a scope's windows, and how many there are until the last."""
    windows = scope["windows"]
    first = _second(windows[0]["start"])
    return first, max(_second(windows[-1]["end"]) - first, 1e-9)


def _in(unit: float, line: Line) -> Line:
    """Return a line in another unit, as round values on the scale want it."""

    def divided(row: Sequence[float | None]) -> list[float | None]:
        return [None if one is None else one / unit for one in row]

    return replace(line, values=divided(line.values), low=divided(line.low), high=divided(line.high))


def _name(pick: Pick) -> str:
    return pick.name or pick.subject or METRICS[pick.metric].says


def _ends(series: Mapping[str, Any]) -> tuple[Sequence[float | None], Sequence[float | None]]:
    known = any(one is not None for one in series["low"])
    return (series["low"], series["high"]) if known else ((), ())


def _shades(report: Mapping[str, Any], scope: Mapping[str, Any], picks: Sequence[Pick]) -> list[tuple[float, float]]:
    """Return the spans of the incidents that are about what is drawn."""
    first, whole = _span(scope)
    shown = {(pick.metric, pick.subject) for pick in picks}
    found = []
    for one in report["incidents"]:
        if (one["metric"], one["subject"]) not in shown or one["path"] not in ("", scope["path"]):
            continue
        start = (_second(one["since"]) - first) / whole
        end = 1.0 if one["until"] is None else (_second(one["until"]) - first) / whole
        if start < 1 and end > 0:
            found.append((max(start, 0.0), min(end, 1.0)))
    return found


def _switches(scope: Mapping[str, Any]) -> list[float]:
    first, whole = _span(scope)
    windows = scope["windows"]
    return [
        (_second(after["start"]) - first) / whole
        for before, after in pairwise(windows)
        if before["version"] != after["version"]
    ]


def _label(scope: Mapping[str, Any], lines: Sequence[Line], metric: str) -> str:
    said = []
    for line in lines:
        known = [one for one in line.values if one is not None]
        said.append(
            f"{line.name}: {value(metric, min(known))} to {value(metric, max(known))}, last {value(metric, known[-1])}"
        )
    windows = scope["windows"]
    return f"{moment(windows[0]['start'])} to {moment(windows[-1]['end'])}. {'; '.join(said)}"


def _legend(lines: Sequence[Line], metric: str, limit: float | None, scope: Mapping[str, Any]) -> str:
    keys = []
    for line in lines:
        interval = ", 95 % interval" if line.low else ""
        last = next(one for one in reversed(line.values) if one is not None)
        shape = "spot" if line.dots else "stroke"
        keys.append(
            f'<span class="w"><span class="key {shape} {line.kind}"></span> {text(line.name, 60)} '
            f"<b>{value(metric, last)}</b>{interval}</span>"
        )
    if limit is not None:
        keys.append(
            f'<span class="w"><span class="key stroke limit"></span> limit <b>{value(metric, limit)}</b></span>'
        )
    if _switches(scope):
        shown = " &rarr; ".join(text(version, 20) for version in scope["versions"][-4:])
        keys.append(f'<span class="w"><span class="key switch"></span> version {shown}</span>')
    return f'<figcaption class="legend">{" ".join(keys)}</figcaption>'


def _titles(scope: Mapping[str, Any], lines: Sequence[Line], metric: str) -> list[str]:
    return [
        f"{window_name(window)}\n" + "\n".join(f"{line.name}: {_with_ends(line, at, metric)}" for line in lines)
        for at, window in enumerate(scope["windows"])
    ]


def _with_ends(line: Line, at: int, metric: str) -> str:
    said = value(metric, line.values[at])
    if not line.low or line.low[at] is None or line.high[at] is None:
        return said
    return f"{said} ({value(metric, line.low[at])} to {value(metric, line.high[at])})"


def _figures(scope: Mapping[str, Any], lines: Sequence[Line], metric: str) -> str:
    heads = [("window (UTC)", ""), *((text(line.name, 40), "n") for line in lines)]
    places = range(len(scope["windows"]) - 1, max(len(scope["windows"]) - 1 - _ROWS, -1), -1)
    rows = [(window_name(scope["windows"][at]), *(_with_ends(line, at, metric) for line in lines)) for at in places]
    return f"<details><summary>Figures</summary>{table('The newest windows', heads, rows)}</details>"
