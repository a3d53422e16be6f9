"""Clocks: the machine's, and one that moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twinscore.clock import Clock, FixedClock, SystemClock

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_fixed_clock_moves_only_when_told() -> None:
    """Both readings stand still until advanced, then move by the same seconds."""
    clock: Clock = (fixed := FixedClock(START))

    assert (clock.now(), clock.monotonic_s()) == (START, 0.0)

    fixed.advance(90)

    assert (clock.now(), clock.monotonic_s()) == (START + timedelta(seconds=90), 90.0)


def test_system_clock_is_aware_and_never_runs_backwards() -> None:
    """The wall clock knows its zone; the monotonic clock only grows."""
    clock: Clock = SystemClock()
    first, second = clock.monotonic_s(), clock.monotonic_s()

    assert clock.now().tzinfo is UTC
    assert first <= second
