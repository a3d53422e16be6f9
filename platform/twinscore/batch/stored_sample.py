"""A seeded sample of a committed run: rows of its input, and what it wrote for them; reads a few files of each.

A few row groups of the input are read and rows of them taken. Predictions stand in the order of the input, so their
part is looked for about where they must be, and then on both sides of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.audit.sample import divided
from twinscore.batch.key_set import KeySet
from twinscore.batch.plan import row_groups
from twinscore.batch.reading import read_piece
from twinscore.batch.stored import in_quarantine, refuse_without_scores, same_input
from twinscore.errors import FileUnreadable
from twinscore.scoring.parity import StoredScores
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from twinscore.batch.intake import Intake
    from twinscore.batch.read import CommittedRun
    from twinscore.bundle.files import Bundle

__all__ = ["sampled_scores"]

_GROUPS = 4
"""Row groups that are read."""
_PARTS = 8
"""Parts of the output that are searched for the rows of one row group."""


def sampled_scores(run: CommittedRun, bundle: Bundle, rows: int, seed: int) -> StoredScores:
    """Return about `rows` rows of a run's input, and what the run has on disk for them.

    Rows that a retry brought home are read from elsewhere: here they are refused. Rows that were refused for their key
    alone, which no endpoint can judge, and rows whose predictions are not found near their place are left out.

    Raises:
        FileUnreadable, SchemaMismatch, StoreUnavailable: the input or the run cannot be read.
        StoreConflict: the input is no longer what the run read.
        InputEmpty: the run took no row in, or was refused as a whole.
    """
    manifest = run.manifest
    refuse_without_scores(run)
    run.verify(contents=False)
    intake = same_input(run, bundle, None)
    names = list(manifest["key"])
    schema = pa.schema([*(intake.wanted.field(name) for name in names), *SCORE_SCHEMA])
    tables, scores, accepted, by_key, count = [], [], [], 0, 0
    for table, files, numbers, position in _chosen(intake, rows, np.random.default_rng(seed)):
        quarantined = in_quarantine(run, files, numbers)
        places, stored = _stored(run, table.select(names), position, quarantined, schema)
        known = table.select(bundle.contract.schema.names)
        alone = quarantined & bundle.checker.check(known).accepted
        by_key += int(alone.sum())
        kept = ((places >= 0) | quarantined) & ~alone
        tables.append(known.filter(pa.array(kept)))
        found = places[kept]
        scores.append(stored.take(pa.array(found[found >= 0])).select(SCORE_SCHEMA.names))
        accepted.append(count + np.flatnonzero(found >= 0))
        count += int(kept.sum())
    return StoredScores(
        model=manifest["model"],
        version=manifest["version"],
        run_id=manifest["run_id"],
        bundle_digest=manifest["bundle_digest"],
        table=pa.concat_tables(tables).combine_chunks(),
        scores=pa.concat_tables(scores),
        accepted=tuple(np.concatenate(accepted).tolist()),
        n_by_key=by_key,
    )


def _chosen(
    intake: Intake, rows: int, chance: np.random.Generator
) -> list[tuple[pa.Table, NDArray[np.str_], NDArray[np.int64], float]]:
    """Return rows of some row groups: cells, file, row of the file, and where in the input the group stands, 0 to 1."""
    pieces = list(row_groups(intake.snapshot))
    ends = np.cumsum([piece.rows for piece in pieces])
    chosen = np.sort(chance.choice(len(pieces), min(_GROUPS, len(pieces)), replace=False)).tolist()
    found = []
    for at, share in zip(chosen, divided(rows, [pieces[one].rows for one in chosen]), strict=True):
        piece = pieces[at]
        wanted = piece.first_row + np.sort(chance.choice(piece.rows, share, replace=False))
        row, parts, numbers = piece.first_row, [intake.wanted.empty_table()], [np.zeros(0, np.int64)]
        for table, which, read in read_piece(piece, intake.wanted, recipe=intake.recipe):
            where = row + np.arange(read) if which is None else which
            kept = np.isin(where, wanted)
            parts.append(table.filter(pa.array(kept)))
            numbers.append(where[kept])
            row += read
        table = pa.concat_tables(parts).combine_chunks()
        position = float(ends[at] - piece.rows / 2) / float(ends[-1])
        found.append((table, np.full(table.num_rows, piece.name), np.concatenate(numbers), position))
    return found


def _stored(
    run: CommittedRun, keys: pa.Table, position: float, quarantined: NDArray[np.bool_], schema: pa.Schema
) -> tuple[NDArray[np.int64], pa.Table]:
    """Return the place of each row in a table of predictions, -1 where there is none, and that table."""
    parts = [part for part in run.manifest["files"] if "/" not in part["name"]]
    ends = np.cumsum([part["rows"] for part in parts])
    guess = int(np.searchsorted(ends, position * ends[-1])) if parts else 0
    places = np.full(keys.num_rows, -1, np.int64)
    tables = [schema.empty_table()]
    count = 0
    for part in sorted(range(len(parts)), key=lambda one: abs(one - guess))[:_PARTS]:
        if ((places >= 0) | quarantined).all():
            break
        path = run.folder / parts[part]["name"]
        try:
            table = pq.ParquetFile(path).read(columns=schema.names).select(schema.names).cast(schema)
        except (OSError, pa.ArrowException) as error:
            message = f"The file {path} cannot be read: {error}."
            raise FileUnreadable(message, path=str(path)) from error
        here = KeySet(table.select(keys.column_names)).places(keys)
        places = np.where((places < 0) & (here >= 0), here + count, places)
        tables.append(table)
        count += table.num_rows
    return places, pa.concat_tables(tables)
