"""What people read of an incident: one line, and a few in Markdown; no name that comes from data breaks out of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.monitoring.condition import Missing, show_condition
from twinscore.monitoring.quantity import show_seconds
from twinscore.monitoring.selector import values_of
from twinscore.page.words import count, cut, duration, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from twinscore.monitoring.incident import Incident
    from twinscore.monitoring.judge import Window
    from twinscore.monitoring.metric import Metric
    from twinscore.monitoring.rule import Rule
    from twinscore.monitoring.selector import SeriesKey

__all__ = ["Member", "body_of", "headline", "shown"]

_LINES = 20
"""Members of an incident that are listed; more are counted."""


@dataclass(frozen=True, slots=True)
class Member:
    """A series that broke a rule, with the window that says so best."""

    key: SeriesKey
    window: Window | None
    known: datetime | None
    raised: bool = True


def shown(value: float | None, metric: Metric) -> str:
    """Return a figure with its unit, as people read it.

    >>> from twinscore.monitoring.metric import METRICS
    >>> shown(0.123, METRICS["error_rate"]), shown(312.0, METRICS["latency_ms_p99"])
    ('12.3 %', '312 ms')
    """
    if value is None or not math.isfinite(value):
        return "-" if value is None else f"{value}"
    if metric.unit == "share":
        return percent(value)
    if metric.unit == "ms":
        return f"{value:,.4g} ms" if value < 1_000 else f"{value:,.0f} ms"
    if metric.unit == "s":
        return duration(value)
    return count(value) if metric.unit in ("rows", "count") and float(value).is_integer() else f"{value:.4g}"


def headline(rule: Rule, model: str, members: Sequence[Member]) -> str:
    """Return one line: the model, what is wrong, by which figure; members are the worst first."""
    metric, worst = rule.measure, members[0]
    where = _where(worst.key)
    if isinstance(rule.when, Missing):
        since = "ever" if worst.known is None else f"since {_time(worst.known)}"
        return cut(f"{model}: {rule.name}: no {metric.name} {since}{where}", 240)
    said = "" if worst.window is None else f" is {shown(worst.window.value, metric)}"
    subject = worst.key[4]
    if len(members) > 1:
        of = f" of {_plain(subject)}" if subject else ""
        return cut(f"{model}: {rule.name}: {metric.name} in {len(members)} places, worst{of}{said}{where}", 240)
    of = f" of {_plain(subject)}" if subject else ""
    return cut(f"{model}: {rule.name}: {metric.name}{of}{said}{where}", 240)


def body_of(rule: Rule, incident: Incident, members: Sequence[Member], lead: str, advice: Sequence[str] = ()) -> str:
    """Return a few lines of Markdown: the rule, the figures, since when, what to do."""
    metric = rule.measure
    lines = [lead, "", f"- Rule: {rule.name}; {_code(rule.says)}, {rule.severity}", f"- Metric: {metric.says}"]
    lines.append(f"- Since: {_time(incident.since)}")
    if isinstance(rule.when, Missing):
        lines.append(f"- Over when: a figure of {metric.name} is there again")
    else:
        lasting = f", for {show_seconds(rule.clear.for_s)}" if rule.clear.for_s else ""
        said = _code(show_condition(rule.clear_when, metric.unit))
        lines.append(f"- Over when: {said} in {rule.clear_windows} windows{lasting}")
    if members and not isinstance(rule.when, Missing):
        lines += ["", *_table(rule, members)]
    return "\n".join([*lines, *(("", *advice) if advice else ())])


def _table(rule: Rule, members: Sequence[Member]) -> list[str]:
    metric = rule.measure
    what = metric.subject or "what"
    lines = [f"| {what} | where | version | value | 95 % interval | rows | window |", "|---|---|---|---|---|---|---|"]
    for one in members[:_LINES]:
        window = one.window
        if window is None:
            continue
        interval = "-" if window.low is None and window.high is None else (
            f"{shown(window.low, metric)} to {shown(window.high, metric)}"
        )  # fmt: skip
        where = " ".join([part for part in one.key[1:4] if part])
        state = "" if one.raised else " (recovered)"
        cells = [
            f"{_code(one.key[4] or metric.name)}{state}", _code(where), _code(window.version),
            shown(window.value, metric), interval, count(window.rows), f"{_time(window.start)} to {_time(window.end)}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    left = len(members) - _LINES
    return [*lines, f"\nand {left:,} more"] if left > 0 else lines


def _where(key: SeriesKey) -> str:
    values = values_of(key)
    parts = [_plain(values[name]) for name in ("role", "path", "segment") if values[name]]
    if values["version"]:
        parts.append(f"version {_plain(values['version'])}")
    return f" ({', '.join(parts)})" if parts else ""


def _plain(text: str) -> str:
    """Return a name in one short line that mentions nobody."""
    return cut(" ".join(text.split()), 60).replace("@", "(at)").replace("<", "(").replace(">", ")")


def _code(text: str) -> str:
    """Return text that Markdown shows as it is, in a table too."""
    inside = cut(" ".join(text.split()), 160).replace("`", "'").replace("|", "\\|")
    return f"`{inside}`" if inside else "-"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if not moment.second else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
