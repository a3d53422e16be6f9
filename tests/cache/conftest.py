"""Values of every key type, contracts of any key, and a small file of scores."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from twinscore.cache.score_file import ScoreCache, Source, build_scores
from twinscore.contract.model import Column, Contract
from twinscore.scoring.table import SCORE_SCHEMA

VALUES = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(),
    "bool": st.booleans(),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    "timestamp[us, tz=UTC]": st.datetimes(timezones=st.just(UTC)),
    "timestamp[us]": st.datetimes(),
    "date32": st.dates(),
}
"""By the name of the type, what a row may hold; None besides."""

MADE = datetime(2026, 3, 1, tzinfo=UTC)
MADE_S = MADE.timestamp()
BUNDLE = "b" * 64


def contract_of(key: pa.Schema) -> Contract:
    return Contract("demo", 1, tuple(Column(item.name, item.type) for item in key), tuple(key.names), ())


def scored(keys: pa.Table, scores: list[float | None] | None = None) -> pa.Table:
    """Return rows as a run has them: the keys, and scores that tell the rows apart."""
    rows = keys.num_rows
    shown = np.arange(rows) / max(rows, 1) if scores is None else scores
    values = {
        "score": pa.array(shown, pa.float64()),
        "decision": pa.array(["yes" if row % 2 else "no" for row in range(rows)]),
        "lower": pa.nulls(rows, pa.float64()),
        "upper": pa.array([None if row % 3 else float(row) for row in range(rows)], pa.float64()),
        "prediction_set": pa.array([["no", "yes"][: row % 3] for row in range(rows)], pa.list_(pa.string())),
        "uncertainty": pa.array([0.5] * rows),
        "review": pa.array([row % 3 != 1 for row in range(rows)]),
        "review_reason": pa.array([None if row % 3 == 1 else "ambiguous_set" for row in range(rows)], pa.string()),
    }
    columns = [*keys.columns, *(values[item.name] for item in SCORE_SCHEMA)]
    return pa.table(columns, schema=pa.schema([*keys.schema, *SCORE_SCHEMA]))


def number_keys(rows: int, first: int = 0) -> pa.Table:
    return pa.table({"id": pa.array(range(first, first + rows), pa.int64())})


def score_file(path: Path, table: pa.Table, *, run_id: str = "r1", made: datetime = MADE, **facts: object) -> Path:
    """Write a file with one key column, the first of the table."""
    key = pa.schema([table.schema.field(0)])
    said = {"bundle_digest": BUNDLE, "contract_digest": contract_of(key).digest, "run_id": run_id, **facts}
    build_scores(path, key, [(Source(run_id, made), [table])], rows=table.num_rows, facts=said)
    return path


def opened(path: Path, key: pa.Schema | None = None) -> ScoreCache:
    return ScoreCache.open(path, contract_of(key or number_keys(0).schema))
