"""Batch runs of a window, and how old a version is, as figures; pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from twinscore.monitoring.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.tally_runs import RunTally

__all__ = ["model_age", "runs"]


def runs(tally: RunTally, figure: Callable[..., Figure]) -> list[Figure]:
    """Return how the runs of one window went; nothing without one.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
    """
    ended = tally.committed + tally.refused
    if not ended:
        return []
    longest = tally.longest.high
    note = "" if ended == 1 else f"the longest of {ended}"
    found = [figure(metric="runs_failed", value=float(tally.refused), rows=ended)]
    if longest is not None:
        found.append(figure(metric="run_s", value=float(longest), rows=ended, note=note))
    if tally.rows_in:
        low, high = wilson(tally.rows_quarantined, tally.rows_in)
        share = tally.rows_quarantined / tally.rows_in
        found.append(figure(metric="quarantine_share", value=share, low=low, high=high, rows=tally.rows_in))
    return found


def model_age(plan: Plan, end: datetime, figure: Callable[..., Figure]) -> list[Figure]:
    """Return how old a version was at the end of a window; nothing where its card does not say when it was made."""
    try:
        made = datetime.fromisoformat(plan.created_at)
    except ValueError:
        return []
    made = made if made.tzinfo else made.replace(tzinfo=UTC)
    return [figure(metric="model_age_s", value=(end - made).total_seconds())]
