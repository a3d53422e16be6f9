"""Splits: every row once, the same rows in any order, the past before the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import InputEmpty, InputError
from twinscore.training.split import Split, key_hash, split_by_key, split_by_time


def keys(numbers: np.ndarray) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64())})


def together(split: Split) -> list[int]:
    return sorted(np.concatenate([split.train, split.stop, split.calibrate, split.test]).tolist())


@given(st.integers(200, 600), st.integers(0, 5))
def test_every_row_is_in_one_part(n_rows: int, seed: int) -> None:
    """The parts are disjoint, complete and of the announced sizes."""
    split = split_by_key(keys(np.arange(n_rows)), seed=seed)

    assert list(range(n_rows)) == together(split)
    assert abs(len(split.train) - 0.7 * n_rows) <= 1
    assert abs(len(split.test) - 0.1 * n_rows) <= 1


@given(st.randoms(use_true_random=False))
def test_a_row_stays_in_its_part_whatever_the_order(random: object) -> None:
    """Shuffling the file moves no row to another part."""
    order = np.arange(300)
    random.shuffle(order)  # type: ignore[attr-defined]

    straight, shuffled = split_by_key(keys(np.arange(300))), split_by_key(keys(order))

    assert set(straight.test.tolist()) == set(order[shuffled.test].tolist())
    assert set(straight.train.tolist()) == set(order[shuffled.train].tolist())


def test_another_seed_is_another_split() -> None:
    """The seed decides, and nothing else."""
    assert set(split_by_key(keys(np.arange(500)), seed=1).test) != set(split_by_key(keys(np.arange(500)), seed=2).test)


def test_hashes_do_not_depend_on_the_keys_type() -> None:
    """A key read as text and as a number goes the same way, and several columns count together."""
    numbers, text = keys(np.arange(50)), pa.table({"id": [str(n) for n in range(50)]})

    assert (key_hash(numbers, 0) == key_hash(text, 0)).all()
    assert len(np.unique(key_hash(pa.table({"a": [1, 1, 2], "b": ["x", "y", "x"]}), 0))) == 3


def test_the_past_trains_and_the_future_tests() -> None:
    """No training row is later than a stopping row, no stopping row later than calibration and test."""
    rng = np.random.default_rng(0)
    moments = rng.integers(0, 400, 1000)
    times = pa.chunked_array([[datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=int(m)) for m in moments]])

    split = split_by_time(times, keys(np.arange(1000)), name="t")

    assert list(range(1000)) == together(split)
    assert moments[split.train].max() < moments[split.stop].min()
    assert moments[split.stop].max() < moments[split.after_training].min()
    assert abs(len(split.calibrate) / len(split.after_training) - 0.4) < 0.01


def test_calibration_and_test_are_mixed_in_time() -> None:
    """Both parts of the last period come from all of it, so that they are exchangeable."""
    times = pa.chunked_array([pa.array(range(2000))])

    split = split_by_time(times, keys(np.arange(2000)), name="t")

    assert abs(split.calibrate.mean() - split.test.mean()) < 40


def test_what_cannot_be_split_is_said() -> None:
    """Too few rows, a null time and a time that stands still each have their message."""
    with pytest.raises(InputEmpty, match="at least 200"):
        split_by_key(keys(np.arange(199)))
    with pytest.raises(InputError, match="null in 1 rows"):
        split_by_time(pa.chunked_array([[None, *range(299)]]), keys(np.arange(300)), name="t")
    with pytest.raises(InputEmpty, match="too few different values"):
        split_by_time(pa.chunked_array([[7] * 300]), keys(np.arange(300)), name="t")
