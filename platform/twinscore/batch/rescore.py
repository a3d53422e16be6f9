"""Rows scored as a run scores them: to Parquet, through a shard, and read back from the files that it wrote; no Ray.

What a row was asked with may be there more than once, and under a key that is no entity's, so the rows get a number to
be known by instead of their key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.checkpoint import KEYS, SHARDS
from twinscore.batch.intake import open_intake
from twinscore.batch.parts import EXPLANATIONS, QUARANTINE
from twinscore.batch.plan import plan_shards
from twinscore.batch.reading import read_piece
from twinscore.batch.shard import ShardJob, score_shard
from twinscore.batch.spec import ScoreSpec
from twinscore.contract.model import type_name
from twinscore.monitoring.parity_compare import Side
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.bundle.files import Bundle

__all__ = ["Rescored", "at_places", "rescore"]

_NUMBER = "__row"


@dataclass(frozen=True, slots=True)
class Rescored:
    """What the batch path made of rows."""

    read: pa.Table
    """The rows as the shard read them: (n_rows, contract columns)."""
    side: Side
    rules: Mapping[int, str]
    """First rule that a refused row broke, by its place."""


def rescore(table: pa.Table, bundle: Bundle, folder: Path) -> Rescored:
    """Score rows with the code, and through the files, of a batch run.

    Args:
        table: (n_rows, contract columns), at least one row.
        bundle: the version.
        folder: empty; files are left in it.

    Raises:
        StoreUnavailable: the folder cannot be written.
        SchemaMismatch, FileUnreadable: a cell does not survive the way through Parquet.
    """
    source, output = folder / "rows.parquet", folder / "scored"
    for name in (KEYS, SHARDS, QUARANTINE, EXPLANATIONS):
        (output / name).mkdir(parents=True)
    pq.write_table(table.append_column(_NUMBER, pa.array(np.arange(table.num_rows))), source)
    spec = ScoreSpec(model=bundle.card.model, input=str(source), output=str(output), key=(_NUMBER,))
    intake = open_intake(spec, bundle.contract)
    shards = plan_shards(intake.snapshot)
    key = tuple((item.name, type_name(item.type)) for item in intake.key)
    job = ShardJob(str(output), key, {}, recipe=intake.recipe)
    for shard in shards:
        score_shard(shard, bundle, job, np.zeros(0, np.int64))
    parts = [pq.ParquetFile(path).read() for path in sorted(output.glob("part-*.parquet"))]
    scored = pa.concat_tables(parts)
    lines = [pq.ParquetFile(path).read() for path in sorted((output / QUARANTINE).glob("part-*.parquet"))]
    rules: dict[int, str] = {}
    for part in lines:
        for place, rule in zip(part[_NUMBER].to_pylist(), part["rule"].to_pylist(), strict=True):
            rules.setdefault(place, rule)
    pieces = [piece for shard in shards for piece in shard.pieces]
    read = [rows.table for piece in pieces for rows in read_piece(piece, intake.wanted, recipe=intake.recipe)]
    places = scored[_NUMBER].to_numpy()
    refused = np.ones(table.num_rows, bool)
    refused[places] = False
    scores = at_places(scored.select(SCORE_SCHEMA.names).cast(SCORE_SCHEMA), places, table.num_rows)
    return Rescored(pa.concat_tables(read).select(bundle.contract.schema.names), Side(scores, refused), rules)


def at_places(scores: pa.Table, places: np.ndarray, rows: int) -> pa.Table:
    """Return scores put where their rows stand, null elsewhere: (rows, SCORE_SCHEMA)."""
    where = np.full(rows, -1, np.int64)
    where[places] = np.arange(len(places))
    return scores.take(pa.array(where, mask=where < 0))
