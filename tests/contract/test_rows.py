"""JSON rows become typed rows without silent coercion, and go back to the same bits."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.model import COLUMN_TYPES, Column, Contract
from twinscore.contract.rows import decode_rows, rows_to_table, table_to_rows

NAMES = {"int64": "i", "float64": "f", "bool": "b", "string": "s", "timestamp[us, tz=UTC]": "t", "timestamp[us]": "n",
         "date32": "d"}  # fmt: skip
CONTRACT = Contract("rows", 1, tuple(Column(NAMES[name], kind) for name, kind in COLUMN_TYPES.items()), ("i",), ())
GOOD: dict[str, Any] = {"i": 1, "f": 0.5, "b": True, "s": "x", "t": "2024-01-31T12:00:00Z", "n": "2024-01-31T12:00:00",
                        "d": "2024-01-31"}  # fmt: skip

instants = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1))
CELLS = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_infinity=False),
    "b": st.booleans(),
    "s": st.text(),
    "t": instants.map(lambda instant: instant.replace(tzinfo=UTC)),
    "n": instants,
    "d": st.dates(),
}


@given(st.lists(st.fixed_dictionaries({name: st.none() | cell for name, cell in CELLS.items()}), max_size=5))
def test_tables_go_to_json_and_back_with_the_same_bits(rows: list[dict[str, Any]]) -> None:
    """Every cell survives table, rows, JSON text, rows, table; a NaN comes back as null."""
    table = rows_to_table(rows, CONTRACT)
    text = json.dumps(table_to_rows(table), allow_nan=False)
    decoded, faults = decode_rows(json.loads(text), CONTRACT)
    back = rows_to_table(decoded, CONTRACT)

    assert [] == faults
    floats = [None if value is None or math.isnan(value) else value.hex() for value in table["f"].to_pylist()]
    assert floats == [None if value is None else value.hex() for value in back["f"].to_pylist()]
    assert table.drop_columns("f").equals(back.drop_columns("f"))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("i", 1.0, "type"),
        ("i", True, "type"),
        ("i", "1", "type"),
        ("i", 2**63, "out_of_range"),
        ("i", [1], "type"),
        ("f", True, "type"),
        ("f", "0.5", "type"),
        ("f", 2**53 + 1, "out_of_range"),
        ("f", {}, "type"),
        ("f", 10**400, "out_of_range"),
        ("b", 1, "type"),
        ("b", "true", "type"),
        ("s", 5, "type"),
        ("s", "\ud800", "type"),
        ("t", "2024-01-31T12:00:00", "type"),
        ("t", "2024-02-30T12:00:00Z", "type"),
        ("t", 1706702400, "type"),
        ("t", "2024-01-31", "type"),
        ("t", "2024-01-31T12:00:00.1234567Z", "type"),
        ("t", "2024-01-31T23:59:60Z", "type"),
        ("t", "0001-01-01T00:00:00+14:00", "out_of_range"),
        ("n", "2024-01-31T12:00:00Z", "type"),
        ("n", "", "type"),
        ("d", "2024-01-31T00:00:00", "type"),
        ("d", "2024-02-30", "type"),
        ("d", 3, "type"),
    ],
)
def test_no_value_is_coerced_in_silence(name: str, value: Any, rule: str) -> None:
    """A value of another type is a fault at its own path, with what was wanted and what was there."""
    rows, faults = decode_rows([GOOD, {**GOOD, name: value}], CONTRACT)

    assert [(f"/instances/1/{name}", name, rule, "critical")] == [
        (f.path, f.column, f.rule, f.severity) for f in faults
    ]
    assert rows[1][name] is None
    assert len(faults[0].value) <= 80
    assert faults[0].value.isprintable()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("f", 3, 3.0),
        ("f", -(2**53), -(2.0**53)),
        ("i", -(2**63), -(2**63)),
        ("s", "\x00é", "\x00é"),
        ("t", "2024-01-31 14:00:00.5+02:00", datetime(2024, 1, 31, 12, 0, 0, 500_000, UTC)),
        ("t", "2024-01-31t12:00:00z", datetime(2024, 1, 31, 12, tzinfo=UTC)),
        ("n", "2024-01-31T12:00:00.000001", datetime(2024, 1, 31, 12, 0, 0, 1)),
        ("d", "2024-02-29", date(2024, 2, 29)),
        ("d", None, None),
        ("i", None, None),
    ],
)
def test_values_become_what_arrow_holds(name: str, value: Any, expected: Any) -> None:
    """Whole numbers are floats where floats are wanted, times are UTC, null is null."""
    rows, faults = decode_rows([{**GOOD, name: value}], CONTRACT)

    assert [] == faults
    assert (expected, type(expected)) == (rows[0][name], type(rows[0][name]))


def test_absent_and_unknown_columns_are_told_apart() -> None:
    """A missing column, an unknown one with the nearest name, and a row that is no object are all listed."""
    absent = {name: value for name, value in GOOD.items() if name != "f"}
    _, faults = decode_rows([{**absent, "ff": 1}, 5, None, [], {**GOOD, "a/b~": 1}], CONTRACT)

    expected = [
        ("/instances/0/f", "missing_column"),
        ("/instances/0/ff", "unknown_column"),
        ("/instances/1", "not_an_object"),
        ("/instances/2", "not_an_object"),
        ("/instances/3", "not_an_object"),
        ("/instances/4/a~1b~0", "unknown_column"),
    ]

    assert expected == [(fault.path, fault.rule) for fault in faults]
    assert "Did you mean 'f'?" in faults[1].expected


def test_one_flat_object_has_paths_from_the_root() -> None:
    """With an empty prefix the document itself is the row."""
    _, faults = decode_rows([{**GOOD, "i": "x"}], CONTRACT, at="")

    assert ["/i"] == [fault.path for fault in faults]


def test_values_in_faults_are_one_short_cell() -> None:
    """A value is cut, its control characters are escaped, and what is not a cell is only named."""
    bad = {"i": "x" * 10_000, "f": "a\r\nb\x1b", "b": {"secret": 1}, "s": 10**5000, "t": ["x"] * 100}
    _, faults = decode_rows([{**GOOD, **bad}], CONTRACT)
    shown = {fault.column: fault.value for fault in faults}

    assert 80 == len(shown["i"])
    assert "a\\r\\nb\\x1b" == shown["f"]
    assert ("an object", "an array") == (shown["b"], shown["t"])
    assert "a number of 16610 bits" == shown["s"]


def test_a_flood_of_unknown_columns_is_answered_in_one_pass() -> None:
    """Only the first hundred faults look for the nearest name, which is slow."""
    _, faults = decode_rows([{**GOOD, **{f"x{n}": n for n in range(20_000)}}], CONTRACT)

    assert 20_000 == len(faults)
    assert "a column of the contract" == faults[-1].expected


def test_no_rows_is_an_empty_table() -> None:
    """No instances make a table of no rows with every column."""
    rows, faults = decode_rows([], CONTRACT)

    assert ([], []) == (rows, faults)
    assert CONTRACT.schema == rows_to_table(rows, CONTRACT).schema
    assert [] == table_to_rows(CONTRACT.schema.empty_table())
    assert pa.int64() == rows_to_table(rows, CONTRACT)["i"].type
