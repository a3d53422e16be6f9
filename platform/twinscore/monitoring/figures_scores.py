"""Scores, decisions and doubts of a window as figures, without looking at a reference; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.monitoring.intervals import mean_interval, wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.contract.moments import Moments
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.tally import WindowTally

__all__ = ["scores"]


def scores(tally: WindowTally, figure: Callable[..., Figure]) -> list[Figure]:
    """Return how the rows of one window were scored; nothing without rows.

    Args:
        tally: counts of the window.
        figure: makes a figure of that window from what is given here, such as a `partial` of Figure.
    """
    if not tally.rows:
        return []
    doubt, decided = tally.uncertainty, tally.decisions.rows
    found = [_mean(figure, "score_mean", tally.score.moments)]
    found += [
        _share(figure, "decision_rate", count, decided, subject=name) for name, count in tally.decisions.counts.items()
    ]
    if doubt.width.n:
        found.append(_mean(figure, "interval_width", doubt.width))
    if doubt.sets:
        found.append(_share(figure, "ambiguous_share", doubt.ambiguous, doubt.sets))
    found.append(_share(figure, "review_rate", doubt.review, doubt.rows))
    return found


def _mean(figure: Callable[..., Figure], metric: str, moments: Moments) -> Figure:
    low, high = mean_interval(moments)
    return figure(metric=metric, value=moments.mean, low=low, high=high, rows=moments.n)


def _share(figure: Callable[..., Figure], metric: str, hits: int, rows: int, subject: str = "") -> Figure:
    low, high = wilson(hits, rows)
    return figure(metric=metric, subject=subject, value=hits / rows, low=low, high=high, rows=rows)
