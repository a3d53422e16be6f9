"""Time as a value handed in, so that every decision can be replayed; knows nothing of schedules."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["Clock", "FixedClock", "SystemClock"]


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return the monotonic clock in seconds."""
        return time.monotonic()


class FixedClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime) -> None:
        self._now = start
        self._elapsed_s = 0.0

    def now(self) -> datetime:
        """Return the time it was last moved to."""
        return self._now

    def monotonic_s(self) -> float:
        """Return the seconds it has been moved by."""
        return self._elapsed_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._now += timedelta(seconds=seconds)
        self._elapsed_s += seconds
