"""Looking keys up: as a dictionary would, whatever the type and however many columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch import key_set
from twinscore.batch.key_set import KeySet

KEYS = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.one_of(st.none(), st.sampled_from(["", "a", "b"]))),
    max_size=20,
)


def table(rows: Sequence[tuple[int | None, str | None]]) -> pa.Table:
    return pa.table(
        {
            "number": pa.array([row[0] for row in rows], pa.int64()),
            "text": pa.array([row[1] for row in rows], pa.string()),
        }
    )


@given(KEYS, KEYS)
def test_places_are_those_of_a_dictionary(
    known: list[tuple[int | None, str | None]], asked: list[tuple[int | None, str | None]]
) -> None:
    """Each key is found at its first place; one that is absent, or misses a part, is not."""
    first: dict[tuple[int | None, str | None], int] = {}
    for place, key in enumerate(known):
        first.setdefault(key, place)
    expected = [-1 if None in key else first.get(key, -1) for key in asked]

    assert KeySet(table(known)).places(table(asked)).tolist() == expected


@given(KEYS)
def test_repeated_keys_are_all_their_places(known: list[tuple[int | None, str | None]]) -> None:
    """Every occurrence counts, as in a run; a key that misses a part never does."""
    expected = [place for place, key in enumerate(known) if None not in key and known.count(key) > 1]

    assert KeySet(table(known)).repeated().tolist() == expected


def test_equal_hashes_are_not_equal_keys() -> None:
    """Where all hashes collide, the true values decide."""
    rows = [(number, "x") for number in range(50)]

    def collide(keys: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(keys.num_rows, np.uint64), np.ones(keys.num_rows, bool)

    before = key_set.key_hashes
    key_set.key_hashes = collide  # type: ignore[assignment]
    try:
        found = KeySet(table(rows)).places(table([(7, "x"), (7, "y"), (49, "x")]))
        assert KeySet(table(rows)).repeated().tolist() == []
    finally:
        key_set.key_hashes = before

    assert found.tolist() == [7, -1, 49]


def test_times_days_truths_and_numbers_are_keys() -> None:
    """Every type that a contract has can be looked up; -0.0 is 0.0."""
    day, moment = dt.date(2026, 1, 2), dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)
    columns = {
        "day": pa.array([day, day]),
        "moment": pa.array([moment, moment], pa.timestamp("us", "UTC")),
        "truth": pa.array([True, False]),
        "number": pa.array([0.0, 1.5]),
    }
    keys = KeySet(pa.table(columns))

    assert keys.places(pa.table({**columns, "number": pa.array([-0.0, 2.5])})).tolist() == [0, -1]
