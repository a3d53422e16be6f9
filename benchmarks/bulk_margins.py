"""Margins of many rows on one core: the bulk forest, the single-row walk, and XGBoost's inplace_predict, in turn.

    python benchmarks/bulk_margins.py [--rows 100000] [--trees 200] [--features 20] [--rounds 5]

Two models, numbers only and with three categories, at depth 4, 6 and 8. Times are processor time of the process, the
best of several rounds taken in turn, so that another load on the machine disturbs the ratio little.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import xgboost

from twinscore.scoring.bulk import BulkForest

if TYPE_CHECKING:
    from collections.abc import Callable


def make_model(trees: int, depth: int, n_features: int, n_coded: int) -> tuple[xgboost.Booster, np.ndarray]:
    """Return a booster, and its 20,000 encoded rows: numbers with 3 % missing, then `n_coded` categories of 12."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, n_features)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.03] = np.nan
    rows[:, n_features - n_coded :] = rng.integers(0, 12, (len(rows), n_coded))
    signal = np.nan_to_num(rows) @ rng.normal(size=n_features) + np.sin(3 * np.nan_to_num(rows[:, 0]))
    outcome = signal + 2 * (rows[:, -1] % 3 == 0) + rng.normal(size=len(rows)) > np.median(signal)
    types = ["q"] * (n_features - n_coded) + ["c"] * n_coded
    matrix = xgboost.DMatrix(rows, outcome, feature_types=types, enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "max_depth": depth, "nthread": 2}, matrix, trees), rows


def best_us(calls: dict[str, tuple[Callable[[], object], int]], rounds: int) -> dict[str, float]:
    """Return the least processor time per row of each call, in microseconds; the calls take turns."""
    found = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, (call, n_rows) in calls.items():
            start = time.process_time()
            call()
            found[name] = min(found[name], (time.process_time() - start) / n_rows * 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{given.trees} trees, {given.features} features; microseconds a row on one core")
    print(f"{'depth':>5} {'categories':>10} {'inplace':>9} {'one by one':>10} {'bulk':>7} {'ratio':>6} {'bits off':>8}")
    for depth in (4, 6, 8):
        for coded in (0, 3):
            booster, rows = make_model(given.trees, depth, given.features, coded)
            rows = np.resize(rows, (given.rows, given.features))
            booster.set_param({"nthread": 1})
            forest = BulkForest(booster)
            few = rows[:5000]
            out = np.zeros((len(few), 1), dtype=np.float32)
            off = np.sum(forest.margins(rows) != booster.inplace_predict(rows, predict_type="margin"))
            forest.flat.add_each(few, out)
            us = best_us(
                {
                    "own": (lambda: booster.inplace_predict(rows, predict_type="margin"), len(rows)),  # noqa: B023
                    "each": (lambda: forest.flat.add_each(few, out), len(few)),  # noqa: B023
                    "bulk": (lambda: forest.margins(rows), len(rows)),  # noqa: B023
                },
                given.rounds,
            )
            times = f"{us['own']:>9.2f} {us['each']:>10.2f} {us['bulk']:>7.2f}"
            print(f"{depth:>5} {coded:>10} {times} {us['own'] / us['bulk']:>6.2f} {off:>8}")


if __name__ == "__main__":
    main()
