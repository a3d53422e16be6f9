"""The expression language computes, refuses, and gives one row the bits of many."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.expression import parse
from twinscore.errors import ExpressionInvalid

NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1e-300, 1e300]))
TEXTS = (
    "log1p(a) - b / a",
    "sqrt(a) ** 2 + exp(b)",
    "where(a > b, log(a), coalesce(b, 0))",
    "clip(a, -1, 1) * min(a, b) - max(a, b, 0)",
    "abs(a) / log10(b)",
)


def values(text: str, **columns: pa.Array) -> list[float | None]:
    return list(parse(text).evaluate(columns).to_pylist())


def test_arithmetic_and_missing_values() -> None:
    """Numbers are combined row by row, and what comes from a missing value is missing."""
    result = values("debt / income", debt=pa.array([1, 2, None]), income=pa.array([2.0, None, 1.0]))

    assert result == [0.5, None, None]


def test_undefined_is_missing() -> None:
    """A division by zero, a logarithm out of its range and an overflow give no number."""
    zero = pa.array([0.0])

    assert values("1 / a", a=zero) == [None]
    assert values("log(a)", a=zero) == [None]
    assert values("exp(a + 1000)", a=zero) == [None]
    assert values("1 / (1 / a)", a=zero) == [None]


def test_calendar_parts_are_read_in_utc() -> None:
    """Hour and weekday come from the time itself; Monday is 0."""
    when = pa.array([datetime(2024, 1, 1, 13, 5, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))

    assert values("hour(t)", t=when) == [13.0]
    assert values("dayofweek(t)", t=when) == [0.0]


def test_any_column_name_can_be_read() -> None:
    """`col` reads columns whose names are not identifiers."""
    assert values('col("mean radius") * 2', **{"mean radius": pa.array([1.5])}) == [3.0]


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40), text=st.sampled_from(TEXTS))
def test_one_row_gives_the_bits_of_many(rows: list[tuple[float | None, float | None]], text: str) -> None:
    """Every element computed alone equals the element computed in a batch, bit by bit."""
    a, b = (pa.array([row[place] for row in rows], pa.float64()) for place in (0, 1))
    batch = values(text, a=a, b=b)
    alone = [values(text, a=a[i : i + 1], b=b[i : i + 1])[0] for i in range(len(rows))]

    assert [None if x is None else x.hex() for x in batch] == [None if x is None else x.hex() for x in alone]
    assert all(x is None or math.isfinite(x) for x in batch)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')", "x.y", "x[0]", "lambda: x", "[x]", "x if x else x", "1 + 2", "logp(x)", "x and x", "x @ x",
        "f'{x}'", "log(x, x)", "(" * 500, "x " * 600, "-" * 300 + "x", "x := 1", "", "log(x=1)",
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    """Nothing but the language is parsed, and the refusal says so instead of failing."""
    with pytest.raises(ExpressionInvalid):
        parse(text).check(pa.schema([("x", pa.float64())]))


def test_wrong_type_names_the_columns() -> None:
    """A function on a column of another type is refused with the column's type."""
    with pytest.raises(ExpressionInvalid, match="name: string"):
        parse("hour(name)").check(pa.schema([("name", pa.string())]))


def test_unknown_function_offers_the_nearest() -> None:
    """A misspelt function is answered with the one that was meant."""
    with pytest.raises(ExpressionInvalid, match="log1p"):
        parse("logp1(x)")


def test_survives_pickling() -> None:
    """An expression crosses processes."""
    assert pickle.loads(pickle.dumps(parse("a + 1"))).evaluate({"a": pa.array([1.0])}).to_pylist() == [2.0]


@pytest.mark.parametrize("text", ["is_null(a)", "coalesce(a, 7)", "a > 0", "where(a > 0, 1, 2)", "max(a, 1)"])
def test_nan_is_missing(text: str) -> None:
    """A table may hold NaN where JSON has null; both give the same feature."""
    nan, null = pa.array([math.nan, 1.0]), pa.array([None, 1.0], pa.float64())

    assert values(text, a=nan) == values(text, a=null)
    assert values(text, a=nan[:1]) == values(text, a=null[:1]) == values(text, a=nan)[:1]


def test_a_number_too_large_is_refused() -> None:
    """A constant that no float64 holds is answered, not raised through."""
    with pytest.raises(ExpressionInvalid, match="too large"):
        parse("a + 1" + "0" * 400)
