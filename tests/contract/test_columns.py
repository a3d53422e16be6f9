"""Decoding by column accepts what decoding by row accepts, with the same bits, and leaves every doubt to it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.columns import ColumnDecoder
from twinscore.contract.model import COLUMN_TYPES, Column, Contract
from twinscore.contract.rows import decode_rows, rows_to_table, table_to_rows

from .test_rows import CELLS, CONTRACT, GOOD

DECODER = ColumnDecoder(CONTRACT)
LONE = Contract("one", 1, (Column("s", pa.string()),), ("s",), ())

odd_numbers = st.sampled_from([2**53, -(2**53), 2**53 + 1, 2**63, -(2**63), -(2**63) - 1, 10**400, -0.0])
odd_texts = st.sampled_from(["2024-01-31T12:00:00Z", "2024-01-31T12:00:00", "2024-01-31", "\ud800", "0001-01-01"])
anything = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), odd_numbers, odd_texts, st.just([]), st.just({})
)
good_rows = st.fixed_dictionaries({name: st.none() | cell for name, cell in CELLS.items()}).map(
    lambda row: table_to_rows(rows_to_table([row], CONTRACT))[0]
)


@st.composite
def bodies(draw: st.DrawFn) -> list[Any]:
    """Rows as JSON holds them, most of them good, with at most a few cells, names or rows replaced."""
    rows: list[Any] = draw(st.lists(good_rows, min_size=1, max_size=4))
    for _ in range(draw(st.integers(0, 2))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        if not isinstance(row, dict):
            continue
        kind = draw(st.sampled_from(["cell", "cell", "cell", "missing", "unknown", "row"]))
        if kind == "cell":
            row[draw(st.sampled_from(sorted(GOOD)))] = draw(anything)
        elif kind == "missing":
            row.pop(draw(st.sampled_from(sorted(GOOD))), None)
        elif kind == "unknown":
            row["other"] = 1
        else:
            rows[-1] = draw(anything)
    return rows


@given(bodies())
def test_a_table_means_no_fault_and_the_same_bits(rows: list[Any]) -> None:
    """Where there is a table, the row decoder finds no fault, and its own table is the same."""
    table = DECODER.table_of_rows(rows)
    decoded, faults = decode_rows(rows, CONTRACT)

    if faults:
        assert table is None
    elif table is not None:
        wanted = rows_to_table(decoded, CONTRACT)
        assert wanted.drop_columns("f").equals(table.drop_columns("f"))
        assert [str(value) for value in wanted["f"].to_pylist()] == [str(value) for value in table["f"].to_pylist()]


@given(st.lists(good_rows, min_size=1, max_size=5))
def test_clean_rows_are_not_doubted(rows: list[dict[str, Any]]) -> None:
    """Rows and columns without a fault always become the same table."""
    columns = {name: [row[name] for row in rows] for name in reversed(GOOD)}
    table = DECODER.table_of_rows(rows)

    assert table is not None
    assert table.equals(DECODER.table_of_columns(columns))
    assert rows_to_table(decode_rows(rows, CONTRACT)[0], CONTRACT).equals(table)


def test_a_whole_number_stands_for_a_float() -> None:
    """The float64 that is exactly the number; the next one beyond 2**53 is left to the row decoder."""
    table = DECODER.table_of_rows([GOOD | {"f": 2**53}, GOOD | {"f": 0.5}])

    assert table is not None
    assert [float(2**53), 0.5] == table["f"].to_pylist()
    assert DECODER.table_of_rows([GOOD, GOOD | {"f": 2**53 + 1}]) is None


@pytest.mark.parametrize("rows", [[], [{}], [{"s": "x"}, {"t": "x"}], [{"s": 1}], ["s"], [None]])
def test_a_contract_of_one_column_is_no_exception(rows: list[Any]) -> None:
    """One column is read as many are, and its doubts are left alone."""
    assert ColumnDecoder(LONE).table_of_rows(rows) is None
    assert pa.table({"s": ["x", None]}).equals(ColumnDecoder(LONE).table_of_rows([{"s": "x"}, {"s": None}]))


@pytest.mark.parametrize(
    "columns",
    [{}, {"i": [1]}, {name: [value] for name, value in GOOD.items()} | {"other": [1]},
     {name: [value] for name, value in GOOD.items()} | {"i": [1, 2]}],
)  # fmt: skip
def test_columns_that_do_not_fit_are_doubted(columns: dict[str, Any]) -> None:
    """Missing, unknown and uneven columns are no table."""
    assert len(GOOD) == len(COLUMN_TYPES)
    assert DECODER.table_of_columns(columns) is None
