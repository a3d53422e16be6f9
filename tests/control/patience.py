"""Waiting for what other threads do, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["until"]

_PATIENCE_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds; fails when it does not come about."""
    deadline = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)
