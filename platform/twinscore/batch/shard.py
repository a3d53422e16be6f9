"""Score one shard in one go: read, check, score, write its part and its quarantine; knows no Ray.

Memory is bounded by a batch of rows, whatever the size of the shard. What comes back is small: counts, checksums,
aggregates and seconds.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twinscore.batch.keys import key_rule
from twinscore.batch.parts import QUARANTINE, PartFile, PartWriter, constant, prediction_schema, quarantine_schema
from twinscore.batch.plan import Shard
from twinscore.batch.reading import BATCH_ROWS, read_piece
from twinscore.batch.recipe import Recipe
from twinscore.batch.verdicts import Refusals, run_rules
from twinscore.contract.aggregate import Aggregate, aggregate
from twinscore.contract.model import type_of
from twinscore.scoring.table import SCORE_SCHEMA, score

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from twinscore.batch.plan import Piece
    from twinscore.bundle.files import Bundle

__all__ = ["ShardJob", "ShardResult", "nothing_to_score", "score_shard"]


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

    @property
    def key_schema(self) -> pa.Schema:
        """Arrow schema of the key columns."""
        return pa.schema([pa.field(name, type_of(kind)) for name, kind in self.key])


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What became of one shard."""

    number: int
    rows_in: int
    rows_scored: int
    rows_flagged: int
    rows_filtered: int
    """Rows that were read and that the filter left out."""
    rules: Mapping[str, int]
    """Refused rows by the rule that they broke; a row may break several."""
    aggregate: Aggregate
    parts: tuple[PartFile, ...]
    seconds: Mapping[str, float]
    """Spent in each step."""
    began: float
    ended: float
    """Wall clock of the worker, in seconds since 1970."""

    @property
    def rows_quarantined(self) -> int:
        """Rows that were refused."""
        return self.rows_in - self.rows_scored

    def to_plain(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return {
            "number": self.number,
            "rows_in": self.rows_in,
            "rows_scored": self.rows_scored,
            "rows_flagged": self.rows_flagged,
            "rows_filtered": self.rows_filtered,
            "rules": dict(self.rules),
            "aggregate": self.aggregate.to_json(),
            "parts": [part.to_plain() for part in self.parts],
            "seconds": dict(self.seconds),
            "began": self.began,
            "ended": self.ended,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> ShardResult:
        """Return what `to_plain` was made from."""
        return cls(
            plain["number"],
            plain["rows_in"],
            plain["rows_scored"],
            plain["rows_flagged"],
            plain["rows_filtered"],
            plain["rules"],
            Aggregate.from_json(plain["aggregate"]),
            tuple(PartFile(**part) for part in plain["parts"]),
            plain["seconds"],
            plain["began"],
            plain["ended"],
        )


@dataclass(slots=True)
class _Tally:
    """What adds up over the batches of a shard."""

    rows: int = 0
    scored: int = 0
    flagged: int = 0
    filtered: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    aggregate: Aggregate | None = None
    seconds: Counter[str] = field(default_factory=Counter)


def score_shard(
    shard: Shard, bundle: Bundle, job: ShardJob, duplicates: NDArray[np.int64] | None = None
) -> ShardResult:
    """Score a shard into `job.folder`.

    Args:
        duplicates: positions in the shard of rows whose key is not theirs alone.

    Raises:
        FileUnreadable, SchemaMismatch, StoreConflict: an input file is not what the snapshot saw.
        StoreUnavailable: the output cannot be written.
    """
    began = time.time()
    repeated = np.zeros(shard.rows, bool)
    if duplicates is not None:
        repeated[duplicates] = True
    key = job.key_schema
    folder = Path(job.folder)
    schema = prediction_schema(key, SCORE_SCHEMA, job.constants)
    tally = _Tally()
    part = PartWriter(folder, f"part-{shard.number:05d}.parquet", schema)
    refused: PartWriter | None = None
    clock = _Laps(tally.seconds)
    try:
        for table, origin, columns in clock.around("read", _batches(shard, bundle, key, job.recipe, tally)):
            known = table.select(bundle.contract.schema.names)
            verdict = bundle.checker.check(known)
            refusals = Refusals(verdict, table.num_rows)
            refusals.missing_keys(table, [name for name in key.names if name not in bundle.contract.key])
            refusals.add(
                repeated[tally.rows : tally.rows + table.num_rows], key.names[0], key_rule(key.names),
                "no other row has this key", [table.column(name) for name in key.names],
            )  # fmt: skip
            verdict = refusals.verdict()
            found = aggregate(run_rules(bundle.checker, key.names), known, verdict, columns=columns[0])
            found = replace(found, columns=frozenset(columns))
            tally.aggregate = found if tally.aggregate is None else tally.aggregate.merge(found)
            clock.lap("check")
            taken, flagged = table, verdict.flagged
            if verdict.n_refused:
                mask = pa.array(verdict.accepted)
                taken, known, flagged = table.filter(mask), known.filter(mask), verdict.flagged[verdict.accepted]
            scores = score(known, bundle, threads=job.threads, flagged=flagged)
            clock.lap("score")
            part.write(_predictions(taken, scores, schema, job))
            tally.rows += table.num_rows
            tally.scored += taken.num_rows
            tally.flagged += int(np.count_nonzero(flagged))
            if verdict.n_refused:
                lines = refusals.lines(table, key, origin, shard.number)
                tally.rules.update(refusals.rows_by_rule())
                if refused is None:
                    refused = PartWriter(
                        folder / QUARANTINE, f"part-{shard.number:05d}.parquet", quarantine_schema(key)
                    )
                refused.write(lines)
            clock.lap("write")
        parts = [part.close()]
        if refused is not None:
            written = refused.close()
            parts.append(replace(written, name=f"{QUARANTINE}/{written.name}"))
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
    return ShardResult(
        shard.number, tally.rows, tally.scored, tally.flagged, tally.filtered, dict(tally.rules), tally.aggregate,
        tuple(parts),
        {name: round(value, 6) for name, value in tally.seconds.items()}, began, time.time(),
    )  # fmt: skip


@contextlib.contextmanager
def nothing_to_score(bundle: Bundle, job: ShardJob) -> Iterator[Callable[..., Iterator[ShardResult]]]:
    """Have a pool without workers that writes one part without a row: what a run over no row becomes."""

    def one_empty_part(*_: object) -> Iterator[ShardResult]:
        yield score_shard(Shard(0, ()), bundle, job)

    yield one_empty_part


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
