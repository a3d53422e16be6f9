"""The batch path beside a hand-written loop and Spark, on one machine; writes benchmarks/results/batch.json.

    python benchmarks/batch.py [--rows 4000000] [--rounds 3] [--large 40000000] [--spark PYTHON] [--only NAME ...]
    python benchmarks/batch.py --model-data FILE (--label COLUMN --key COLUMN | --bundle FOLDER) [--out FILE] ...

The first measures the reference model, the second a model and data of your own: it trains on the file or takes a
bundle, repeats the file's rows up to --rows with new keys, and writes benchmarks/results/batch-<name>.json.

Every way runs in a process of its own, the ways in turn, best of the rounds. The loop is what a careful person writes
without a framework: read record batches, fill a matrix, `inplace_predict` on all cores, write key and score. The ways:

    loop    the hand-written loop
    whole   twinscore: check, uncertainty, quarantine, checksums, lineage, commit
    bare    the same driver and workers with reading, predicting and writing key and score only
    large   twinscore over ten times the rows, start-up counted; loop_large beside it
    files   twinscore over small files of 1,000 rows
    spark   `mlflow.pyfunc.spark_udf` on Spark local[2]; needs --spark, a Python with pyspark, mlflow and Java
    shap    contributions of every row, beside XGBoost's own on a sample of them
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hand_written import columns_of, encoder, key_and_score, one_score
from reference import key_of, make_model, take_bundle, train_on, version_of, write_input, write_repeated

RESULTS = Path(__file__).parent / "results" / "batch.json"
BATCH_ROWS = 65_536
SMALL_ROWS = 1_000


def way_loop(model: Path, rows: Path, out: Path) -> dict[str, Any]:
    bundle = make_model(model)
    booster, encode = bundle.booster, encoder(bundle)
    booster.set_param({"nthread": os.cpu_count() or 1})
    booster.inplace_predict(np.zeros((8, len(bundle.spec.features)), np.float32))
    out.mkdir()
    key, schema, names = key_of(bundle).name, key_and_score(bundle), columns_of(bundle)
    done, began = 0, time.perf_counter()
    for file in sorted(rows.glob("*.parquet")):
        with pq.ParquetWriter(out / file.name, schema) as writer:
            for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS, columns=names):
                scores = pa.array(one_score(booster.inplace_predict(encode(batch))))
                writer.write_batch(pa.record_batch([batch.column(key), scores], schema=schema))
                done += batch.num_rows
    return {"rows": done, "after_start": done / (time.perf_counter() - began)}


def way_whole(model: Path, rows: Path, out: Path) -> dict[str, Any]:
    from twinscore.batch.run import run_version
    from twinscore.batch.spec import ScoreSpec
    from twinscore.settings import load_settings

    bundle = make_model(model)
    settings = load_settings(home=out.parent, num_cpus=os.cpu_count() or 1)
    spec = ScoreSpec(model="reference", input=str(rows), output=str(out))
    began = time.perf_counter()
    report = run_version(settings, spec, version_of(bundle), bundle)
    total = time.perf_counter() - began
    seconds = report.manifest["seconds"]
    return {
        "rows": report.rows_in,
        "after_start": report.manifest["rows_per_s_after_start"],
        "whole": report.rows_in / total,
        "start_s": round(total - seconds["scoring"], 2),
        "driver_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": seconds,
        "worker_seconds": report.manifest["worker_seconds"],
    }


def way_bare(model: Path, rows: Path, out: Path) -> dict[str, Any]:
    """Score through the product's own driver and actors, each with the fewest steps that make a prediction."""
    from twinscore.batch import drive
    from twinscore.batch.checkpoint import SHARDS
    from twinscore.batch.intake import open_intake
    from twinscore.batch.plan import plan_shards
    from twinscore.batch.shard import ShardJob
    from twinscore.batch.spec import ScoreSpec
    from twinscore.settings import load_settings

    bundle = make_model(model)
    (out / SHARDS).mkdir(parents=True)
    settings = load_settings(home=out.parent, num_cpus=os.cpu_count() or 1)
    spec = ScoreSpec(model="reference", input=str(rows), output=str(out))
    shards = plan_shards(open_intake(spec, bundle.contract).snapshot)
    drive.ScoreShard = BareShard  # type: ignore[misc]
    with drive.ray_workers(settings) as pool:
        spans = [(one.began, one.ended, one.rows_in) for one in pool(shards, {}, bundle, ShardJob(str(out), (), {}))]
    done = sum(span[2] for span in spans)
    return {"rows": done, "after_start": done / (max(span[1] for span in spans) - min(span[0] for span in spans))}


class BareShard:
    """The actor of `way_bare`."""

    def __init__(self, bundle: str, digest: str, job: Any) -> None:
        from twinscore.bundle.files import read_bundle

        self._out = Path(job.folder)
        self._bundle = read_bundle(Path(bundle))
        self._encode = encoder(self._bundle)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score one shard."""
        from twinscore.batch.plan import Shard
        from twinscore.scoring.table import predict_margins

        began = time.time()
        shard = Shard.from_plain(json.loads(batch["shard"][0].as_py()))
        key, schema = key_of(self._bundle).name, key_and_score(self._bundle)
        classes = self._bundle.card.task == "classification"
        with pq.ParquetWriter(self._out / f"{shard.number}.parquet", schema) as writer:
            for piece in shard.pieces:
                groups = list(range(piece.first_group, piece.end_group))
                source = pq.ParquetFile(piece.path)
                for rows in source.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns_of(self._bundle)):
                    margins = predict_margins(self._encode(rows), self._bundle)
                    scores = pa.array(one_score(1 / (1 + np.exp(-margins)) if classes else margins), pa.float32())
                    writer.write_batch(pa.record_batch([rows.column(key), scores], schema=schema))
        keys = {"name": "", "rows": 0, "bytes": 0, "sha256": ""}
        from twinscore.contract.aggregate import aggregate

        empty = self._bundle.contract.schema.empty_table()
        none = aggregate((), empty, self._bundle.checker.check(empty)).to_json()
        result = {
            "number": shard.number, "rows_in": shard.rows, "rows_scored": shard.rows, "rows_flagged": 0,
            "rows_filtered": 0, "rows_repeated": 0, "rules": {}, "decisions": {}, "score_counts": [],
            "attributions": None, "additivity_error": 0.0, "aggregate": none, "parts": [], "keys": keys,
            "seconds": {}, "began": began, "ended": time.time(),
        }  # fmt: skip
        return pa.table({"answer": [json.dumps({"result": result})]})


def run_spark(python: str, model: Path, rows: Path, out: Path) -> dict[str, Any]:
    bundle = make_model(model)
    place = out.parent / "spark-model"
    place.mkdir(exist_ok=True)
    bundle.booster.save_model(place / "model.ubj")
    features = [(one.name, list(one.categories) if one.kind == "categorical" else None)
                for one in bundle.spec.features]  # fmt: skip
    (place / "spec.json").write_text(
        json.dumps({"booster": str(place / "model.ubj"), "features": features, "key": key_of(bundle).name})
    )
    environment = {**os.environ, "PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": python}
    environment.pop("PYTHONPATH", None)
    command = [python, str(Path(__file__).with_name("spark_udf.py")), str(place), str(rows), str(out)]
    return result_of("spark", command, environment)


def result_of(way: str, command: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a process and return what it printed after RESULT."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=3_600)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{way} failed: {done.stdout[-1000:]} {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return found


def way_shap(model: Path, rows: Path, out: Path) -> dict[str, Any]:
    from twinscore.scoring.attribution import attribution_of

    bundle = make_model(model)
    attribution = attribution_of(bundle)
    table = pq.read_table(min(rows.glob("*.parquet")))
    encoded = bundle.spec.encode(bundle.checker.conform(table))
    attribution.contributions(encoded[:1_000])
    began = time.process_time()
    for first in range(0, len(encoded), BATCH_ROWS):
        attribution.contributions(encoded[first : first + BATCH_ROWS])
    own_us = (time.process_time() - began) / len(encoded) * 1e6
    import xgboost

    bundle.booster.set_param({"nthread": 1})
    sample = xgboost.DMatrix(
        encoded[:2_000], feature_names=bundle.spec.names, feature_types=bundle.spec.feature_types,
        enable_categorical=True, nthread=1,
    )  # fmt: skip
    began = time.process_time()
    native = bundle.booster.predict(sample, pred_contribs=True)
    native_us = (time.process_time() - began) / 2_000 * 1e6
    found = attribution.contributions(encoded[:2_000])
    off = float(np.abs(found - native[..., :-1].reshape(found.shape)).max())
    return {"own_us": round(own_us, 1), "native_us": round(native_us, 1), "speedup": native_us / own_us, "off": off}


WAYS = {"loop": way_loop, "whole": way_whole, "bare": way_bare, "shap": way_shap}


def measure(way: str, model: Path, rows: Path, spark: str | None = None) -> dict[str, Any]:
    """Run one way in a process of its own, and return what it printed."""
    with tempfile.TemporaryDirectory(prefix="tsbench", dir=model.parent) as scratch:
        out = Path(scratch) / "out"
        if way == "spark":
            assert spark is not None
            return run_spark(spark, model, rows, out)
        command = [sys.executable, __file__, "--way", way, str(model), str(rows), str(out)]
        began = time.perf_counter()
        found = result_of(way, command)
        found["process_s"] = round(time.perf_counter() - began, 1)
        return found


def best(runs: list[dict[str, Any]], key: str = "after_start") -> float:
    return max(float(run[key]) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--large", type=int, default=40_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spark", help="a Python with pyspark, mlflow and xgboost")
    parser.add_argument("--only", nargs="*", default=["loop", "whole", "bare", "large", "files", "spark", "shap"])
    parser.add_argument("--model-data", type=Path, help="Parquet of your own, instead of the reference's rows")
    parser.add_argument("--label", help="its outcome, to train on it")
    parser.add_argument("--key", help="its key column, to train on it")
    parser.add_argument("--bundle", type=Path, help="folder of a bundle that scores it, instead of training")
    parser.add_argument("--out", type=Path, help="where the figures go")
    parser.add_argument("--place", type=Path, help="folder for model and rows, kept and used again")
    parser.add_argument("--way", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        way, model, rows, out = given.way
        print("RESULT " + json.dumps(WAYS[way](Path(model), Path(rows), Path(out))))
        return
    if given.model_data and not (given.bundle or (given.label and given.key)):
        parser.error("--model-data needs --label and --key, or --bundle")
    results = RESULTS.with_name(f"batch-{given.model_data.stem}.json") if given.model_data else RESULTS
    with tempfile.TemporaryDirectory(prefix="tsbench") as scratch:
        figures = measure_all(given, given.place or Path(scratch))
    results = given.out or results
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({name: value for name, value in figures.items() if name != "runs"}, indent=1))


def measure_all(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    model = place / "model"
    if given.bundle:
        bundle = take_bundle(model, given.bundle)
    elif given.model_data:
        bundle = train_on(model, given.model_data, label=given.label, key=given.key)
    else:
        bundle = make_model(model)

    def written(name: str, count: int, **options: int) -> Path:
        if given.model_data:
            return write_repeated(place / name, given.model_data, bundle, count, **options)
        return write_input(place / name, count, **options)

    rows = written(f"rows-{given.rows}", given.rows)
    runs: dict[str, list[dict[str, Any]]] = {}
    plan = [(way, rows) for _ in range(given.rounds) for way in ("loop", "whole", "bare") if way in given.only]
    if "large" in given.only:
        large = written(f"rows-{given.large}", given.large)
        plan += [("loop", large), ("whole", large)]
    if "files" in given.only:
        count = min(given.rows, 10_000 * SMALL_ROWS)
        plan.append(("whole", written(f"small-{count}", count, file_rows=SMALL_ROWS)))
    if "spark" in given.only and given.spark:
        plan += [("spark", rows)] * min(given.rounds, 2)
    if "shap" in given.only:
        plan.append(("shap", rows))
    for way, source in plan:
        name = way if source == rows else f"{way}_{source.name.split('-')[0].replace('rows', 'large')}"
        runs.setdefault(name, []).append(measure(way, model, source, given.spark))
        print(name, runs[name][-1], file=sys.stderr, flush=True)
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "model": bundle.card.model,
        "rows": given.rows,
        **ratios(runs),
        "runs": runs,
    }


def ratios(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures that a target is set for, as far as their ways were run."""
    found: dict[str, Any] = {}
    if "loop" in runs:
        limit = best(runs["loop"])
        found["rows_per_s"] = {name: round(best(some)) for name, some in runs.items() if "after_start" in some[0]}
        if "whole" in runs:
            found["ratio_to_limit"] = best(runs["whole"]) / limit
            found["start_s"] = min(run["start_s"] for run in runs["whole"])
        if "bare" in runs:
            found["ratio_to_limit_bare"] = best(runs["bare"]) / limit
    if "spark" in runs and "whole" in runs:
        found["ratio_to_spark"] = best(runs["whole"]) / best(runs["spark"])
    if "whole_large" in runs:
        large = runs["whole_large"]
        found["ratio_to_limit_large_with_start"] = best(large, "whole") / best(runs["loop_large"])
        found["rate_ratio_10x"] = best(large) / best(runs["whole"])
        found["driver_peak_mb"] = max(run["driver_peak_mb"] for run in large)
    if "whole_small" in runs:
        found["small_files_slowdown"] = best(runs["whole"]) / best(runs["whole_small"])
    if "shap" in runs:
        found["shap_speedup"] = best(runs["shap"], "speedup")
        found["shap_largest_difference"] = runs["shap"][0]["off"]
    return {
        name: round(value, 3) if isinstance(value, float) and value > 1e-3 else value for name, value in found.items()
    }


if __name__ == "__main__":
    main()
