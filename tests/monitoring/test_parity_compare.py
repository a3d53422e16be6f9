"""Scored rows held against each other: which cells differ, and by how many units in the last place."""

from __future__ import annotations

import math
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.monitoring.parity_compare import VERDICT, Side, compare_sides, differing_cells, first_differing, ulps
from twinscore.scoring.table import SCORE_SCHEMA

ANY = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
LISTS = st.one_of(st.none(), st.lists(st.sampled_from(["", "a", "b", "a\x1fb"]), max_size=3))


def side(*scores: float | None, **columns: list[object]) -> Side:
    cells = {item.name: columns.get(item.name, [None] * len(scores)) for item in SCORE_SCHEMA}
    cells["score"] = list(scores)
    refused = np.array([score is None for score in scores], bool)
    return Side(pa.table(cells, schema=SCORE_SCHEMA), refused)


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=30))
def test_cells_differ_where_their_bits_do(pairs: list[tuple[float, float]]) -> None:
    """Numbers differ when one of 64 bits does; NaN of any payload is the same, and so is a cell beside itself."""
    left, right = (pa.chunked_array([pa.array(values, pa.float64())]) for values in zip(*pairs, strict=True))
    expected = [
        not (math.isnan(one) and math.isnan(other)) and struct.pack("<d", one) != struct.pack("<d", other)
        for one, other in pairs
    ]

    assert expected == differing_cells(left, right).tolist()
    assert not differing_cells(left, left).any()


def test_special_numbers_are_told_apart() -> None:
    """-0.0 differs from 0.0 in its bit and is no unit away; every NaN is one; null is no NaN and no zero."""
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
    left = pa.chunked_array([[-0.0, math.nan, None, None, math.nan]], pa.float64())
    right = pa.chunked_array([[0.0, other_nan, None, 0.0, None]], pa.float64())

    assert [True, False, False, True, True] == differing_cells(left, right).tolist()
    assert [0, 0, np.iinfo(np.int64).max, 1] == ulps(
        [-0.0, math.nan, math.nan, 1.0], [0.0, other_nan, 1.0, math.nextafter(1.0, 0)]
    ).tolist()


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=30))
def test_distance_is_numpys(pairs: list[tuple[float, float]]) -> None:
    """Units in the last place are those that `numpy.testing` counts, both ways round."""
    left, right = (np.array(values) for values in zip(*pairs, strict=True))
    expected = [int(_ordered(one)) - int(_ordered(other)) for one, other in pairs]
    most = np.iinfo(np.int64).max

    assert [min(abs(one), most) for one in expected] == ulps(left, right).tolist() == ulps(right, left).tolist()


@given(FINITE, st.integers(min_value=0, max_value=50))
def test_steps_are_counted(start: float, steps: int) -> None:
    """So many steps to the next float are so many units, and numpy's own check passes there and not one below."""
    here = start
    for _ in range(steps):
        here = math.nextafter(here, math.inf)
    apart = int(ulps([start], [here])[0])

    if math.isfinite(here):
        # Both zeros are one place, so a way across them is one shorter.
        assert apart in (steps, steps - 1)
        np.testing.assert_array_max_ulp(np.array([start]), np.array([here]), maxulp=apart)
        if apart:
            with pytest.raises(AssertionError):
                np.testing.assert_array_max_ulp(np.array([start]), np.array([here]), maxulp=apart - 1)


@given(st.lists(st.tuples(LISTS, LISTS), min_size=1, max_size=20))
def test_lists_differ_as_they_do_in_python(pairs: list[tuple[list[str] | None, list[str] | None]]) -> None:
    """No list, an empty one and one of an empty text are three; a separator inside a text joins nothing."""
    left, right = (pa.chunked_array([pa.array(values, pa.list_(pa.string()))]) for values in zip(*pairs, strict=True))

    assert [one != other for one, other in pairs] == differing_cells(left, right).tolist()


def test_the_first_differing_column_is_named() -> None:
    """A verdict hides the columns behind it; else the score comes before the decision, and distance is the score's."""
    up = math.nextafter(0.25, 1)
    left = side(0.25, 0.25, None, 0.25, decision=["no", "no", None, "no"])
    right = side(0.25, up, 0.5, 0.25, decision=["no", "yes", "yes", "yes"])
    found = compare_sides(left, right)

    assert ["", "score", VERDICT, "decision"] == [found.first_column(row) for row in range(4)]
    assert ([False, True, True, True], [0, 1, 0, 0]) == (found.rows.tolist(), found.ulps.tolist())
    assert not compare_sides(left, left).rows.any()


def test_the_first_differing_cell_of_two_tables_is_named() -> None:
    """Columns are looked at in their order; equal rows have none."""
    left = pa.table({"a": [1, 2], "b": [0.1, 0.2], "c": ["x", "y"]})
    right = pa.table({"a": [1, 2], "b": [0.1, float(np.float32(0.2))], "c": ["x", "z"]})

    assert None is first_differing(left, right, 0)
    assert ("b", 0.2, float(np.float32(0.2))) == first_differing(left, right, 1)


def _ordered(value: float) -> int:
    """Return the place of a number among all, as `numpy.testing` reckons it."""
    (bits,) = struct.unpack("<q", struct.pack("<d", value))
    return bits if bits >= 0 else -(2**63) - bits
