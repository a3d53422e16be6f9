"""An inferred contract accepts the data it came from, and refuses what that data never showed."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.contract.compile import compile_contract
from twinscore.contract.document import dumps_contract, loads_contract
from twinscore.contract.infer import MOST_CATEGORIES, infer_contract
from twinscore.contract.model import Expectation
from twinscore.errors import ContractInvalid, InputEmpty, SchemaMismatch

CELLS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "i": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "w": (pa.int64(), st.integers(-(2**53), 2**53)),
    "f": (pa.float64(), st.floats(width=32, allow_infinity=False)),
    "s": (pa.large_string(), st.text(max_size=3)),
    "b": (pa.bool_(), st.booleans()),
    "t": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "d": (pa.date32(), st.dates()),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    n_rows = draw(st.integers(1, 8))
    columns: dict[str, pa.Array] = {"k": pa.array(range(n_rows))}
    for name, (kind, cell) in CELLS.items():
        cells = draw(st.sampled_from([cell, st.none() | cell, st.none()]))
        columns[name] = pa.array(draw(st.lists(cells, min_size=n_rows, max_size=n_rows)), kind)
    return pa.table(columns)


@settings(deadline=None)
@given(tables())
def test_data_keep_the_contract_inferred_from_them(table: pa.Table) -> None:
    """Every row is accepted, the run passes, and the contract survives its file."""
    contract = infer_contract(table, name="c", key=["k"], groups=["s"])
    checker = compile_contract(loads_contract(dumps_contract(contract)))
    conformed = checker.conform(table)
    verdict = checker.check(conformed)

    assert [] == verdict.faults.to_pylist()
    assert [] == [r for r in checker.judge(checker.aggregate(conformed, verdict)) if not r.success]


def suite_of(table: pa.Table, **kwargs: Any) -> dict[str, Expectation]:
    return {e.id: e for e in infer_contract(table, name="c", key=["k"], **kwargs).expectations}


def test_bounds_have_room_and_keep_signs() -> None:
    """Bounds lie a range's width around the data, and what was never negative stays so."""
    table = pa.table({"k": [1, 2], "age": [20, 60], "balance": [-50.0, 150.0], "loss": [-3, -1], "one": [7.5, 7.5]})
    suite = suite_of(table)

    def bounds(name: str) -> tuple[Any, Any]:
        kwargs = suite[f"expect_column_values_to_be_between({name})"].kwargs
        return kwargs["min_value"], kwargs["max_value"]

    assert [(0, 100), (-250.0, 350.0), (-5, 0), (0.0, 15.0)] == [bounds(n) for n in ("age", "balance", "loss", "one")]


def test_what_the_booster_cannot_see_does_not_stretch_a_bound() -> None:
    """Infinite and vast numbers in the data are left out of the bounds; the built-in rules refuse them."""
    table = pa.table({"k": [1, 2, 3], "x": [math.inf, 1e300, 5.0]})
    kwargs = suite_of(table)["expect_column_values_to_be_between(x)"].kwargs

    assert 10.0 == kwargs["max_value"]


def test_free_text_gets_no_set() -> None:
    """A text column with more values than a category has is only checked for nulls."""
    texts = [str(n) for n in range(MOST_CATEGORIES + 1)]
    suite = suite_of(pa.table({"k": range(len(texts)), "few": ["b", "a"] * 500 + ["a"], "many": texts}))

    assert ["a", "b"] == suite["expect_column_values_to_be_in_set(few)"].kwargs["value_set"]
    assert "expect_column_values_to_be_in_set(many)" not in suite
    assert "expect_column_values_to_not_be_null(many)" in suite


def test_columns_are_the_key_the_features_and_what_is_named() -> None:
    """The label is left out, a group that is no feature only warns, and time has no bounds."""
    instants = pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC"))
    table = pa.table({"label": [1], "sex": ["f"], "at": instants, "age": [30], "k": [1], "j": [2]})
    contract = infer_contract(table, name="c", key=["k", "j"], features=["age"], time="at", groups=["sex"])
    severities = {e.id: e.severity for e in contract.expectations}

    assert ["k", "j", "age", "at", "sex"] == contract.schema.names
    assert "warning" == severities["expect_column_values_to_be_in_set(sex)"]
    assert "critical" == severities["expect_column_values_to_not_be_null(at)"]
    assert "expect_compound_columns_to_be_unique(k, j)" in severities


def test_what_cannot_be_inferred_is_named() -> None:
    """No rows, no such column, and a type that a contract cannot hold are three errors."""
    table = pa.table({"k": [1], "parts": [[1]]})
    with pytest.raises(InputEmpty):
        infer_contract(table.slice(0, 0), name="c", key=["k"])
    with pytest.raises(SchemaMismatch, match="Did you mean 'parts'"):
        infer_contract(table, name="c", key=["k"], features=["part"])
    with pytest.raises(ContractInvalid, match="'parts' has type list"):
        infer_contract(table, name="c", key=["k"])


@pytest.mark.parametrize("name", ["adult_train", "beijing_pm25"])
def test_real_data_keep_their_contract(name: str, request: pytest.FixtureRequest) -> None:
    """Both real data sets are accepted row by row by what is inferred from them."""
    file = Path(request.config.rootpath).parent / "shared" / "data" / f"{name}.parquet"
    if not file.exists():
        pytest.skip("the real data sets are not beside this checkout")
    table = pq.read_table(file)
    checker = compile_contract(infer_contract(table, name=name, key=["row_id"]))
    conformed = checker.conform(table)
    verdict = checker.check(conformed)

    assert 0 == verdict.n_refused
    assert all(result.success for result in checker.judge(checker.aggregate(conformed, verdict)))
