"""Counts a committed run: its scores from what it wrote, its features from the input that it read; knows no Ray.

The input is read again only where it still is what the run read; else the scores alone are counted, and a note says so.
Rows that a retry brought home were read from elsewhere: of them the scores alone are counted too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.batch.key_set import KeySet
from twinscore.batch.plan import whole_files
from twinscore.batch.reading import read_piece
from twinscore.batch.stored import same_input
from twinscore.errors import PredictFailed, TwinscoreError
from twinscore.monitoring.contribution import Contribution
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.scored_rows import block_of, codes_of, with_labels
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.tally_runs import RunTally
from twinscore.monitoring.window_key import WindowKey, window_start

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta

    from twinscore.batch.read import CommittedRun
    from twinscore.batch.watch_labels import KnownLabels
    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["CountedRun", "count_run", "rows_beside_input", "run_state"]

_OUTPUTS = ("score", "decision", "lower", "upper", "prediction_set", "review", "scored_at")
_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class CountedRun:
    """What a run adds, and of which content."""

    token: str
    contribution: Contribution
    rows: int
    labels: str
    """Digest of the outcomes that were joined; empty without labels."""
    note: str = ""
    """Why features were not counted; empty when they were."""


def run_state(run: CommittedRun) -> str:
    """Return what tells one content of a run from another: retries add to it."""
    return " ".join([run.manifest["run_id"], *(one["run_id"] for one in run.linked)])


def count_run(
    run: CommittedRun,
    bundle: Bundle,
    *,
    spec: MonitorSpec,
    length: timedelta,
    labels: KnownLabels | None = None,
    glance: bool = False,
) -> CountedRun:
    """Count a run in the window in which it was committed.

    Args:
        bundle: what scored it.
        length: of a window.
        labels: outcomes; None where none are watched.
        glance: only look which outcomes are known, and count nothing.

    Raises:
        FileUnreadable: a file of the run cannot be read.
    """
    manifest = run.manifest
    token = run_state(run)
    start = window_start(datetime.fromisoformat(manifest["finished_at"]), length)
    key = WindowKey(
        model=manifest["model"], version=manifest["version"], bundle_digest=manifest["bundle_digest"], role="batch",
        path="batch", segment="", start=start, end=start + length,
    )  # fmt: skip
    found = Contribution()
    found.add(key, WindowTally(runs=RunTally.of(manifest)))
    if "refused" in manifest:
        return CountedRun(token, found, 0, "")
    told = None if labels is None else labels.begin()
    groups, plan = spec.groups or bundle.card.groups, plan_of(bundle)
    rows = 0
    note, tables = ("", _alone(run, run.prediction_files())) if glance else rows_beside_input(run, bundle)
    for columns, scored in tables:
        rows += scored.num_rows
        outcome = None
        if told is not None:
            keyed = columns if glance else _with_key(columns, scored, manifest["key"])
            outcome = told.outcomes(keyed, bundle.contract, None, scored["scored_at"])
        if glance:
            continue
        block = block_of(columns, scored, bundle, groups)
        if outcome is not None:
            block = with_labels(block, scored, outcome.value, bundle, outcome.delay_s)
        segments = {name: codes_of(columns[name]) for name in spec.segments if name in columns.column_names}
        found.add_rows(key, block, plan, segments)
        found.add_explained(key, block, plan, bundle, spec.attribution_share)
    if note:
        found.add(key, WindowTally(notes=frozenset({f"run {manifest['run_id']}: {note}"})))
    return CountedRun(token, found, rows, "" if told is None else told.digest, note)


def rows_beside_input(run: CommittedRun, bundle: Bundle) -> tuple[str, Iterator[tuple[pa.Table, pa.Table]]]:
    """Return the run's rows with their raw columns, or without, and why."""
    if not _own_files(run):
        return "", iter(())
    try:
        intake = same_input(run, bundle)
    except TwinscoreError as error:
        return f"features are not counted. {error.message}", _alone(run, run.prediction_files())
    names = list(run.manifest["key"])

    def rows() -> Iterator[tuple[pa.Table, pa.Table]]:
        scores = _Scores(run, [*dict.fromkeys([*names, *_OUTPUTS])])
        for piece in whole_files(intake.snapshot):
            for table, _, _ in read_piece(piece, intake.wanted, recipe=intake.recipe):
                yield from _aligned(table, scores, names)
        if scores.left:
            message = f"Run {run.manifest['run_id']} has {scores.left} rows that its input does not have."
            raise PredictFailed(message, run_id=run.manifest["run_id"])
        yield from _alone(run, [name for name in run.prediction_files() if name not in _own_files(run)])

    return "", rows()


class _Scores:
    """The first run's scored rows, in order, taken as the input goes by."""

    def __init__(self, run: CommittedRun, columns: Sequence[str]) -> None:
        self._batches = _batches(run, _own_files(run), columns)
        self._held: pa.Table | None = None

    def peek(self, rows: int) -> pa.Table | None:
        """Return the next rows, at most as many; None at the end."""
        while self._held is None or self._held.num_rows < rows:
            more = next(self._batches, None)
            if more is None:
                break
            self._held = more if self._held is None else pa.concat_tables([self._held, more])
        return None if self._held is None or not self._held.num_rows else self._held.slice(0, rows)

    def take(self, rows: int) -> None:
        """Pass over the next rows."""
        assert self._held is not None
        self._held = self._held.slice(rows)

    @property
    def left(self) -> int:
        """Rows that nobody took."""
        held = self.peek(1)
        return 0 if held is None or self._held is None else self._held.num_rows


def _aligned(table: pa.Table, scores: _Scores, names: list[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield rows of the input that have a score beside it: scores are in the order of the input, with gaps."""
    coming = scores.peek(table.num_rows)
    if coming is None:
        return
    keys = table.select(names)
    places = KeySet(coming.select(names).cast(keys.schema)).places(keys)
    # Of rows that share a key at most one has a score.
    found, kept = np.unique(places, return_index=True)
    kept = kept[found >= 0]
    if len(kept):
        if not (np.array_equal(found[found >= 0], np.arange(len(kept))) and np.all(np.diff(kept) > 0)):
            message = "The rows of a run are not in the order of its input, so they cannot be counted. Score it anew."
            raise PredictFailed(message)
        yield table.take(pa.array(kept)), coming.slice(0, len(kept))
        scores.take(len(kept))


def _alone(run: CommittedRun, files: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Yield scored rows with their key as the only columns."""
    names = list(run.manifest["key"])
    for batch in _batches(run, files, [*dict.fromkeys([*names, *_OUTPUTS])]):
        yield batch.select(names), batch


def _batches(run: CommittedRun, files: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
    for name in files:
        with pq.ParquetFile(run.folder / name) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                table = pa.Table.from_batches([batch])
                yield table.filter(pc.is_valid(table["score"])) if table["score"].null_count else table


def _own_files(run: CommittedRun) -> list[str]:
    files: list[dict[str, Any]] = run.manifest["files"]
    return [part["name"] for part in files if "/" not in part["name"]]


def _with_key(columns: pa.Table, scored: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return raw columns and those of the key, which the predictions have when the input is gone."""
    absent = [name for name in key if name not in columns.column_names]
    for name in absent:
        columns = columns.append_column(name, scored[name])
    return columns
