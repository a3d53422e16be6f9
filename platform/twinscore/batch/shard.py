"""Score one shard in one go: read, check, score, write its part and its quarantine; knows no Ray.

Memory is bounded by a batch of rows, whatever the size of the shard. What comes back is small: counts, checksums,
aggregates and seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twinscore.batch.checkpoint import save_result
from twinscore.batch.explained import chosen_rows, explained_rows, spread
from twinscore.batch.keys import key_rule, save_hashes
from twinscore.batch.parts import EXPLANATIONS, QUARANTINE, PartWriter, constant, prediction_schema
from twinscore.batch.reading import BATCH_ROWS, read_piece
from twinscore.batch.recipe import Recipe
from twinscore.batch.spec_parts import ExplainSpec
from twinscore.batch.staging import is_current
from twinscore.batch.tally import Laps, Tally
from twinscore.batch.verdicts import Refusals, run_rules
from twinscore.contract.aggregate import aggregate
from twinscore.contract.model import type_of
from twinscore.contract.row_key import key_hashes
from twinscore.errors import StoreConflict
from twinscore.scoring.attribution import explanation_schema
from twinscore.scoring.table import SCORE_SCHEMA, predict_margins, score_margins

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from twinscore.batch.plan import Piece, Shard
    from twinscore.batch.shard_result import ShardResult
    from twinscore.bundle.files import Bundle

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
    explain: ExplainSpec = field(default_factory=ExplainSpec)
    """Which rows get their contributions."""
    attempt: str | None = None
    """Which attempt at the run this is; None writes whoever else does."""

    @property
    def key_schema(self) -> pa.Schema:
        """Arrow schema of the key columns."""
        return pa.schema([pa.field(name, type_of(kind)) for name, kind in self.key])


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
    explained_schema = explanation_schema(bundle) if job.explain.rows != "none" else None
    in_columns = explained_schema if job.explain.into == "columns" else None
    schema = prediction_schema(key, SCORE_SCHEMA, job.constants, in_columns)
    tally = Tally()
    part = PartWriter(folder, name, schema)
    beside: dict[str, PartWriter] = {}

    def write_beside(place: str, table: pa.Table) -> None:
        if place not in beside:
            beside[place] = PartWriter(folder / place, name, table.schema)
        beside[place].write(table)

    clock = Laps(tally.seconds)
    try:
        for table, origin, columns in clock.around("extract", _batches(shard, bundle, key, job.recipe, tally)):
            known = table.select(bundle.contract.schema.names)
            refusals = _check(table, known, repeated[tally.rows : tally.rows + table.num_rows], bundle, key)
            verdict = refusals.verdict()
            found = aggregate(run_rules(bundle.checker, key.names), known, verdict, columns=columns[0])
            found = replace(found, columns=frozenset(columns))
            tally.add_aggregate(found)
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
            tally.add_scores(scores, flagged, bundle)
            clock.lap("predict")
            if explained_schema is not None:
                kept = hashes[verdict.accepted] if verdict.n_refused else hashes
                chosen = chosen_rows(job.explain, scores.column("review").to_numpy(), kept)
                explained, summary = explained_rows(encoded, margins, chosen, bundle)
                tally.add_explained(explained, summary)
                if in_columns is not None:
                    scores = _beside_each_other(scores, spread(explained, chosen, bundle))
                elif explained.num_rows:
                    keys = taken.select(key.names).filter(pa.array(chosen))
                    write_beside(EXPLANATIONS, _beside_each_other(keys, explained))
                clock.lap("explain")
            part.write(_predictions(taken, scores, schema, job))
            tally.rows += table.num_rows
            if verdict.n_refused:
                tally.rules.update(refusals.rows_by_rule())
                write_beside(QUARANTINE, refusals.lines(table, key, origin, shard.number))
            clock.lap("write")
        if job.attempt is not None and not is_current(folder, job.attempt):
            message = f"Another attempt writes {folder} now; this worker gives shard {shard.number} up."
            raise StoreConflict(message, folder=str(folder), shard=shard.number)
        parts = [part.close()]
        parts += [replace(writer.close(), name=f"{place}/{name}") for place, writer in beside.items()]
        hashed = save_hashes(folder, shard.number, np.concatenate([np.zeros(0, np.uint64), *tally.hashes]))
        clock.lap("write")
    except BaseException:
        part.abandon()
        for writer in beside.values():
            writer.abandon()
        raise
    if tally.aggregate is None:
        none = bundle.contract.schema.empty_table()
        tally.aggregate = aggregate(run_rules(bundle.checker, key.names), none, bundle.checker.check(none))
        tally.aggregate = replace(tally.aggregate, columns=frozenset())
        tally.add_scores(SCORE_SCHEMA.empty_table(), np.zeros(0, bool), bundle)
    result = tally.result(shard.number, tuple(parts), hashed, int(repeated.sum()), began)
    save_result(folder, result)
    return result


def _check(table: pa.Table, known: pa.Table, repeated: NDArray[np.bool_], bundle: Bundle, key: pa.Schema) -> Refusals:
    """Hold a batch against the contract, and against what a key must be."""
    refusals = Refusals(bundle.checker.check(known), table.num_rows)
    refusals.missing_keys(table, [name for name in key.names if name not in bundle.contract.key])
    cells = [table.column(name) for name in key.names]
    refusals.add(repeated, key.names[0], key_rule(key.names), "no other row has this key", cells)
    return refusals


def _beside_each_other(left: pa.Table, right: pa.Table) -> pa.Table:
    return pa.table([*left.columns, *right.columns], schema=pa.schema([*left.schema, *right.schema]))


Origin = list[tuple["Piece", "int | NDArray[np.int64]", int]]
"""Where the rows of a batch come from, in order: piece, first row in its file or all of them, number of rows."""


def _batches(
    shard: Shard, bundle: Bundle, key: pa.Schema, recipe: Recipe, tally: Tally
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
