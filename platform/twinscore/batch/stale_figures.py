"""How old batch predictions are, what waits to be scored, and what was begun and left, as figures of a look."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twinscore.batch.freshness import check_freshness
from twinscore.batch.runs import instant, known_runs
from twinscore.errors import TwinscoreError
from twinscore.monitoring.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from twinscore.batch.freshness import Freshness

__all__ = ["LOOKED_AT", "staleness_figures"]

LOOKED_AT = ("prediction_age_s", "input_waiting_rows", "runs_interrupted")
"""Metrics that a look tells, and that cannot be made again from counts."""
_SHOWN = 3
_NO_RUN = "there is no committed run"


def staleness_figures(
    lake: Path,
    model: str,
    start: datetime,
    end: datetime,
    *,
    datasets: Sequence[str] = (),
    time_of: Callable[[str], str | None] = lambda digest: None,
) -> list[Figure]:
    """Return how stale the newest runs are, and which were begun in the window and have nobody who writes them.

    What cannot be told has no value and a note. Without any run there is no figure.

    Args:
        lake: of the settings.
        start: of the window.
        end: of it, and what ages are reckoned from.
        datasets: of the runs, see `known_runs`; empty means all of the model's.
        time_of: the column of the event time, by the digest of a bundle.
    """
    runs = known_runs(lake, model, datasets)
    # The newest run of each dataset that was named, or of all.
    newest = [run for name in datasets for run in known_runs(lake, model, [name]).committed[:1]]
    newest = newest or list(runs.committed[:1])
    if not newest and not runs.interrupted:
        return []
    looks: list[Freshness] = []
    why = _NO_RUN
    for run in newest:
        try:
            looks.append(check_freshness(run, now=end, time_column=time_of(run.manifest["bundle_digest"])))
        except TwinscoreError as error:
            why = error.message
    version = newest[0].manifest["version"] if newest else ""
    figure = partial(Figure, model=model, version=version, role="batch", path="batch", start=start, end=end)
    return [_age(looks, why, figure), _waiting(looks, why, figure), _interrupted(runs.interrupted, figure, start, end)]


def _age(looks: Sequence[Freshness], why: str, figure: Callable[..., Figure]) -> Figure:
    if not looks:
        return figure(metric="prediction_age_s", value=None, note=why)
    oldest = max(looks, key=lambda one: one.data_age)
    return figure(
        metric="prediction_age_s", value=oldest.data_age.total_seconds(), rows=oldest.rows_then, note=oldest.reason
    )


def _waiting(looks: Sequence[Freshness], why: str, figure: Callable[..., Figure]) -> Figure:
    counts = [one.rows_waiting for one in looks if one.rows_waiting is not None]
    if len(counts) < len(looks) or not looks:
        note = next((one.reason for one in looks if one.rows_waiting is None), why)
        return figure(metric="input_waiting_rows", value=None, note=note)
    return figure(metric="input_waiting_rows", value=float(sum(counts)), rows=sum(one.rows_now or 0 for one in looks))


def _interrupted(begun: Sequence[object], figure: Callable[..., Figure], start: datetime, end: datetime) -> Figure:
    ids = [one["run_id"] for one in begun if isinstance(one, dict) and start <= instant(one["started_at"]) < end]
    note = ", ".join(ids[:_SHOWN])
    return figure(metric="runs_interrupted", value=float(len(ids)), rows=len(ids), note=note)
