"""How old batch predictions are, and what waits to be scored, as figures of the window that closed last."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from twinscore.batch.freshness import check_freshness
from twinscore.batch.read import open_run
from twinscore.monitoring.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from twinscore.bundle.files import Bundle

__all__ = ["staleness"]


def staleness(
    folders: Iterable[Path], start: datetime, end: datetime, bundle_of: Callable[[str], Bundle | None]
) -> list[Figure]:
    """Return how stale the newest committed run was at the end of a window; nothing without a run.

    Args:
        folders: of the model's runs.
        start: of the window.
        end: of it.
        bundle_of: a bundle by its digest, which names the column of the event time.
    """
    runs = [open_run(folder) for folder in folders]
    past = [
        run for run in runs
        if "refused" not in run.manifest and datetime.fromisoformat(run.manifest["finished_at"]) < end
    ]  # fmt: skip
    if not past:
        return []
    newest = max(past, key=lambda run: str(run.manifest["finished_at"]))
    manifest = newest.manifest
    bundle = bundle_of(manifest["bundle_digest"])
    found = check_freshness(newest, now=end, time_column=None if bundle is None else bundle.card.time)
    where = {"model": manifest["model"], "version": manifest["version"], "role": "batch", "path": "batch"}
    age = Figure(
        **where, start=start, end=end, metric="prediction_age_s", value=found.data_age.total_seconds(),
        rows=int(manifest["rows_scored"]), note="" if found.rows_now is not None else found.reason,
    )  # fmt: skip
    rows, note = None, found.reason
    if found.rows_now is not None:
        rows, note = float(max(found.rows_now - found.rows_then, 0)), "" if found.is_current else found.reason
    waiting = Figure(**where, start=start, end=end, metric="input_waiting_rows", value=rows, note=note)
    return [age, waiting]
