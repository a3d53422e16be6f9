"""Contributions per row on one core: XGBoost's pred_contribs beside the tables, for many rows and for one.

    python benchmarks/attribution.py [--rows 200000] [--own-rows 2000] [--trees 200] [--features 20] [--depths 4 6 8]

Times are processor time of the process, the best of some rounds. The difference is the largest between both over the
rows that XGBoost explained; the error is the largest between base plus contributions and the margin over all rows.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import xgboost

from twinscore.scoring.attribution import EXACT, Attribution

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


def best_us(call: Callable[[], object], n_rows: int, rounds: int) -> float:
    """Return the least processor time per row over some rounds, in microseconds."""
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append((time.process_time() - start) / n_rows * 1e6)
    return min(found)


def compare(depth: int, coded: int, given: argparse.Namespace) -> None:
    """Print one line: a model, three times, the ratio, the size of the tables and how well the numbers agree."""
    booster, rows = make_model(given.trees, depth, given.features, coded)
    booster.set_param({"nthread": 1})
    rows = np.resize(rows, (given.rows, given.features))
    few = rows[: given.own_rows]
    start = time.process_time()
    attribution = Attribution(booster)
    made_s = time.process_time() - start
    if attribution.method != EXACT:
        print(f"{depth:>5} {coded:>10}  no tables: {attribution.mismatch}")
        return
    matrix = xgboost.DMatrix(few, feature_types=booster.feature_types, enable_categorical=True)
    expected = booster.predict(matrix, pred_contribs=True)[:, :-1]
    found = attribution.contributions(rows)
    difference = np.abs(found[: len(few)] - expected).max()
    error = np.abs(found.sum(axis=1) + attribution.base - booster.inplace_predict(rows, predict_type="margin")).max()
    own_us = best_us(lambda: booster.predict(matrix, pred_contribs=True), len(few), 2)
    many_us = best_us(lambda: attribution.contributions(rows), len(rows), 3)
    one_us = best_us(lambda: [attribution.contributions(row[None]) for row in rows[:300]], 300, 3)
    print(
        f"{depth:>5} {coded:>10} {own_us:>14.1f} {many_us:>8.1f} {own_us / many_us:>6.1f} {one_us:>8.1f} "
        f"{attribution.table_bytes / 2**20:>7.1f} {made_s:>6.2f} {difference:>10.1e} {error:>8.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--own-rows", type=int, default=2000)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--depths", type=int, nargs="+", default=[4, 6, 8])
    given = parser.parse_args()
    print(f"{given.trees} trees, {given.features} features; microseconds a row on one core")
    print("depth categories  pred_contribs   tables  ratio  one row     MiB made s difference    error")
    for depth in given.depths:
        for coded in (0, 3):
            compare(depth, coded, given)


if __name__ == "__main__":
    main()
