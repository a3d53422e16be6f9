"""What figures say of one series under a rule: each window broken, clear or between, and whether the series is raised.

A figure that says nothing (no value, NaN, too few rows, no interval where the condition asks for one) is as if it were
not there: it neither breaks a rule nor ends an incident. A window that is told again replaces what it said before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from twinscore.monitoring.condition import Missing, holds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.monitoring.condition import Judged
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.rule import Rule

__all__ = ["Series", "Verdict", "Window", "advanced", "rejudged", "silence", "verdict_of"]

Verdict = Literal["breach", "between", "clear"]
_RANK: dict[Verdict, int] = {"clear": 0, "between": 1, "breach": 2}
_NOTE = 160


@dataclass(frozen=True, slots=True)
class Window:
    """What is kept of a figure: its window, its numbers, and what they say under the rule."""

    end: datetime
    version: str
    start: datetime
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    rows: int

    def to_json(self) -> list[Any]:
        """Return the window as JSON values; `from_json` reads them back."""
        numbers = (self.value, self.low, self.high, self.p_value)
        return [self.end.isoformat(), self.version, self.start.isoformat(), self.verdict, *numbers, self.rows]

    @classmethod
    def from_json(cls, document: Sequence[Any]) -> Window:
        """Read what `to_json` wrote."""
        end, version, start, *rest = document
        return cls(datetime.fromisoformat(end), version, datetime.fromisoformat(start), *rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The last windows of what is judged together, and where it stands."""

    windows: tuple[Window, ...] = ()
    """By end, then version; only those that say something, and no more than the rule counts."""
    floor: datetime | None = None
    """Windows that ended by then were let go of, and are not judged again."""
    judged: datetime | None = None
    """End of the newest window that was judged."""
    raised: datetime | None = None
    """End of the window that raised it; None while it is not raised."""
    mark: datetime | None = None
    """End of the window at which it was last raised or cleared: those before do not count for the next time."""
    held: datetime | None = None
    """End of the window since which enough windows speak for a change."""
    known: datetime | None = None
    """End of the newest figure with a value."""
    seen: datetime | None = None
    """End of the newest figure."""
    dismissed: datetime | None = None
    """When a person dismissed what raised it; it opens nothing until it has recovered."""
    dismissed_until: datetime | None = None
    """From then on it counts again, recovered or not."""
    note: str = ""
    """Why the newest figure says nothing; empty when it does."""

    @property
    def latest(self) -> Verdict | None:
        """What the newest window says, of several versions in it the worst."""
        if not self.windows:
            return None
        last = self.windows[-1].end
        return max([one.verdict for one in self.windows if one.end == last], key=_RANK.__getitem__)

    @property
    def pending(self) -> bool:
        """Whether it is not raised and a window that counts broke the rule."""
        since = self.mark
        return self.raised is None and any(
            one.verdict == "breach" and (since is None or one.end >= since) for one in self.windows
        )

    @property
    def worst(self) -> Window | None:
        """The newest window that broke the rule, else the newest."""
        broken = next((one for one in reversed(self.windows) if one.verdict == "breach"), None)
        return broken or (self.windows[-1] if self.windows else None)

    def to_json(self) -> dict[str, Any]:
        """Return the series as JSON values; `from_json` reads them back to an equal one."""
        document: dict[str, Any] = {"windows": [one.to_json() for one in self.windows]}
        for name in _MOMENTS:
            if (moment := getattr(self, name)) is not None:
                document[name] = moment.isoformat()
        return {**document, "note": self.note} if self.note else document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Series:
        """Read what `to_json` wrote."""
        moments = {name: datetime.fromisoformat(document[name]) for name in _MOMENTS if name in document}
        windows = tuple([Window.from_json(one) for one in document["windows"]])
        return cls(windows=windows, note=document.get("note", ""), **moments)


_MOMENTS = ("floor", "judged", "raised", "mark", "held", "known", "seen", "dismissed", "dismissed_until")


def verdict_of(rule: Rule, figure: Judged) -> Verdict | None:
    """Return what a figure says under a rule; None where it says nothing."""
    if figure.rows < rule.least_rows:
        return None
    broken = holds(rule.when, figure)
    if broken is None:
        return None
    if broken or rule.clear.when is None:
        return "breach" if broken else "clear"
    clear = holds(rule.clear.when, figure)
    return None if clear is None else "clear" if clear else "between"


def advanced(series: Series, rule: Rule, figures: Sequence[Figure]) -> Series:
    """Return the series after some more figures, in whatever order they come; the same one if nothing is new."""
    known, seen, note, touched = series.known, series.seen, series.note, False
    windows = {(one.end, one.version): one for one in series.windows}
    for figure in figures:
        end = figure.end
        if series.floor is not None and end <= series.floor:
            continue
        verdict = verdict_of(rule, figure)
        if (known is None or end > known) and _number(figure.value) is not None:
            known = end
        if seen is None or end >= seen:
            seen, note = end, "" if verdict else _why_silent(rule, figure)
        key = (end, figure.version)
        if verdict is None:
            touched |= windows.pop(key, None) is not None
            continue
        window = Window(
            end, figure.version, figure.start, verdict, _number(figure.value), _number(figure.low),
            _number(figure.high), _number(figure.p_value), figure.rows,
        )  # fmt: skip
        if windows.get(key) != window:
            windows[key], touched = window, True
    if touched:
        ordered = tuple([windows[key] for key in sorted(windows)])
        return _judged(series, rule, ordered, known, seen, note)
    if (known, seen, note) == (series.known, series.seen, series.note):
        return series
    return replace(series, known=known, seen=seen, note=note)


def rejudged(series: Series, rule: Rule) -> Series:
    """Return the series under a rule that judges otherwise than before."""
    found = [(one, verdict_of(rule, one)) for one in series.windows]
    windows = tuple([replace(one, verdict=verdict) for one, verdict in found if verdict is not None])
    return _judged(replace(series, held=None), rule, windows, series.known, series.seen, series.note)


def silence(series: Series, rule: Rule, now: datetime, since: datetime) -> Series:
    """Return the series under a rule about missing figures.

    Args:
        since: when figures were first looked for, for a series that never had one.
    """
    assert isinstance(rule.when, Missing)
    limit = (series.known or since) + timedelta(seconds=rule.when.seconds)
    if now >= limit:
        return series if series.raised is not None else replace(series, raised=limit, mark=limit)
    return replace(series, raised=None, mark=series.known) if series.raised is not None else series


def _judged(
    series: Series, rule: Rule, windows: tuple[Window, ...], known: datetime | None, seen: datetime | None, note: str
) -> Series:
    """Judge each window that is new, in order, or the newest again where only older ones were told anew."""
    merged: list[tuple[datetime, Verdict]] = []
    for one in windows:
        if merged and merged[-1][0] == one.end:
            merged[-1] = (one.end, max(merged[-1][1], one.verdict, key=_RANK.__getitem__))
        else:
            merged.append((one.end, one.verdict))
    raised, mark, held, judged, floor = series.raised, series.mark, series.held, series.judged, series.floor
    first = len(merged) - 1
    while first > 0 and (judged is None or merged[first - 1][0] > judged):
        first -= 1
    for at in range(max(first, 0), len(merged)):
        raised, mark, held = _moved(rule, merged, at, raised, mark, held)
    keep = max(rule.windows.of, rule.clear_windows.of)
    if len(merged) > keep:
        floor = merged[-keep - 1][0]
        windows = tuple([one for one in windows if one.end > floor])
    if merged and (judged is None or merged[-1][0] > judged):
        judged = merged[-1][0]
    return replace(
        series, windows=windows, floor=floor, judged=judged, raised=raised, mark=mark, held=held if merged else None,
        known=known, seen=seen, note=note,
    )  # fmt: skip


_Stand = tuple["datetime | None", "datetime | None", "datetime | None"]


def _moved(
    rule: Rule, merged: Sequence[tuple[datetime, Verdict]], at: int, raised: datetime | None, mark: datetime | None,
    held: datetime | None,
) -> _Stand:  # fmt: skip
    """Return raised, mark and held after the window at a place."""
    end = merged[at][0]
    if raised is None:
        wanted, windows, lasting = "breach", rule.windows, rule.for_s
    else:
        wanted, windows, lasting = "clear", rule.clear_windows, rule.clear.for_s
    count = 0
    for when, verdict in merged[max(at + 1 - windows.of, 0) : at + 1]:
        if verdict == wanted and (mark is None or when >= mark):
            count += 1
    if count < windows.enough:
        return raised, mark, None
    held = held or end
    if lasting and (end - held).total_seconds() < lasting:
        return raised, mark, held
    return (end if raised is None else None), end, None


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value


def _why_silent(rule: Rule, figure: Figure) -> str:
    if isinstance(rule.when, Missing):
        return ""
    if figure.note:
        return figure.note[:_NOTE]
    if figure.rows < rule.least_rows:
        return f"{figure.rows:,} rows, at least {rule.least_rows:,} are wanted"
    return "no value" if figure.value is None else "it lacks what the condition asks for"
