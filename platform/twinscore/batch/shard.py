"""Score one shard in one go: read, check, score, write its part and its quarantine; knows no Ray.

Memory is bounded by a batch of rows, whatever the size of the shard. What comes back is small: counts, checksums,
aggregates and seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.checkpoint import save_result
from twinscore.batch.keys import key_hashes, key_rule, save_hashes
from twinscore.batch.parts import QUARANTINE, PartWriter, constant, prediction_schema, quarantine_schema
from twinscore.batch.reading import BATCH_ROWS, read_piece
from twinscore.batch.recipe import Recipe
from twinscore.batch.shard_result import ShardResult
from twinscore.batch.staging import is_current
from twinscore.batch.verdicts import Refusals, run_rules
from twinscore.bundle.profile import bin_counts
from twinscore.contract.aggregate import aggregate
from twinscore.contract.model import type_of
from twinscore.errors import StoreConflict
from twinscore.scoring.table import SCORE_SCHEMA, predict_margins, score_margins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from twinscore.batch.plan import Piece, Shard
    from twinscore.bundle.files import Bundle
    from twinscore.contract.aggregate import Aggregate

__all__ = ["ShardJob", "score_shard"]


@dataclass(frozen=True, slots=True)
class ShardJob:
    """What is the same for every shard of a run."""

    folder: str
    """Where parts are written."""
    key: tuple[tuple[str, str], ...]
    """Key columns and their types."""
    constants: Mapping[str, Any]
    """Columns that are the same in every row, in order."""
    threads: int = 1
    """Threads that predict."""
    recipe: Recipe = field(default_factory=Recipe)
    """Where columns come from and which rows stay."""
    attempt: str | None = None
    """Which attempt at the run this is; None writes whoever else does."""

    @property
    def key_schema(self) -> pa.Schema:
        """Arrow schema of the key columns."""
        return pa.schema([pa.field(name, type_of(kind)) for name, kind in self.key])


@dataclass(slots=True)
class _Tally:
    """What adds up over the batches of a shard."""

    rows: int = 0
    scored: int = 0
    flagged: int = 0
    filtered: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    score_counts: Any = 0
    hashes: list[NDArray[np.uint64]] = field(default_factory=list)
    aggregate: Aggregate | None = None
    seconds: Counter[str] = field(default_factory=Counter)


def score_shard(
    shard: Shard, bundle: Bundle, job: ShardJob, duplicates: NDArray[np.int64] | None = None
) -> ShardResult:
    """Score a shard into `job.folder`, and say there that it is done.

    Args:
        duplicates: positions in the shard of rows whose key is not theirs alone; None as long as nobody knows.

    Raises:
        FileUnreadable, SchemaMismatch, StoreConflict: an input file is not what the snapshot saw.
        StoreConflict: another attempt at the run took over.
        StoreUnavailable: the output cannot be written.
    """
    began = time.time()
    repeated = np.zeros(shard.rows, bool)
    if duplicates is not None:
        repeated[duplicates] = True
    key = job.key_schema
    folder = Path(job.folder)
    name = f"part-{shard.number:05d}.parquet"
    schema = prediction_schema(key, SCORE_SCHEMA, job.constants)
    tally = _Tally()
    part = PartWriter(folder, name, schema)
    refused: PartWriter | None = None
    clock = _Laps(tally.seconds)
    try:
        for table, origin, columns in clock.around("extract", _batches(shard, bundle, key, job.recipe, tally)):
            known = table.select(bundle.contract.schema.names)
            refusals = _check(table, known, repeated[tally.rows : tally.rows + table.num_rows], bundle, key)
            verdict = refusals.verdict()
            found = aggregate(run_rules(bundle.checker, key.names), known, verdict, columns=columns[0])
            found = replace(found, columns=frozenset(columns))
            tally.aggregate = found if tally.aggregate is None else tally.aggregate.merge(found)
            hashes, whole = key_hashes(table.select(key.names))
            tally.hashes.append(hashes if whole.all() else hashes[whole])
            clock.lap("check")
            taken, flagged = table, verdict.flagged
            if verdict.n_refused:
                mask = pa.array(verdict.accepted)
                taken, known, flagged = table.filter(mask), known.filter(mask), verdict.flagged[verdict.accepted]
            encoded = bundle.spec.encode(known)
            clock.lap("transform")
            margins = predict_margins(encoded, bundle, threads=job.threads)
            scores = score_margins(margins, bundle, flagged=flagged)
            _count(tally, scores, flagged, bundle)
            clock.lap("predict")
            part.write(_predictions(taken, scores, schema, job))
            tally.rows += table.num_rows
            if verdict.n_refused:
                tally.rules.update(refusals.rows_by_rule())
                if refused is None:
                    refused = PartWriter(folder / QUARANTINE, name, quarantine_schema(key))
                refused.write(refusals.lines(table, key, origin, shard.number))
            clock.lap("write")
        if job.attempt is not None and not is_current(folder, job.attempt):
            message = f"Another attempt writes {folder} now; this worker gives shard {shard.number} up."
            raise StoreConflict(message, folder=str(folder), shard=shard.number)
        parts = [part.close()]
        if refused is not None:
            parts.append(replace(refused.close(), name=f"{QUARANTINE}/{name}"))
        keys = save_hashes(folder, shard.number, np.concatenate([np.zeros(0, np.uint64), *tally.hashes]))
        clock.lap("write")
    except BaseException:
        part.abandon()
        if refused is not None:
            refused.abandon()
        raise
    if tally.aggregate is None:
        none = bundle.contract.schema.empty_table()
        tally.aggregate = aggregate(run_rules(bundle.checker, key.names), none, bundle.checker.check(none))
        tally.aggregate = replace(tally.aggregate, columns=frozenset())
        _count(tally, SCORE_SCHEMA.empty_table(), np.zeros(0, bool), bundle)
    result = ShardResult(
        number=shard.number, rows_in=tally.rows, rows_scored=tally.scored, rows_flagged=tally.flagged,
        rows_filtered=tally.filtered, rows_repeated=int(repeated.sum()), rules=dict(tally.rules),
        decisions=dict(tally.decisions),
        score_counts=tuple(int(count) for count in tally.score_counts), aggregate=tally.aggregate, parts=tuple(parts),
        keys=keys, seconds={step: round(value, 6) for step, value in tally.seconds.items()}, began=began,
        ended=time.time(),
    )  # fmt: skip
    save_result(folder, result)
    return result


def _check(table: pa.Table, known: pa.Table, repeated: NDArray[np.bool_], bundle: Bundle, key: pa.Schema) -> Refusals:
    """Hold a batch against the contract, and against what a key must be."""
    refusals = Refusals(bundle.checker.check(known), table.num_rows)
    refusals.missing_keys(table, [name for name in key.names if name not in bundle.contract.key])
    cells = [table.column(name) for name in key.names]
    refusals.add(repeated, key.names[0], key_rule(key.names), "no other row has this key", cells)
    return refusals


def _count(tally: _Tally, scores: pa.Table, flagged: NDArray[np.bool_], bundle: Bundle) -> None:
    """Add a batch's scores to the shard's counts, in the bins of the bundle's reference profile."""
    tally.scored += scores.num_rows
    tally.flagged += int(np.count_nonzero(flagged))
    edges = np.array(bundle.profile["score"]["edges"], np.float64)
    tally.score_counts = tally.score_counts + bin_counts(scores.column("score").to_numpy(), edges)
    for item in pc.value_counts(scores.column("decision").drop_null()).to_pylist():
        tally.decisions[item["values"]] += item["counts"]


Origin = list[tuple["Piece", "int | NDArray[np.int64]", int]]
"""Where the rows of a batch come from, in order: piece, first row in its file or all of them, number of rows."""


def _batches(
    shard: Shard, bundle: Bundle, key: pa.Schema, recipe: Recipe, tally: _Tally
) -> Iterator[tuple[pa.Table, Origin, tuple[tuple[str, ...], ...]]]:
    """Yield tables of about BATCH_ROWS rows; small pieces are joined, because a batch has a price of its own."""
    extra = [item for item in key if item.name not in bundle.contract.schema.names]
    wanted = pa.schema([*bundle.contract.schema, *extra])
    tables: list[pa.Table] = []
    origin: Origin = []
    columns: list[tuple[str, ...]] = []
    waiting = 0
    for piece in shard.pieces:
        row = piece.first_row
        for table, numbers, read in read_piece(piece, wanted, recipe=recipe, seen_columns=columns.append):
            start, row = row, row + read
            tally.filtered += read - table.num_rows
            if not table.num_rows:
                continue
            if tables and waiting + table.num_rows > BATCH_ROWS:
                yield pa.concat_tables(tables), origin, tuple(columns)
                tables, origin, waiting = [], [], 0
            tables.append(table)
            origin.append((piece, start if numbers is None else numbers, table.num_rows))
            waiting += table.num_rows
    if tables:
        yield pa.concat_tables(tables), origin, tuple(columns)


def _predictions(taken: pa.Table, scores: pa.Table, schema: pa.Schema, job: ShardJob) -> pa.Table:
    rows = taken.num_rows
    columns = [taken.column(name) for name, _ in job.key]
    columns += [scores.column(name) for name in scores.schema.names]
    columns += [constant(value, rows) for value in job.constants.values()]
    return pa.table(columns, schema=schema)


class _Laps:
    """A stopwatch that adds up the seconds of named steps."""

    def __init__(self, seconds: Counter[str]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self._seconds[step] += now - self._last  # type: ignore[assignment]
        self._last = now

    def around(self, step: str, items: Iterator[Any]) -> Iterator[Any]:
        for item in items:
            self.lap(step)
            yield item
