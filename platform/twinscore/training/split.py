"""Which rows train, stop, calibrate and test; knows nothing of models.

Without a time, rows go by a seeded hash of their key: the same row lands in the same part in any file order.

With a time, the past trains and the future tests: the first 65 % of time trains, the next 10 % stops the boosting, and
the last 25 % is the period after training. Calibration and test are random parts of that last period (10 % and 15 % of
the rows): conformal coverage is a promise about rows exchangeable with the calibration rows, and rows of the training
period are not exchangeable with later ones. The measured coverage is therefore honest for that period; when the world
moves on, it has to be watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import InputEmpty, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_ROWS", "Split", "enough_rows", "key_hash", "split_by_key", "split_by_time"]

FEWEST_ROWS = 200
"""Below this, a tenth of the rows cannot say anything about 90 % coverage."""

_SHARES = {"train": 0.70, "stop": 0.10, "calibrate": 0.10, "test": 0.10}
_TIME_TRAIN, _TIME_STOP = 0.65, 0.75
_TIME_CALIBRATE = 0.4  # of the last period


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of each part, ascending; together they are every row once.

    `how` says it in words for the model card.
    """

    train: NDArray[np.int64]
    stop: NDArray[np.int64]
    calibrate: NDArray[np.int64]
    test: NDArray[np.int64]
    how: str

    @property
    def after_training(self) -> NDArray[np.int64]:
        """Rows that the booster never saw in any way: calibration and test."""
        return np.sort(np.concatenate([self.calibrate, self.test]))


def key_hash(keys: pa.Table, seed: int) -> NDArray[np.uint64]:
    """Return one well-mixed 64-bit number per row of the key columns: (n_rows,), the same on every machine."""
    from pandas.util import hash_array

    mixed = np.full(keys.num_rows, (seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64, dtype=np.uint64)
    for column in keys.columns:
        text = pc.cast(column, pa.string()).to_numpy(zero_copy_only=False)
        mixed = _mix(mixed ^ hash_array(text.astype(object), categorize=False))
    return mixed


def split_by_key(keys: pa.Table, *, seed: int = 0) -> Split:
    """Split at random, 70 / 10 / 10 / 10 percent, by the order of the keys' hashes.

    Raises:
        InputEmpty: fewer than `FEWEST_ROWS` rows.
    """
    enough_rows(keys.num_rows)
    order = np.argsort(key_hash(keys, seed), kind="stable")
    ends = np.rint(np.cumsum(list(_SHARES.values())) * keys.num_rows).astype(np.int64)
    train, stop, calibrate, test = (np.sort(part) for part in np.split(order, ends[:-1]))
    return Split(train, stop, calibrate, test, f"by a hash of the key, seed {seed}: 70/10/10/10 %")


def split_by_time(times: pa.ChunkedArray, keys: pa.Table, *, name: str, seed: int = 0) -> Split:
    """Split by time, rows of one moment together; see the module's text for the parts.

    Raises:
        InputEmpty: fewer than `FEWEST_ROWS` rows, or too few moments to cut between.
        InputError: a time is null.
    """
    n_rows = keys.num_rows
    enough_rows(n_rows)
    if times.null_count:
        message = (
            f"The time {name!r} is null in {times.null_count} rows; a row without a time has no place in the order."
        )
        raise InputError(message, column=name, rows=times.null_count)
    moment = pc.rank(times, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    in_order = np.sort(moment)
    stop_from = in_order[int(n_rows * _TIME_TRAIN)]
    after_from = max(in_order[int(n_rows * _TIME_STOP)], stop_from + 1)
    train, stop, after = moment < stop_from, (moment >= stop_from) & (moment < after_from), moment >= after_from
    if not (train.any() and stop.any() and after.sum() >= FEWEST_ROWS // 4):
        message = f"The time {name!r} has too few different values to cut the rows into past and future; leave it out."
        raise InputEmpty(message, column=name, moments=int(moment.max()))
    later = np.flatnonzero(after)
    order = later[np.argsort(key_hash(keys.take(later), seed), kind="stable")]
    n_calibrate = round(len(later) * _TIME_CALIBRATE)
    return Split(
        np.flatnonzero(train),
        np.flatnonzero(stop),
        np.sort(order[:n_calibrate]),
        np.sort(order[n_calibrate:]),
        f"by time ({name}): first 65 % train, next 10 % stop; the last 25 % at random, seed {seed}, "
        "10 % calibrate and 15 % test",
    )


def enough_rows(n_rows: int) -> None:
    """Raise InputEmpty below `FEWEST_ROWS` rows."""
    if n_rows < FEWEST_ROWS:
        message = (
            f"{n_rows} labelled rows are too few to train, calibrate and test on; at least {FEWEST_ROWS} are needed."
        )
        raise InputEmpty(message, rows=n_rows, fewest=FEWEST_ROWS)


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Finaliser of splitmix64 (Steele, Lea and Flood, 2014): every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)
