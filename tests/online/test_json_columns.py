"""Bodies of many rows read straight into columns: never another table than the strict reader's."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.online.json_bodies import BLANKS, CONTRACT, ODD, ROW, TYPES, written

from twinscore.contract.columns import ColumnDecoder
from twinscore.contract.model import Column, Contract
from twinscore.errors import RequestError
from twinscore.online import strict_json
from twinscore.online.json_columns import JsonColumns

READER = JsonColumns(CONTRACT, fewest_rows=1, most_rows=100)


def strictly(body: bytes) -> pa.Table | None:
    """Return what the strict reader and the contract's decoder by column make of a body."""
    try:
        value: Any = strict_json.decode(body)
    except RequestError:
        return None
    if not isinstance(value, dict) or list(value) != ["instances"] or not isinstance(value["instances"], list):
        return None
    return ColumnDecoder(CONTRACT).table_of_rows(value["instances"])


def bits(table: pa.Table | None) -> bytes | None:
    """Return the bytes of a table, which tell 0.0 from -0.0, and what lies under a null."""
    if table is None:
        return None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


@given(st.lists(ROW, min_size=1, max_size=4), BLANKS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_a_table_has_the_bits_of_the_strict_readers(rows: list[dict[str, str]], blank: str, flip: bool) -> None:
    """Numbers of every form, text, instants and nulls, in any order of columns."""
    body = written(rows, blank, flip).encode()
    table = READER.table_of(body)

    assert table is None or bits(table) == bits(strictly(body))


@given(
    st.lists(ROW, min_size=1, max_size=3), ODD, st.sampled_from(sorted(TYPES)), st.integers(0, 400), st.integers(0, 3)
)
@example([dict.fromkeys(TYPES, "null")], "", "f", 20, 3)
@settings(max_examples=400, deadline=None)
def test_a_broken_body_is_left_alone(rows: list[dict[str, str]], odd: str, name: str, at: int, cut: int) -> None:
    """A cell that is none, and a body cut or stuffed anywhere: no table, or the strict reader's."""
    whole = written([*rows[:-1], rows[-1] | {name: odd}], " ", False).encode()
    clean = written(rows, "", False).encode()
    for body in (whole, clean[:at] + odd.encode() + clean[at + cut :], clean[:at]):
        table = READER.table_of(body)
        assert table is None or bits(table) == bits(strictly(body))


def test_clean_rows_are_not_doubted() -> None:
    """Rows as people send them are read here, else this way would be fast for nobody."""
    row = {"f": -0.7649, "i": 7, "b": True, "s": "Zoë", "day": "2024-01-31", "at": "2024-01-31T12:00:00Z",
           "plain": None, 'a "quoted" név': 0.1234567890123456}  # fmt: skip
    for indent in (None, 1):
        body = json.dumps({"instances": [row] * 20}, ensure_ascii=False, indent=indent).encode()
        table = READER.table_of(body)
        assert table is not None
        assert bits(table) == bits(strictly(body))


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {**row, "s": "x" * 10_001},
        lambda row: {name: cell for name, cell in row.items() if name != "f"},
        lambda row: {**row, "other": 1},
        lambda row: [row],
        lambda row: {**row, "i": True},
    ],
)
def test_what_has_to_be_named_is_left_to_those_who_name_it(change: Any) -> None:
    """Long text, missing and unknown columns, other shapes and types."""
    row: dict[str, Any] = dict.fromkeys(TYPES)
    assert READER.table_of(json.dumps({"instances": [row, change(row)]}, ensure_ascii=False).encode()) is None


def test_a_key_that_comes_twice_is_left_alone() -> None:
    """Two readers of one body could otherwise score two different rows."""
    row = written([dict.fromkeys(TYPES, "null")], "", False)
    twice = row.replace('"f":null', '"f":null,"f":null')
    instead = row.replace('"i":null', '"f":null')

    assert READER.table_of(row.encode()) is not None
    assert READER.table_of(twice.encode()) is None
    assert READER.table_of(instead.encode()) is None


def test_more_rows_than_allowed_are_left_alone() -> None:
    """The reader that counts them says how many there are."""
    rows = [dict.fromkeys(TYPES, "null")]

    assert READER.table_of(written(rows * 100, "", False).encode()) is not None
    assert READER.table_of(written(rows * 101, "", False).encode()) is None


LONG = ("n", "sixsix", "sevense", "abcdefghijklmno1", "abcdefghijklmno2")
LONG_READER = JsonColumns(
    Contract("long", 1, tuple(Column(name, pa.float64()) for name in LONG), ("n",), ()), fewest_rows=1, most_rows=100
)


@given(at=st.integers(0, 400))
def test_names_are_told_apart_by_their_last_byte(at: int) -> None:
    """Names longer than a word of memory, and of exactly one, belong to their own column; a cut body to nobody."""
    body = json.dumps({"instances": [{name: float(number) for number, name in enumerate(LONG[::-1])}] * 3}).encode()

    found, cut = LONG_READER.table_of(body), LONG_READER.table_of(body[: min(at, len(body) - 1)])

    assert cut is None
    assert found is not None
    assert found.to_pylist() == [{name: float(len(LONG) - 1 - number) for number, name in enumerate(LONG)}] * 3
