"""Rows that share a key, compared with pandas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch import keys
from twinscore.batch.checkpoint import KEYS
from twinscore.batch.keys import key_rule, repeated_rows, save_hashes
from twinscore.batch.plan import Shard, plan_shards
from twinscore.batch.snapshot import take_snapshot
from twinscore.contract import row_key
from twinscore.contract.row_key import key_hashes

TEXT = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab", "ba", "ü", "a" * 40]))
NUMBER = st.one_of(st.none(), st.integers(-3, 3))
FLOAT = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, float("nan"), -1.5]))


def shards_of(folder: Path, table: pa.Table, rows: int = 7) -> list[Shard]:
    pq.write_table(table, folder / "a.parquet", row_group_size=rows)
    return plan_shards(take_snapshot(folder, table.schema, contract="c"), rows)


def found(folder: Path, table: pa.Table) -> list[int]:
    shards = shards_of(folder, table)
    repeated = repeated_in(folder, shards, table)
    starts = np.cumsum([0, *(shard.rows for shard in shards)])
    return [int(starts[number] + row) for number, rows in sorted(repeated.items()) for row in rows]


def repeated_in(folder: Path, shards: list[Shard], table: pa.Table) -> dict[int, np.ndarray]:
    """Leave the hashes as workers do, a shard at a time, then look."""
    (folder / KEYS).mkdir()
    for shard in shards:
        first = shard.pieces[0].first_row
        hashes, whole = key_hashes(table.slice(first, shard.rows))
        save_hashes(folder, shard.number, hashes[whole])
    return repeated_rows(folder, shards, table.schema)


def wanted(table: pa.Table) -> list[int]:
    frame = table.to_pandas()
    whole = frame.notna().all(axis=1)
    return list(np.flatnonzero(frame.duplicated(keep=False) & whole))


@given(st.lists(st.tuples(TEXT, NUMBER, FLOAT), min_size=1, max_size=40), st.sampled_from(["t", "n", "f", "tn", "tnf"]))
def test_every_occurrence_is_found(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]], columns: str
) -> None:
    """The rows are those that pandas calls duplicated (keep=False), rows with a missing part left out."""
    texts, numbers, floats = zip(*rows, strict=True)
    every = {
        "t": pa.array(texts, pa.string()),
        "n": pa.array(numbers, pa.int64()),
        "f": pa.array(floats, pa.float64(), from_pandas=True),
    }
    table = pa.table({name: every[name] for name in columns})

    assert wanted(table) == found(tmp_path_factory.mktemp("keys"), table)


@pytest.mark.parametrize("kind", ["date", "time", "bool"])
def test_other_types_are_keys_too(tmp_path: Path, kind: str) -> None:
    """Dates, times and truths are compared by value."""
    start = datetime(2025, 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=n) for n in (1, 2, 1, 3)]
    arrays = {
        "date": pa.array([day.date() for day in days], pa.date32()),
        "time": pa.array(days, pa.timestamp("us", "UTC")),
        "bool": pa.array([True, False, True, None]),
    }

    assert [0, 2] == found(tmp_path, pa.table({"key": arrays[kind]}))


def test_equal_hashes_are_not_equal_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every hash collides, the true keys still decide."""
    monkeypatch.setattr(row_key, "hash_rows", lambda cells: np.zeros(cells[0].n_rows, np.uint64))
    table = pa.table({"a": [1, 1, 2, 2, 3], "b": ["x", "y", "x", "x", "x"]})

    assert [2, 3] == found(tmp_path, table)


def test_no_duplicates_in_many_rows(tmp_path: Path) -> None:
    """Distinct keys are never called duplicates."""
    table = pa.table({"id": pa.array([str(number) for number in range(50_000)])})

    assert repeated_in(tmp_path, shards_of(tmp_path, table, 10_000), table) == {}


def test_a_slice_of_the_range_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However thin the slices of the hashes' range, the same rows are found."""
    table = pa.table({"id": pa.array([number % 990 for number in range(1_000)])})
    monkeypatch.setattr(keys, "_SLICE", 97)
    rows = sorted((*range(10), *range(990, 1_000)))

    assert rows == found(tmp_path, table)


def test_rule_is_named_as_in_a_contract() -> None:
    """The quarantine names the expectation that the contract would write."""
    assert key_rule(["a", "b"]) == "expect_compound_columns_to_be_unique(a, b)"
