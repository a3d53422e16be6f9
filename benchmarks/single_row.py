"""What one row costs: the flat forest, the whole single-row scorer, and XGBoost's own call for one row.

    python benchmarks/single_row.py [--trees 200] [--depth 6] [--features 20] [--rows 2000]

The model is binary over numbers with 3 % missing. Times are processor time of the calling thread, the best of several
rounds, so that another load on the machine disturbs them little.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xgboost

from twinscore.bundle.calibration import fit_classes
from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import infer_features
from twinscore.bundle.files import read_bundle, write_bundle
from twinscore.contract.infer import infer_contract
from twinscore.scoring.forest import FlatForest
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.bundle.files import Bundle


def make_table(n_rows: int, n_features: int) -> pa.Table:
    """Return seeded rows: a key and `n_features` numbers."""
    rng = np.random.default_rng(0)
    columns = {"row_id": pa.array(np.arange(n_rows))}
    for number in range(n_features):
        columns[f"x{number}"] = pa.array(rng.normal(size=n_rows), mask=rng.random(n_rows) < 0.03)
    return pa.table(columns)


def make_bundle(table: pa.Table, folder: Path, trees: int, depth: int) -> Bundle:
    """Train on a random linear signal, write a bundle and read it back."""
    spec = infer_features(table, exclude=["row_id"])
    encoded = spec.encode(table)
    rng = np.random.default_rng(1)
    signal = np.nan_to_num(encoded) @ rng.normal(size=encoded.shape[1]) + np.sin(3 * np.nan_to_num(encoded[:, 0]))
    outcome = (signal + rng.normal(size=len(signal)) > 0).astype(np.float32)
    matrix = xgboost.DMatrix(encoded, outcome, feature_names=spec.names, feature_types=spec.feature_types)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": depth, "nthread": 2}, matrix, trees)
    card = ModelCard("bench", "classification", "binary:logistic", ("no", "yes"), "yes", key=("row_id",))
    write_bundle(
        folder,
        booster=booster,
        spec=spec,
        contract=infer_contract(table, name="bench", key=["row_id"]),
        profile={},
        calibration=fit_classes(booster.predict(matrix), outcome),
        shap_base=[0.0],
        card=card,
        golden=table.slice(0, 256),
    )
    return read_bundle(folder)


def best_us(call: Callable[[Any], object], items: Sequence[Any], rounds: int) -> float:
    """Return the least processor time per item over some rounds, in microseconds."""
    found = []
    for _ in range(rounds):
        start = time.thread_time()
        for item in items:
            call(item)
        found.append((time.thread_time() - start) / len(items) * 1e6)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    given = parser.parse_args()

    table = make_table(20_000, given.features)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = make_bundle(table, Path(scratch) / "bundle", given.trees, given.depth)
        scorer, forest = RowScorer(bundle), FlatForest(bundle.booster)
        sample = bundle.checker.conform(table).slice(0, given.rows)
        rows, encoded = sample.to_pylist(), list(bundle.spec.encode(sample))
        bundle.booster.set_param({"nthread": 1})
        figures = {
            "forest walk, encoded row to margin": best_us(forest.margins, encoded, 9),
            "encode_row": best_us(bundle.spec.encode_row, rows, 9),
            "RowScorer.score, row to answer": best_us(scorer.score, rows, 9),
            "Booster.inplace_predict, one encoded row": best_us(
                lambda row: bundle.booster.inplace_predict(row.reshape(1, -1), validate_features=False),
                encoded[:500],
                3,
            ),
            "score(table) of one row": best_us(lambda one: score(one, bundle), [sample.slice(0, 1)] * 100, 3),
        }
        differing = sum(scorer.score(row)["score"] != bulk for row, bulk in zip(
            rows, score(sample, bundle)["score"].to_pylist(), strict=True
        ))  # fmt: skip
    base = figures["Booster.inplace_predict, one encoded row"]
    print(f"{given.trees} trees of depth {given.depth}, {given.features} numbers; microseconds a row")
    for name, figure in figures.items():
        print(f"  {name:42} {figure:8.1f}   {base / figure:6.1f} x inplace_predict")
    print(f"  rows that differ from score(table): {differing} of {len(rows)}; forest used: {scorer.uses_forest}")


if __name__ == "__main__":
    main()
