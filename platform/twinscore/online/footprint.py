"""How much memory this process takes, how much more than when it was ready, and how fast that grows; knows no Ray."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from twinscore.rollout.memory_trend import FloorSeries

if TYPE_CHECKING:
    from twinscore.rollout.memory_trend import MemoryTrend

__all__ = ["MIB", "Footprint", "memory_bytes"]

MIB = 1024 * 1024
_LOOK_NS = 1_000_000_000


class Footprint:
    """What this process took when this was made, and what it has taken since; looks at most once a second."""

    def __init__(self) -> None:
        self._at_first, _ = memory_bytes()
        self._grown_mb = 0.0
        self._looked_ns = time.monotonic_ns()
        self._series = _series()

    def grown_mb(self) -> float:
        """Return MiB taken beyond what the process had at first, as of at most a second ago; never below zero."""
        return self.told()[0]

    def told(self) -> tuple[float, MemoryTrend | None]:
        """Return the same, and after a look how it grew, once that is known; None between looks, to spare the wire."""
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns <= _LOOK_NS:
            return self._grown_mb, None
        self._looked_ns = now_ns
        grown_mb = (memory_bytes()[0] - self._at_first) / MIB
        self._grown_mb = max(0.0, grown_mb)
        self._series.add(now_ns / 1e9, grown_mb)
        return self._grown_mb, self._series.newest

    def begin_again(self) -> None:
        """Begin the series anew: what comes from now on is another version's doing."""
        self._series = _series()


def memory_bytes() -> tuple[int, int]:
    """Return memory taken and address space mapped by this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    size = os.sysconf("SC_PAGE_SIZE")
    return int(pages[1]) * size, int(pages[0]) * size


def _series() -> FloorSeries:
    return FloorSeries(uuid4().hex[:12], time.monotonic_ns() / 1e9)
