"""The checker on tables and rows: built-in rules, severities, chunks, and rules that raise."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.contract.check import Checker
from twinscore.contract.compile import compile_contract
from twinscore.contract.model import Column, Contract, Expectation
from twinscore.contract.rules import FLOAT32_MAX, Rule
from twinscore.errors import SchemaMismatch

COLUMNS = (Column("id", pa.int64()), Column("n", pa.int64()), Column("x", pa.float64()), Column("s", pa.string()))


def checker_of(*expectations: Expectation) -> Checker:
    return compile_contract(Contract("c", 1, COLUMNS, ("id",), expectations))


def between(severity: Any = "critical", **kwargs: Any) -> Expectation:
    return Expectation("expect_column_values_to_be_between", {"column": "x", **kwargs}, severity)


def table_of(**columns: list[Any]) -> pa.Table:
    n_rows = len(next(iter(columns.values())))
    filled = {"id": list(range(n_rows)), "n": [0] * n_rows, "x": [0.0] * n_rows, "s": ["a"] * n_rows, **columns}
    return pa.table({column.name: pa.array(filled[column.name], column.type) for column in COLUMNS})


def rules_by_row(checker: Checker, table: pa.Table) -> list[tuple[int, str, str]]:
    faults = checker.check(table).faults.to_pydict()
    return list(zip(faults["row"], faults["rule"], faults["value"], strict=True))


def test_numbers_that_float32_cannot_hold_are_refused() -> None:
    """Infinite and overflowing floats, and integers beyond 2**53, are faults of every contract."""
    table = table_of(
        x=[math.inf, -math.inf, math.nan, FLOAT32_MAX, math.nextafter(FLOAT32_MAX, math.inf), -1e39, None],
        n=[0, 0, 0, 2**53, 0, 0, -(2**53) - 1],
        id=[2**62, 1, 2, 3, 4, 5, 6],
    )
    expected = [(0, "not_finite", "inf"), (1, "not_finite", "-inf"), (4, "out_of_range", "3.402823466385289e+38"),
                (5, "out_of_range", "-1e+39"), (6, "out_of_range", "-9007199254740993")]  # fmt: skip

    assert expected == rules_by_row(checker_of(between(min_value=-1e300, mostly=0.1)), table)


def test_a_key_without_a_value_is_refused() -> None:
    """The key is not null, whatever the suite says, and that is told once."""
    table = table_of(id=[None, 1])
    asked = Expectation("expect_column_values_to_not_be_null", {"column": "id"})

    assert [(0, "key_not_null", "null")] == rules_by_row(checker_of(between(min_value=0)), table)
    assert [(0, asked.id, "null")] == rules_by_row(checker_of(asked), table)


def test_severities_refuse_or_flag() -> None:
    """Critical refuses, warning and info flag and let pass."""
    verdict = checker_of(between(min_value=1), between("warning", min_value=2), between("info", min_value=3)).check(
        table_of(x=[0.0, 1.0, 2.0, 3.0, None])
    )

    assert [False, True, True, True, True] == verdict.accepted.tolist()
    assert [True, True, True, False, False] == verdict.flagged.tolist()
    assert 1 == verdict.n_refused
    assert ["critical", "warning", "info", "warning", "info", "info"] == verdict.faults["severity"].to_pylist()


def test_a_missing_value_fails_only_what_asks_for_it() -> None:
    """Null and NaN break not-null, and nothing else looks at them."""
    present = Expectation("expect_column_values_to_not_be_null", {"column": "x"})
    table = table_of(x=[None, math.nan, 1.0])

    assert [(0, present.id, "null"), (1, present.id, "null")] == rules_by_row(
        checker_of(between(min_value=0), present), table
    )


@given(st.lists(st.none() | st.floats(), max_size=12), st.lists(st.integers(0, 12), max_size=4))
def test_chunks_and_slices_do_not_change_a_verdict(values: list[float | None], cuts: list[int]) -> None:
    """A table in pieces, or a slice of a larger one, gets the verdict of the same rows in one piece."""
    checker = checker_of(between(min_value=-1, max_value=1, strict_min=True))
    whole = table_of(x=values) if values else table_of(x=[1.0]).slice(0, 0)
    places = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    pieces = [whole.slice(a, b - a) for a, b in pairwise(places)]
    chunked = pa.concat_tables([whole.slice(0, 0), *pieces])
    padded = pa.concat_tables([table_of(x=[5.0, None]), whole, table_of(x=[7.0])]).combine_chunks()
    expected = checker.check(whole)

    for other in (chunked, padded.slice(2, len(values))):
        found = checker.check(other)
        assert expected.faults.drop_columns("value").equals(found.faults.drop_columns("value"))
        assert np.array_equal(expected.accepted, found.accepted)


class Exploding(Rule):
    """A rule that cannot be asked."""

    def broken(self, cells: Any) -> Any:
        """Raise."""
        raise ZeroDivisionError

    def broken_by(self, values: Any) -> bool:
        """Raise."""
        raise ZeroDivisionError


def test_a_rule_that_raises_has_failed() -> None:
    """No row passes because its rule broke; the value says what happened."""
    contract = Contract("c", 1, COLUMNS, ("id",), (between(min_value=0),))
    checker = Checker(contract, [Exploding("explode", ("x",), "peace", "critical")], [])
    verdict = checker.check(table_of(x=[1.0, 2.0]))

    assert [False, False] == verdict.accepted.tolist()
    assert ["not judged: ZeroDivisionError"] * 2 == verdict.faults["value"].to_pylist()
    assert ["not judged: ZeroDivisionError"] == [
        f.value for f in checker.check_row({"id": 1, "n": 1, "x": 1.0, "s": ""})
    ]


def test_a_row_without_a_column_has_failed() -> None:
    """A value that is not even there is no reason to pass."""
    faults = checker_of(between(min_value=0)).check_row({"id": 1, "n": 1, "s": ""}, at="/instances/3")

    assert {"/instances/3/x"} == {fault.path for fault in faults}
    assert {"not judged: KeyError"} == {fault.value for fault in faults}


def test_a_value_of_another_type_has_failed() -> None:
    """A row that did not come from `decode_rows` is judged, not crashed on."""
    assert checker_of(between(min_value=0)).check_row({"id": 1, "n": 1, "x": "1", "s": ""})


@pytest.mark.parametrize(
    ("found", "wanted", "values"),
    [
        (pa.int8(), pa.int64(), [1, None]),
        (pa.uint32(), pa.int64(), [1, None]),
        (pa.float32(), pa.float64(), [0.1, None]),
        (pa.int32(), pa.float64(), [3, None]),
        (pa.large_string(), pa.string(), ["a", None]),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), ["a", None]),
        (pa.string_view(), pa.string(), ["a", None]),
        (pa.dictionary(pa.int8(), pa.large_string()), pa.string(), ["a", None]),
        (pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("us", "UTC"), [1_000, None]),
        (pa.timestamp("s"), pa.timestamp("us"), [1, None]),
        (pa.date64(), pa.date32(), [86_400_000, None]),
        (pa.null(), pa.string(), [None]),
        (pa.float64(), pa.int64(), [None, None]),
        (pa.bool_(), pa.bool_(), [True]),
    ],
)
def test_casts_that_keep_every_value_are_made(found: pa.DataType, wanted: pa.DataType, values: list[Any]) -> None:
    """Narrow numbers widen, texts and dictionaries become text, times become microseconds."""
    checker = compile_contract(
        Contract(
            "c", 1, (Column("a", wanted),), ("a",), (Expectation("expect_table_row_count_to_equal", {"value": 1}),)
        )
    )
    table = pa.table({"extra": [0] * len(values), "a": pa.array(values, found)})
    conformed = checker.conform(table)

    assert pa.schema([("a", wanted)]) == conformed.schema
    assert table["a"].null_count == conformed["a"].null_count


@pytest.mark.parametrize(
    ("found", "wanted", "values"),
    [
        (pa.float64(), pa.int64(), [1.0]),
        (pa.int64(), pa.float64(), [2**53 + 1]),
        (pa.uint64(), pa.int64(), [2**63]),
        (pa.string(), pa.int64(), ["1"]),
        (pa.bool_(), pa.int64(), [True]),
        (pa.int64(), pa.bool_(), [1]),
        (pa.timestamp("ns"), pa.timestamp("us"), [1]),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), [1]),
        (pa.int64(), pa.timestamp("us"), [1]),
        (pa.decimal128(5, 2), pa.float64(), [None, 1]),
        (pa.list_(pa.int64()), pa.int64(), [[1]]),
        (pa.string(), pa.date32(), ["2024-01-01"]),
    ],
)
def test_casts_that_lose_are_refused(found: pa.DataType, wanted: pa.DataType, values: list[Any]) -> None:
    """The message names source, column and both types."""
    checker = compile_contract(
        Contract(
            "c", 1, (Column("a", wanted),), ("a",), (Expectation("expect_table_row_count_to_equal", {"value": 1}),)
        )
    )
    with pytest.raises(SchemaMismatch) as caught:
        checker.conform(pa.table({"a": pa.array(values, found)}), source="part-0.parquet")

    assert caught.value.message.startswith("part-0.parquet does not fit contract 'c': column 'a' is ")


VIEWS = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1], pa.int8()), pa.array(["a", None], pa.string_view()))
MORE_VIEWS = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array(["b" * 20], pa.string_view()))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([VIEWS], [None, None, "a", None]),
        ([VIEWS.slice(2), MORE_VIEWS, VIEWS.slice(0, 0)], ["a", None, "b" * 20]),
        ([VIEWS.slice(0, 2)], [None, None]),
    ],
)
def test_dictionaries_of_views_are_spelled_out(chunks: list[pa.Array], expected: list[str | None]) -> None:
    """Of one or many chunks, each with a dictionary of its own, sliced, with nulls in both places."""
    cells = pa.chunked_array(chunks)
    columns = {"id": [1] * len(cells), "n": [1] * len(cells), "x": [1.0] * len(cells), "s": cells}

    assert expected == checker_of(between(min_value=0)).conform(pa.table(columns))["s"].to_pylist()


def test_a_cast_that_arrow_lacks_is_a_refusal() -> None:
    """A dictionary of bytes behind views is no text, and not even Arrow spells it out."""
    cells = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([b"a"], pa.binary_view()))
    with pytest.raises(SchemaMismatch, match="column 's' is dictionary"):
        checker_of(between(min_value=0)).conform(pa.table({"id": [1], "n": [1], "x": [1.0], "s": cells}))


UTC_TIME, WALL_TIME, DAY = pa.timestamp("us", "UTC"), pa.timestamp("us"), pa.date32()


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize(
    ("found", "wanted", "inside", "outside"),
    [
        (UTC_TIME, UTC_TIME, [-62_135_596_800_000_000, 253_402_300_799_999_999], [-62_135_596_800_000_001]),
        (WALL_TIME, WALL_TIME, [None], [2**62]),
        (pa.timestamp("us", "America/New_York"), UTC_TIME, [253_402_300_799_999_999], [253_402_300_800_000_000]),
        (pa.timestamp("s"), WALL_TIME, [253_402_300_799], [253_402_300_800]),
        (DAY, DAY, [-719_162, 2_932_896], [2_932_897]),
        (pa.date64(), DAY, [2_932_896 * 86_400_000], [-719_163 * 86_400_000]),
    ],
)
def test_times_that_json_cannot_say_are_refused(
    found: pa.DataType, wanted: pa.DataType, inside: list[Any], outside: list[Any], chunks: int
) -> None:
    """The years 1 to 9999 in UTC, to the last microsecond; of the contract's own type and of others."""
    checker = compile_contract(
        Contract(
            "c", 1, (Column("a", wanted),), ("a",), (Expectation("expect_table_row_count_to_equal", {"value": 1}),)
        )
    )

    def table_of(values: list[Any]) -> pa.Table:
        whole = pa.array(values, pa.int32() if found == DAY else pa.int64()).cast(found)
        return pa.table({"a": pa.chunked_array([whole] * chunks)})

    assert chunks * len(inside) == checker.conform(table_of([*inside])).num_rows
    with pytest.raises(SchemaMismatch) as caught:
        checker.conform(table_of([*inside, *outside, None]))
    assert ["out_of_range"] == caught.value.fields["rules"]
    assert "column 'a' has a value out of range; expected a time within the years 1 to 9999." in caught.value.message


def test_every_fault_of_a_schema_is_told_at_once() -> None:
    """A missing column with the nearest name, a double one and a wrong type are one error."""
    table = pa.table([pa.array([1]), pa.array([1]), pa.array([1]), pa.array(["a"])], names=["id", "n", "n", "x"])
    with pytest.raises(SchemaMismatch) as caught:
        checker_of(between(min_value=0)).conform(table)

    assert 3 == len(caught.value.fields["faults"])
    assert "column 'x' is string, the contract wants float64" in caught.value.message
    assert "column 'n' (int64) is there 2 times" in caught.value.message
