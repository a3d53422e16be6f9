"""How much memory this process takes, and how much more than when it was ready; reads `/proc`, knows no Ray."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["MIB", "Footprint", "memory_bytes"]

MIB = 1024 * 1024
_LOOK_NS = 1_000_000_000


class Footprint:
    """What this process took when this was made, and what it has taken since; looks at most once a second."""

    def __init__(self) -> None:
        self._at_first, _ = memory_bytes()
        self._grown_mb = 0.0
        self._looked_ns = time.monotonic_ns()

    def grown_mb(self) -> float:
        """Return MiB taken beyond what the process had at first, as of at most a second ago; never below zero."""
        now_ns = time.monotonic_ns()
        if now_ns - self._looked_ns > _LOOK_NS:
            self._looked_ns = now_ns
            self._grown_mb = max(0.0, (memory_bytes()[0] - self._at_first) / MIB)
        return self._grown_mb


def memory_bytes() -> tuple[int, int]:
    """Return memory taken and address space mapped by this process."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    size = os.sysconf("SC_PAGE_SIZE")
    return int(pages[1]) * size, int(pages[0]) * size
