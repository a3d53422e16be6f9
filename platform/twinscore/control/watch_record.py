"""What is known of the rounds of looks that the control begins by itself, in `<home>/run/watch.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from twinscore.stack.processes import Process, here, is_alive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ModelLook", "WatchRecord", "read_record", "told", "write_record"]

_LATE = timedelta(seconds=60)
"""After which a round that did not begin is one that nobody begins."""


@dataclass(frozen=True, slots=True)
class ModelLook:
    """The last look at one model; times are ISO 8601 in UTC."""

    at: str
    rows: int = 0
    """With a score, of the sources that were counted."""
    counted: int = 0
    windows: int = 0
    """Closed ones whose figures are new."""
    waiting: Sequence[str] = ()
    """Why sources could not be counted; the first of them."""
    waits: int = 0
    """Sources that could not be counted."""
    trouble: str = ""
    """Why it could not be looked at."""


@dataclass(frozen=True, slots=True)
class WatchRecord:
    """The last round and the next; times are ISO 8601 in UTC, empty where there is none."""

    every_s: float
    """From the beginning of one round to the next; 0 begins none."""
    began_at: str = ""
    ended_at: str = ""
    next_at: str = ""
    machine: str = ""
    pid: int = 0
    """Of the process that looks, while it does."""
    started: int = 0
    failures: int = 0
    """Rounds in a row that did not come to their end."""
    trouble: str = ""
    """Why the last round did not come to its end."""
    models: Mapping[str, ModelLook] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether a round is under way on this machine."""
        return self.pid > 0 and self.machine == here() and is_alive(Process(self.pid, self.started))


def read_record(home: Path) -> WatchRecord | None:
    """Return what was last written; None when nothing was, or it cannot be read."""
    try:
        raw: dict[str, Any] = json.loads(_path(home).read_text(encoding="utf-8"))
        return WatchRecord(**{**raw, "models": {name: ModelLook(**one) for name, one in raw["models"].items()}})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # it says when to look next, and no more: whoever finds nothing begins anew


def write_record(home: Path, record: WatchRecord) -> None:
    """Write it so that a reader sees the old one or the new one.

    Raises:
        OSError: the home cannot be written.
    """
    path = _path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def told(record: WatchRecord | None, now: datetime, model: str | None = None) -> list[str]:
    """Return in words when the control looked last and looks next, or why it does not; of one model, or of all.

    >>> told(WatchRecord(600, next_at="2026-03-01T10:09:00+00:00"), datetime(2026, 3, 1, 10, tzinfo=UTC))
    ['Every 10 min; the first round is to begin in 9 min.']
    """
    if record is None:
        return ["Nobody looks by itself: the control does, once `twinscore serve` or `twinscore control start` ran."]
    if record.every_s <= 0:
        return ["Nobody looks by itself: TWINSCORE_WATCH_EVERY_S is 0. `twinscore monitor run` looks."]
    lines = [f"Every {_span(timedelta(seconds=record.every_s))}; {_when(record, now)}."]
    if record.trouble:
        lines.append(f"The last round failed, {record.failures} in a row: {record.trouble}")
    for name, look in sorted(record.models.items()):
        if model in (None, name):
            lines.append(f"{name}: {_look(look, now)}")
    return lines


def _when(record: WatchRecord, now: datetime) -> str:
    if record.runs:
        return f"a round is under way since {_span(now - _moment(record.began_at))}"
    next_at = _moment(record.next_at)
    ago = "" if not record.began_at else f"the last round began {_span(now - _moment(record.began_at))} ago, "
    if now > next_at + _LATE:
        return f"{ago}the next is overdue by {_span(now - next_at)}: no control acts, see `twinscore status`"
    which = "the next" if ago else "the first round"
    return f"{ago}{which} is to begin in {_span(max(next_at - now, timedelta()))}"


def _look(look: ModelLook, now: datetime) -> str:
    said = f"looked at {_span(now - _moment(look.at))} ago"
    if look.trouble:
        return f"{said}, in vain: {look.trouble}"
    what = f"{look.rows:,} rows counted, {look.windows} windows have new figures" if look.counted else "nothing was new"
    waits = f"; {look.waits} sources wait, such as {look.waiting[0]}" if look.waiting else ""
    return f"{said}: {what}{waits}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _span(span: timedelta) -> str:
    """Return a span of time as a person says it.

    >>> [_span(timedelta(seconds=s)) for s in (0.4, 90, 600, 8_000, 200_000)]
    ['0 s', '90 s', '10 min', '133 min', '56 h']
    """
    seconds = span.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 4 * 3600 else f"{seconds / 3600:.0f} h"


def _path(home: Path) -> Path:
    return home / "run" / "watch.json"
