"""Rows per second of a bulk scoring, beside a hand-written loop over the same files in one process.

    python benchmarks/batch_rate.py [--rows 1000000] [--files 8] [--trees 200] [--depth 6] [--cores 2]

The input is the built-in loan book: a key, an application time and 20 columns. twinscore checks, scores, quarantines,
digests and commits; the loop reads with pandas, predicts and writes key and score, and checks nothing.
Both use all cores given. Everything lives in a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost

from twinscore.batch.progress import Reporter
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.calibration import fit_classes
from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import infer_features
from twinscore.bundle.files import Bundle, read_bundle, write_bundle
from twinscore.bundle.profile import build_profile
from twinscore.contract.infer import infer_contract
from twinscore.demo.loans import KEY, LABEL, TIME, LoanBook, loan_book, write_loan_files
from twinscore.ports.model_store import ModelVersion
from twinscore.settings import load_settings


def make_loan_bundle(folder: Path, *, trees: int, depth: int, rows: int = 50_000) -> Bundle:
    data = loan_book(LoanBook(rows=rows, seed=1))
    outcome = data[LABEL].to_numpy()
    table = data.drop_columns(["outcome_at", LABEL])
    contract = infer_contract(table, name="loans", key=[KEY], time=TIME)
    spec = infer_features(table, exclude=[KEY, TIME], derived={"burden": "debt / income", "hour": f"hour({TIME})"})
    matrix = xgboost.DMatrix(
        spec.encode(table), outcome, feature_names=spec.names, feature_types=spec.feature_types, enable_categorical=True
    )
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": depth, "eta": 0.05}, matrix, trees)
    scores = booster.predict(matrix).astype(np.float64)
    card = ModelCard(
        model="loans", task="classification", objective="binary:logistic", classes=("no", "yes"), positive="yes",
        label=LABEL, key=(KEY,), time=TIME, rows={"train": rows}, created_at="2025-01-01T00:00:00+00:00",
    )  # fmt: skip
    write_bundle(
        folder, booster=booster, spec=spec, contract=contract, profile=build_profile(table, spec, scores),
        calibration=fit_classes(np.column_stack([1 - scores, scores]), outcome), shap_base=[0.0], card=card,
        golden=table.slice(0, 300),
    )  # fmt: skip
    return read_bundle(folder)


def by_hand(files: list[Path], folder: Path, bundle: Bundle, cores: int) -> int:
    """Score as a script would: pandas in, the booster's own categories, key and score out."""
    folder.mkdir()
    booster = bundle.booster
    booster.set_param({"nthread": cores})
    done = 0
    for file in files:
        frame = pd.read_parquet(file)
        columns: dict[str, Any] = {}
        for feature in bundle.spec.features:
            if feature.expression is not None:
                values = frame["debt"] / frame["income"] if feature.name == "burden" else frame[TIME].dt.hour
            elif feature.kind == "categorical":
                codes = pd.Categorical(frame[feature.name], categories=list(feature.categories)).codes
                values = np.where(codes < 0, np.nan, codes)
            else:
                values = frame[feature.name]
            columns[feature.name] = values
        # The book has a few infinities, which the booster refuses.
        values = pd.DataFrame(columns).to_numpy(np.float32)
        values[np.isinf(values)] = np.nan
        matrix = xgboost.DMatrix(
            values, feature_names=bundle.spec.names, feature_types=bundle.spec.feature_types, enable_categorical=True,
            nthread=cores,
        )  # fmt: skip
        scores = booster.predict(matrix)
        pq.write_table(pa.table({KEY: frame[KEY], "score": scores}), folder / file.name)
        done += len(frame)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for the input and the bundle, reused when it is there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinscore-bench-") as scratch:
        root = given.keep or Path(scratch)
        if not (root / "bundle").exists():
            make_loan_bundle(root / "bundle", trees=given.trees, depth=given.depth)
            write_loan_files(root / "loans", LoanBook(rows=given.rows, seed=2, faults=0.001), files=given.files)
        bundle = read_bundle(root / "bundle")
        files = sorted((root / "loans").glob("*.parquet"))

        began = time.perf_counter()
        rows = by_hand(files, Path(scratch) / "by_hand", bundle, given.cores)
        loop_s = time.perf_counter() - began
        print(f"{'by hand':<28}{rows / loop_s:>12,.0f} rows/s {loop_s:>8.1f} s")

        settings = load_settings(home=scratch, num_cpus=given.cores)
        spec = ScoreSpec(model="loans", input=str(root / "loans"), output=str(Path(scratch) / "out"))
        version = ModelVersion("loans", "1", (), bundle.digest, "", None)
        began = time.perf_counter()
        report = run_version(settings, spec, version, bundle, reporter=Reporter(None))
        total_s = time.perf_counter() - began
        manifest = report.manifest
        print(f"{'twinscore, whole run':<28}{rows / total_s:>12,.0f} rows/s {total_s:>8.1f} s")
        after = manifest["rows_per_s_after_start"]
        print(f"{'twinscore, after start-up':<28}{after:>12,.0f} rows/s {manifest['seconds']['scoring']:>8.1f} s")
        print(f"{report.rows_scored:,} scored, {report.rows_quarantined:,} in quarantine")
        print("seconds by step:", manifest["seconds"])
        print("worker seconds:", manifest["worker_seconds"])


if __name__ == "__main__":
    main()
