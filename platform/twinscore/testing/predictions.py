"""Runs to publish, without a model behind them: seeded rows with all that a sink must carry."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.ports.prediction_sink import PublishedRun

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["make_predictions", "make_run"]

_SETS = [["yes"], ["yes", "no"], [], None, ['a "quoted" \\ one', "ünïcode", None]]
_SCHEMA = pa.schema(
    {
        "row_id": pa.int64(),
        "name": pa.string(),
        "opened_at": pa.timestamp("us", tz="UTC"),
        "score": pa.float64(),
        "decision": pa.string(),
        "lower": pa.float64(),
        "upper": pa.float64(),
        "prediction_set": pa.list_(pa.string()),
        "review": pa.bool_(),
        "review_reason": pa.string(),
        "model": pa.string(),
        "version": pa.string(),
        "run_id": pa.string(),
        "scored_at": pa.timestamp("us", tz="UTC"),
    }
)


def make_predictions(rows: int, run_id: str, seed: int = 0) -> pa.Table:
    """Return the rows of a run: (rows, 14), some null, with lists, quotes, and times from 1969 to 2100."""
    rng = np.random.default_rng(seed)
    missing = rng.random(rows) < 0.1
    score = rng.random(rows)
    number = np.arange(rows)
    words = pa.array(["", "plain", "with 'quotes' \" and, comma", "two\nlines\tand tab", "null", "{}", "日本語"])
    moments = rng.integers(-(10**13), 4 * 10**15, rows)
    columns = [
        pa.array(number),
        pa.DictionaryArray.from_arrays(pa.array(number % 7, pa.int32(), mask=missing), words).dictionary_decode(),
        pa.array(moments, pa.timestamp("us", tz="UTC"), mask=missing),
        pa.array(score),
        pa.array(np.where(score > 0.5, "yes", "no")),
        pa.array(score - 0.1, mask=missing),
        pa.array(score + 0.1, mask=missing),
        pa.array(_SETS, pa.list_(pa.string())).take(pa.array(number % len(_SETS))),
        pa.array(missing),
        pa.array(np.where(missing, "uncertain", ""), mask=~missing),
        *(pa.repeat(pa.scalar(value), rows) for value in ("demo", "1", run_id)),
        pa.repeat(pa.scalar(datetime(2026, 3, 29, 2, 30, 0, 123456, UTC), pa.timestamp("us", tz="UTC")), rows),
    ]
    return pa.table(columns, schema=_SCHEMA)


def make_run(
    rows: int = 1_000, run_id: str = "a" * 16, *, seed: int = 0, batch_rows: int = 300, supersedes: tuple[str, ...] = ()
) -> PublishedRun:
    """Return a run of `make_predictions`' rows, in batches of `batch_rows`."""
    table = make_predictions(rows, run_id, seed)

    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches(max_chunksize=batch_rows)

    return PublishedRun(run_id, "demo", "1", "demo", table.schema, batches, rows, supersedes)
