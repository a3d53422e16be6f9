"""Joined features beside the table that batch made: value, age, and every way of having none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.cache.joined import FeatureTable, JoinedCells, compare_joined
from twinscore.errors import FileUnreadable, SchemaMismatch

from .conftest import MADE, MADE_S
from .test_features import CONTRACT, SEEN, SPEC, lookup, row

SCHEMA = pa.schema([("customer", pa.int64()), ("income", pa.float64()), ("segment", pa.string()), ("seen_at", SEEN)])


def compared(folder: Path, online: list[dict[str, Any]], later: list[dict[str, Any]], asked: list[dict[str, Any]],
             now_s: float = MADE_S) -> dict[str, JoinedCells]:  # fmt: skip
    """Return what is found when replicas map a file of `online`, and the table has `later` rows beside these."""
    found = lookup(folder, online)
    table = folder / "now"
    table.mkdir()
    pq.write_table(pa.Table.from_pylist([*online, *later], schema=SCHEMA), table / "0.parquet")
    keys = pa.table({"customer": pa.array([one["customer"] for one in asked], pa.int64())})
    truth = FeatureTable(table, SPEC, CONTRACT, keys)
    return compare_joined(asked, [now_s] * len(asked), truth, found, SPEC.columns)


def test_every_difference_has_its_kind(tmp_path: Path) -> None:
    """Null, not found, too old, stale, another value and one that is in no table are told apart; equal is none."""
    online = [row(1), row(2, age_s=1_800), row(3, age_s=7_200), row(4, income=None), row(7)]
    later = [row(2, income=2.5, age_s=60), row(5), row(4, income=4.5, age_s=30)]
    asked = [
        {"customer": 1, "income": 1.5, "segment": "a"},  # as it is
        {"customer": 2, "income": 1.5, "segment": "a"},  # of half an hour before
        {"customer": 3, "income": None, "segment": None},  # two hours old, an hour is allowed
        {"customer": 4, "income": None, "segment": "a"},  # null in the file
        {"customer": 5, "income": None, "segment": None},  # not in the file
        {"customer": 6, "income": 9.0, "segment": None},  # in no table
        {"customer": 7, "income": 1.25, "segment": "a"},  # neither the file's nor the table's
        {"customer": 8, "income": None, "segment": None},  # nobody knows it, and nobody says so
    ]
    found = compared(tmp_path, online, later, asked)

    assert {"stale": 1, "too_old": 1, "null": 1, "not_found": 1, "not_in_table": 1, "value": 1} == found["income"].kinds
    assert {"too_old": 1, "not_found": 1} == found["segment"].kinds
    assert (8, 1_740.0) == (found["income"].checked, found["income"].behind_s)
    assert "customer=2: income is 2.5 in the table, 1.5 online (stale, 1740 s older)" == found["income"].first


def test_what_counts_is_what_was_there_at_the_request(tmp_path: Path) -> None:
    """A row of the table that came after a request does not make its answer stale."""
    later = [row(1, income=2.5, age_s=-600)]
    found = compared(tmp_path, [row(1)], later, [{"customer": 1, "income": 1.5, "segment": "a"}])

    assert ({}, {}) == (found["income"].kinds, found["segment"].kinds)


def test_a_row_without_the_cell_is_what_it_would_be_filled_with(tmp_path: Path) -> None:
    """Keys alone: the file that replicas map is held against the table."""
    later = [row(2, income=2.5, age_s=60)]
    found = compared(tmp_path, [row(1), row(2, age_s=90)], later, [{"customer": 1}, {"customer": 2}])

    assert ({"stale": 1}, {}, 30.0) == (found["income"].kinds, found["segment"].kinds, found["segment"].behind_s)


def test_without_a_file_nothing_is_found_in_it(tmp_path: Path) -> None:
    """Replicas that map no file find nothing, and that is what is said."""
    pq.write_table(pa.Table.from_pylist([row(1)], schema=SCHEMA), tmp_path / "t.parquet")
    keys = pa.table({"customer": pa.array([1], pa.int64())})
    truth = FeatureTable(tmp_path / "t.parquet", SPEC, CONTRACT, keys)
    found = compare_joined([{"customer": 1}], [MADE_S], truth, None, ["income"])

    assert {"not_found": 1} == found["income"].kinds


def test_a_table_that_is_none_is_named(tmp_path: Path) -> None:
    """A missing file, and a missing column with the near one."""
    keys = pa.table({"customer": pa.array([1], pa.int64())})
    with pytest.raises(FileUnreadable, match="cannot be read"):
        FeatureTable(tmp_path / "absent", SPEC, CONTRACT, keys)
    wrong = pa.table({"customer": [1], "incomes": [1.0], "segment": ["a"], "seen_at": [MADE - timedelta(seconds=1)]})
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(SchemaMismatch, match="incomes"):
        FeatureTable(tmp_path / "wrong.parquet", SPEC, CONTRACT, keys)
