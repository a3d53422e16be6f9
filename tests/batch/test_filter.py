"""Filters: what they may say, which rows they keep, and that pruning keeps every one of them."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.batch.filter import parse_filter
from twinscore.batch.intake import open_intake
from twinscore.batch.plan import plan_shards
from twinscore.batch.reading import read_piece
from twinscore.batch.spec import ScoreSpec
from twinscore.contract.model import Column, Contract
from twinscore.errors import InputEmpty, SchemaMismatch, SettingsInvalid

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("part", pa.int64()),
        ("whole", pa.int64()),
        ("real", pa.float64()),
        ("text", pa.string()),
        ("truth", pa.bool_()),
        ("day", pa.date32()),
        ("time", pa.timestamp("us", "UTC")),
    ]
)
CONTRACT = Contract("c", 1, tuple(Column(item.name, item.type) for item in SCHEMA), ("id",), ())
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "part": st.integers(0, 2),
    "whole": st.integers(-3, 3) | st.just(2**60 + 1),
    "real": st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.5]),
    "text": st.sampled_from(["", "a", "B", "é", "zz", "𝄞"]),
    "truth": st.booleans(),
    "day": st.dates(dt.date(1969, 12, 30), dt.date(1970, 1, 3)),
    "time": st.datetimes(dt.datetime(1969, 12, 31), dt.datetime(1970, 1, 2), timezones=st.just(dt.UTC)),
}


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    columns = {name: st.none() | values for name, values in VALUES.items()}
    columns["real"] |= st.just(float("nan"))
    return st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=30)


@st.composite
def conditions(draw: st.DrawFn) -> list[Any]:
    name = draw(st.sampled_from(list(VALUES)))
    order = [] if name == "truth" else ["<", "<=", ">", ">="]
    op = draw(st.sampled_from(["=", "==", "!=", "in", "not in", "is null", "is not null", *order]))
    if op.startswith("is"):
        return [name, op]
    if op.endswith("in"):
        return [name, op, draw(st.lists(VALUES[name], min_size=1, max_size=3))]
    return [name, op, draw(VALUES[name])]


DNF = st.lists(st.lists(conditions(), min_size=1, max_size=2), min_size=1, max_size=2)


def kept_by_pandas(frame: pd.DataFrame, dnf: list[list[Any]]) -> set[int]:
    """Say with pandas and plain Python which ids stay."""
    calls = {
        "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
        "in": lambda a, b: a in b, "not in": lambda a, b: a not in b,
    }  # fmt: skip

    def one(condition: list[Any]) -> pd.Series:
        column = frame[condition[0]]
        if condition[1].startswith("is"):
            return column.isna() == (condition[1] == "is null")
        return column.map(lambda cell: not pd.isna(cell) and bool(calls[condition[1]](cell, condition[2]))).astype(bool)

    mask = pd.Series(False, frame.index)
    for every in dnf:
        held = pd.Series(True, frame.index)
        for condition in every:
            held &= one(condition)
        mask |= held
    return set(frame.loc[mask, "id"])


@settings(deadline=None, max_examples=120)
@given(rows(), DNF, st.integers(1, 7), st.integers(1, 4), st.booleans(), st.integers(1, 20))
def test_any_cut_keeps_the_rows_that_pandas_keeps(
    cells: list[dict[str, Any]], dnf: list[list[Any]], file_rows: int, group: int, hive: bool, shard_rows: int
) -> None:
    """Files, row groups, folders and shards change nothing: the same rows come, each with its number in its file."""
    table = pa.Table.from_pylist([{**row, "id": number} for number, row in enumerate(cells)], SCHEMA)
    folder = Path(tempfile.mkdtemp())
    try:
        truth = write_cut(table, folder, file_rows, group, hive)
        wanted = kept_by_pandas(pd.DataFrame(table.to_pylist(), dtype=object), dnf)
        spec = ScoreSpec(model="m", input=str(folder), output="/o", filter=dnf, empty="commit", shard_rows=shard_rows)
        intake = open_intake(spec, CONTRACT)
        read, found, tables = 0, {}, []
        for shard in plan_shards(intake.snapshot, shard_rows):
            for piece in shard.pieces:
                for some in read_piece(piece, SCHEMA, recipe=intake.recipe):
                    read += some.read
                    tables.append(some.table)
                    assert some.numbers is not None
                    found.update(
                        {
                            (piece.name, row): one
                            for row, one in zip(some.numbers, some.table["id"].to_pylist(), strict=True)
                        }
                    )
        assert wanted == set(found.values())
        assert {place: one for place, one in truth.items() if one in wanted} == found
        assert intake.snapshot.rows == intake.snapshot.rows_left_out + read == len(cells)
        if tables:
            got = pa.concat_tables(tables).sort_by("id")
            assert str(got.to_pylist()) == str(table.take(pa.array(sorted(wanted), pa.int64())).to_pylist())
    finally:
        shutil.rmtree(folder)


def write_cut(table: pa.Table, folder: Path, file_rows: int, group: int, hive: bool) -> dict[tuple[str, int], int]:
    """Write a table as files of some rows, in folders by `part` or not, and return which row each id is."""
    where: dict[tuple[str, int], int] = {}
    parts = table["part"].to_pylist()
    for value in dict.fromkeys(parts) if hive else [None]:
        some = table.filter(pa.array([part == value for part in parts])) if hive else table
        name = f"part={'__HIVE_DEFAULT_PARTITION__' if value is None else value}" if hive else "."
        (folder / name).mkdir(exist_ok=True)
        some = some.drop_columns(["part"]) if hive else some
        for number, start in enumerate(range(0, some.num_rows, file_rows)):
            piece = some.slice(start, file_rows)
            path = folder / name / f"{number}.parquet"
            pq.write_table(piece, path, row_group_size=group)
            below = path.relative_to(folder).as_posix()
            where.update({(below, row): one for row, one in enumerate(piece["id"].to_pylist())})
    return where


def test_row_groups_are_ruled_out_by_their_statistics(tmp_path: Path) -> None:
    """Row groups outside the asked range are not read, and counted."""
    pq.write_table(pa.table({"id": list(range(100))}), tmp_path / "a.parquet", row_group_size=10)
    contract = Contract("c", 1, (Column("id", pa.int64()),), ("id",), ())
    spec = ScoreSpec(model="m", input=str(tmp_path), output="/o", filter=[["id", ">=", 25], ["id", "<", 42]])
    intake = open_intake(spec, contract)
    pieces = [piece for shard in plan_shards(intake.snapshot) for piece in shard.pieces]
    kept = [number for piece in pieces for some in read_piece(piece, intake.wanted, recipe=intake.recipe)
            for number in (some.numbers if some.numbers is not None else ())]  # fmt: skip

    assert [(2, 5)] == [(piece.first_group, piece.end_group) for piece in pieces]
    assert intake.snapshot.rows_left_out == 70
    assert kept == list(range(25, 42))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("country", "must be a list of conditions"),
        ([], "must be a list of conditions"),
        ([["country", "is in", ["DE"]]], "the operator 'is in'. Did you mean"),
        ([["country", "=="]], "must be a value"),
        ([["country", "is null", 1]], "must be no value"),
        ([["country", "in", "DE"]], "must be a list of values after 'in'"),
        ([["country", "in", ["DE", None]]], "write [column, is null]"),
        ([["country", "=", float("nan")]], "write [column, is null]"),
        ([["country", "=", {"a": 1}]], "must be values that are text"),
        ([["country"]], "must be conditions of column, operator and value"),
        ([[["country", "=", 1], "x"]], "must be"),
    ],
)
def test_filter_that_cannot_be_read(given: object, said: str) -> None:
    """What is no filter is refused when the spec is read."""
    with pytest.raises(SettingsInvalid) as caught:
        parse_filter(given)

    assert said in caught.value.message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([["whole", "=", "1"]], "column 'whole' (int64) with '1', which is str."),
        ([["whole", ">", 1.5]], "column 'whole' (int64) with 1.5, which is float."),
        ([["text", "=", 1]], "column 'text' (string) with 1, which is int. Put it in quotes."),
        ([["text", "=", False]], "Put it in quotes."),
        ([["truth", ">", False]], "asks for an order, which column 'truth' (bool) has not"),
        ([["day", "=", "soon"]], "column 'day' (date32) with 'soon'"),
        ([["time", "=", dt.datetime(2020, 1, 1)]], "column 'time' (timestamp[us, tz=UTC])"),
        ([["hole", "=", 1]], "speaks of column 'hole', which is missing in"),
    ],
)
def test_filter_that_does_not_fit_the_columns(tmp_path: Path, given: object, said: str) -> None:
    """A value of another type, or a column that is not there, is refused before a row is read."""
    pq.write_table(SCHEMA.empty_table(), tmp_path / "a.parquet")

    with pytest.raises(SchemaMismatch) as caught:
        open_intake(ScoreSpec(model="m", input=str(tmp_path), output="/o", filter=given), CONTRACT)

    assert said in caught.value.message


def test_filter_that_leaves_no_row_is_named(tmp_path: Path) -> None:
    """A filter that statistics rule out everywhere is an empty input."""
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "a.parquet")
    contract = Contract("c", 1, (Column("id", pa.int64()),), ("id",), ())

    with pytest.raises(InputEmpty, match="The filter id > 5 leaves none of the 2 rows"):
        open_intake(ScoreSpec(model="m", input=str(tmp_path), output="/o", filter=[["id", ">", 5]]), contract)
