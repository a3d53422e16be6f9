"""Raw columns become the booster's float32, the same for a row and a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.bundle.features import Feature, FeatureSpec, infer_features
from twinscore.errors import BundleInvalid, ExpressionInvalid
from twinscore.testing.models import DERIVED, make_rows

TABLE = pa.table(
    {
        "id": ["a", "b", "c"],
        "n": pa.array([1, None, 2**53], pa.int64()),
        "x": pa.array([0.1, float("nan"), None], pa.float64()),
        "ok": pa.array([True, None, False]),
        "city": pa.array(["rome", None, "oslo"]),
    }
)


def test_each_type_becomes_float32() -> None:
    """Numbers are rounded once, booleans are 0 and 1, categories are codes in sorted order, missing is NaN."""
    encoded = infer_features(TABLE, exclude=["id"]).encode(TABLE)
    expected = np.array([[1, 0.1, 1, 1], [np.nan] * 4, [2**53, np.nan, 0, 0]], dtype=np.float32)

    np.testing.assert_array_equal(encoded, expected)
    assert (encoded.dtype, encoded.flags.c_contiguous) == (np.dtype(np.float32), True)


def test_unknown_category_is_missing() -> None:
    """A category that training never saw has no code."""
    spec = infer_features(TABLE, exclude=["id"])

    assert np.isnan(spec.encode_row({"n": 1, "x": 1.0, "ok": True, "city": "paris"})[3])


@given(seed=st.integers(0, 10_000))
def test_one_row_gives_the_bits_of_a_table(seed: int) -> None:
    """`encode_row` and `encode` agree bit by bit, with missing values and derived features."""
    table = make_rows("binary", 30, seed)
    spec = infer_features(table, exclude=["row_id", "label"], derived=DERIVED)
    rows = np.stack([spec.encode_row(row) for row in table.to_pylist()])

    np.testing.assert_array_equal(spec.encode(table).view(np.uint32), rows.view(np.uint32))


def test_specification_survives_json() -> None:
    """What is written is what is read."""
    spec = infer_features(make_rows(), exclude=["row_id", "label"], derived=DERIVED)

    assert FeatureSpec.from_json(spec.to_json()) == spec


def test_times_become_calendar_features() -> None:
    """A time is no number: its hour, weekday and month are."""
    spec = infer_features(make_rows().select(["opened_at"]), exclude=[])

    assert spec.names == ["opened_at_hour", "opened_at_dayofweek", "opened_at_month"]


def test_free_text_is_refused() -> None:
    """A text column with thousands of values is named with the option that leaves it out."""
    with pytest.raises(BundleInvalid, match="--drop id"):
        infer_features(pa.table({"id": [str(i) for i in range(1001)]}), exclude=[])


def test_misfits_are_named() -> None:
    """A feature without a column, twice the same name and an unreadable expression are refused."""
    schema = pa.schema([("income", pa.float64())])
    with pytest.raises(BundleInvalid, match="Did you mean 'income'"):
        FeatureSpec(schema, (Feature("incom"),))
    with pytest.raises(BundleInvalid, match="twice"):
        FeatureSpec(schema, (Feature("income"), Feature("income")))
    with pytest.raises(ExpressionInvalid, match="needs column 'debt'"):
        FeatureSpec(schema, (Feature("ratio", expression="debt / income"),))
