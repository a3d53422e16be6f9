"""How far a run is: small events for a callback, and one callback that writes them as JSON lines; knows no Ray."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twinscore.clock import SystemClock

if TYPE_CHECKING:
    from twinscore.clock import Clock

__all__ = ["STEPS", "Progress", "ProgressCallback", "Reporter", "at_most_every", "json_lines", "log_progress"]

STEPS = ("resolve", "snapshot", "start", "score", "keys", "commit", "publish", "done")
"""Steps of a run, in order; one may come twice or not at all."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    step: str
    """One of STEPS."""
    rows_done: int
    rows_total: int
    """0 until the input is counted."""
    rows_quarantined: int
    rows_per_s: float
    """Of this step, since it began; 0 before the first rows."""
    eta_s: float | None
    """Seconds until this step is done, as far as one can tell."""
    detail: str = ""
    """One line for people, such as which version was resolved."""


ProgressCallback = Callable[[Progress], None]


class Reporter:
    """Turns the counts of a run into events for a callback."""

    def __init__(self, callback: ProgressCallback | None) -> None:
        self._callback = callback
        self._began = time.monotonic()
        self._step = ""
        self.seconds: dict[str, float] = {}

    def step(self, name: str, total: int = 0, detail: str = "") -> None:
        """Begin a step."""
        self._close()
        self._step = name
        self._began = time.monotonic()
        self._tell(Progress(name, 0, total, 0, 0.0, None, detail))

    def advance(self, done: int, total: int, quarantined: int = 0, *, fresh: int | None = None) -> None:
        """Tell how many of the step's rows are done; `fresh` of them since the step began, when that is fewer."""
        elapsed = time.monotonic() - self._began
        rate = (done if fresh is None else fresh) / elapsed if elapsed > 0 else 0.0
        left = (total - done) / rate if rate > 0 else None
        self._tell(Progress(self._step, done, total, quarantined, rate, left))

    def finish(self, total: int, quarantined: int, rows_per_s: float, detail: str = "") -> None:
        """Tell that the run is over."""
        self._close()
        self._tell(Progress("done", total, total, quarantined, rows_per_s, 0.0, detail))

    def _close(self) -> None:
        if self._step:
            spent = self.seconds.get(self._step, 0.0) + time.monotonic() - self._began
            self.seconds[self._step] = round(spent, 3)
            self._step = ""

    def _tell(self, event: Progress) -> None:
        if self._callback is not None:
            self._callback(event)


def at_most_every(seconds: float, callback: ProgressCallback, clock: Clock | None = None) -> ProgressCallback:
    """Return a callback that hands on the first event of each step, and later ones at most once in `seconds`."""
    told = clock or SystemClock()
    step, last = "", 0.0

    def pass_on(event: Progress) -> None:
        nonlocal step, last
        now = told.monotonic_s()
        if event.step != step or now - last >= seconds:
            step, last = event.step, now
            callback(event)

    return pass_on


def json_lines() -> None:
    """Make structlog write JSON lines with the time in UTC, as jobs do."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    )


def log_progress(event: Progress) -> None:
    """Write an event as one log line: what a Ray job shows."""
    import structlog

    log = structlog.get_logger("twinscore.batch")
    facts: dict[str, object] = {
        "rows_done": event.rows_done,
        "rows_total": event.rows_total,
        "rows_quarantined": event.rows_quarantined,
        "rows_per_s": round(event.rows_per_s),
        "eta_s": None if event.eta_s is None else round(event.eta_s, 1),
    }
    if event.detail:
        facts["detail"] = event.detail
    log.info(event.step, **facts)
