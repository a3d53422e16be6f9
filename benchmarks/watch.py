"""What watching costs: a job over rows of an audit log beside a hand-written numpy pass over the same columns.

    python benchmarks/watch.py --rows 10000000

Both read the same Parquet files, compacted as the audit log compacts, with 20 numeric features: the job with one worker
of the product, the pass with pyarrow and numpy alone (searchsorted, bincount and sums per feature). Each runs in a
process of its own, in turns; told are the rows per second of the better of its turns, their ratio, and the memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RESULT = Path(__file__).parent / "results" / "watch.json"
MODEL = "watched"
FEATURES = 20
PIECE_ROWS = 500_000
GROUP_ROWS = 65_536
START = datetime(2026, 3, 1, tzinfo=UTC)


def make_home(home: Path, rows: int) -> None:
    """Write a version, and a log of so many rows in compacted pieces."""
    import xgboost

    from twinscore.bundle.calibration import fit_classes
    from twinscore.bundle.card import ModelCard
    from twinscore.bundle.features import infer_features
    from twinscore.bundle.files import write_bundle
    from twinscore.bundle.profile import build_profile
    from twinscore.contract.compile import compile_contract
    from twinscore.contract.infer import infer_contract

    rng = np.random.default_rng(1)
    names = [f"f{number:02d}" for number in range(FEATURES)]
    cells = rng.normal(size=(20_000, FEATURES)).astype(np.float64)
    table = pa.table({"row_id": np.arange(len(cells)), **{name: cells[:, at] for at, name in enumerate(names)}})
    contract = infer_contract(table, name=MODEL, key=["row_id"])
    spec = infer_features(table, exclude=["row_id"])
    table = compile_contract(contract).conform(table)
    outcome = (cells[:, 0] + rng.normal(size=len(cells)) > 0).astype(np.float64)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 3, "nthread": 2},
        xgboost.DMatrix(spec.encode(table), outcome, feature_names=spec.names, feature_types=spec.feature_types), 5,
    )  # fmt: skip
    score = booster.inplace_predict(spec.encode(table)).astype(np.float64)
    card = ModelCard(model=MODEL, task="classification", objective="binary:logistic", classes=("no", "yes"),
                     positive="yes", label="label", key=("row_id",), created_at=START.isoformat())  # fmt: skip
    folder = home / "lake" / "bundles" / "made"
    folder.parent.mkdir(parents=True)
    digest = write_bundle(
        folder, booster=booster, spec=spec, contract=contract, card=card, golden=table.slice(0, 100),
        profile=build_profile(table, spec, score), shap_base=[0.0],
        calibration=fit_classes(np.column_stack([1 - score, score]), outcome.astype(np.int64)),
    )  # fmt: skip
    folder.rename(folder.with_name(digest))
    for number in range(-(-rows // PIECE_ROWS)):
        _piece(home, contract, digest, number + 1, min(PIECE_ROWS, rows - number * PIECE_ROWS), names)


def _piece(home: Path, contract: Any, digest: str, number: int, rows: int, names: list[str]) -> None:
    """Write one compacted segment, as `audit.compaction` leaves it: a Parquet file and a head that names it."""
    from twinscore.audit.head import Head, Part, encode_head
    from twinscore.audit.places import STREAMS, file_name, model_folder, part_name
    from twinscore.audit.rows import log_schema

    rng = np.random.default_rng(number)
    score = rng.beta(2, 3, rows).astype(np.float32).astype(np.float64)
    decided = np.where(score >= 0.5, 1, 0)
    first = (number - 1) * PIECE_ROWS
    at = int(START.timestamp() * 1e6) + (first + np.arange(rows)) * 5_000
    ids = pa.array(np.arange(first, first + rows))
    text = {
        "role": "live", "code": "", "caller": "key-1", "entity": "", "model": MODEL, "version": "1",
        "bundle_digest": digest, "contract_digest": contract.digest, "arm": "live", "assigned": "live", "reason": "",
        "source": "model", "run_id": "", "path": "predict", "stream": "r1",
    }  # fmt: skip
    sets = pa.array([["no"], ["yes"], ["no", "yes"]]).take(pa.array(rng.integers(0, 3, rows)))
    known: dict[str, Any] = {
        "request_id": pa.array([f"{value:016x}" for value in ids.to_pylist()]),
        "received_at": pa.array(at, pa.timestamp("us", "UTC")),
        "monotonic_ns": pa.array(at * 1000),
        "took_us": pa.array(rng.gamma(4.0, 200.0, rows).astype(np.int64)),
        "status": pa.array(np.full(rows, 200, np.int32)),
        "sampling": pa.array(np.ones(rows)),
        "call_rows": pa.array(np.zeros(rows, np.int32)),
        "row": pa.array(np.zeros(rows, np.int32)),
        "score": pa.array(score),
        "decision": pa.array(["no", "yes"]).take(pa.array(decided)),
        "prediction_set": sets,
        "uncertainty": pa.array(np.minimum(score, 1 - score)),
        "review": pa.array(rng.random(rows) < 0.1),
        "feature_row_id": ids,
        "segment": pa.array(np.full(rows, number)),
        "sequence": pa.array(np.arange(rows)),
        "clock_suspect": pa.array(np.zeros(rows, bool)),
        "conflict": pa.array(np.zeros(rows, bool)),
    }
    known |= {f"feature_{name}": pa.array(rng.normal(size=rows)) for name in names}
    schema = log_schema(contract)
    columns = []
    for item in schema:
        given = known.get(item.name)
        if given is None:
            given = pa.repeat(text[item.name], rows) if item.name in text else pa.nulls(rows, item.type)
        columns.append(given.cast(item.type))
    folder = model_folder(home / "lake", MODEL)
    name = f"date=2026-03-01/{part_name('r1', number, contract.digest)}"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), folder / name, row_group_size=GROUP_ROWS, compression="zstd")
    sha = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    stream = folder / STREAMS / "r1"
    stream.mkdir(parents=True, exist_ok=True)
    head = Head("r1", number, first, rows, "", f"{number:064x}", 0, 0, parts=(Part(name, rows, sha),))
    (stream / file_name(number, "head")).write_bytes(encode_head(head))


def by_hand(home: Path) -> dict[str, Any]:
    """Count the same things of the same columns with numpy: bins of features and scores, sums, sizes, times."""
    from twinscore.audit.places import model_folder

    bundle = next((home / "lake" / "bundles").iterdir())
    profile = json.loads((bundle / "profile.json").read_text())
    edges = {f"feature_{name}": np.array(one["edges"]) for name, one in profile["features"].items()}
    score_edges = np.array(profile["score"]["edges"])
    counts = {name: np.zeros(len(one) + 1, np.int64) for name, one in edges.items()}
    missing = dict.fromkeys(edges, 0)
    bins = np.zeros(len(score_edges) + 1, np.int64)
    sizes, times, hours = np.zeros(3, np.int64), np.zeros(2_000, np.int64), np.zeros(400, np.int64)
    took_edges = np.geomspace(1.0, 1e9, 2_000)
    rows, total, squares, review, decided = 0, 0.0, 0.0, 0, 0
    columns = [*edges, "score", "decision", "prediction_set", "review", "took_us", "received_at"]
    for path in sorted(model_folder(home / "lake", MODEL).glob("date=*/*.parquet")):
        with pq.ParquetFile(path, read_dictionary=["decision"]) as file:
            for batch in file.iter_batches(batch_size=GROUP_ROWS, columns=columns):
                rows += batch.num_rows
                for name, own in edges.items():
                    values = batch.column(name).to_numpy(zero_copy_only=False)
                    empty = np.isnan(values)
                    missing[name] += int(empty.sum())
                    values = values[~empty] if empty.any() else values
                    counts[name] += np.bincount(np.searchsorted(own, values), minlength=len(own) + 1)
                score = batch.column("score").to_numpy()
                bins += np.bincount(np.searchsorted(score_edges, score), minlength=len(bins))
                total += float(score.sum())
                squares += float((score * score).sum())
                sets = batch.column("prediction_set")
                sizes += np.bincount(np.diff(sets.offsets.to_numpy()), minlength=3)
                review += int(batch.column("review").to_numpy(zero_copy_only=False).sum())
                decided += int(batch.column("decision").indices.to_numpy().sum())
                took = np.searchsorted(took_edges, batch.column("took_us").to_numpy())
                times += np.bincount(took, minlength=len(times))
                at = batch.column("received_at").cast(pa.int64()).to_numpy() // 3_600_000_000
                hours += np.bincount(at - at.min(), minlength=len(hours))
    return {"rows": rows, "counted": int(sum(one.sum() for one in counts.values()))}


def by_job(home: Path) -> dict[str, Any]:
    """Watch with one worker of the product, in this process: reading, counting and putting down every piece."""
    from twinscore.batch.watch import watch_once
    from twinscore.batch.watch_source import WatchSource
    from twinscore.clock import FixedClock
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.settings import load_settings

    def here(settings: Any, job: Any, due: Any) -> list[dict[str, Any]]:
        del settings
        actor = WatchSource(job)
        tables = [pa.table({name: [value] for name, value in row.items()}) for row in due]
        return [json.loads(actor(table)["answer"][0].as_py()) for table in tables]

    clock = FixedClock(START + timedelta(days=30))
    look = watch_once(load_settings(home=home), MODEL, MonitorSpec(), clock=clock, count=here)
    assert not look.waiting, look.waiting
    return {"rows": look.rows, "windows": len(look.windows)}


def by_ray(home: Path) -> dict[str, Any]:
    """Watch with the job as it runs: workers of Ray on every core."""
    from twinscore.batch.watch import watch_once
    from twinscore.clock import FixedClock
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.settings import load_settings

    clock = FixedClock(START + timedelta(days=30))
    look = watch_once(load_settings(home=home), MODEL, MonitorSpec(), clock=clock)
    assert not look.waiting, look.waiting
    return {"rows": look.rows, "windows": len(look.windows)}


WAYS = {"by_hand": by_hand, "by_job": by_job, "by_ray": by_ray}


def run_here(way: str, home: Path) -> None:
    """Run one way once, and print what it took; imports and compiled loops are warm by a first small piece."""
    if way != "by_ray":
        import xgboost  # noqa: F401 - both are timed without imports

        from twinscore.batch.watch_source import WatchSource  # noqa: F401
        from twinscore.monitoring.exact import moments_of

        moments_of(np.ones(3))
    began, before = time.perf_counter(), time.process_time()
    found = WAYS[way](home)
    took, cpu = time.perf_counter() - began, time.process_time() - before
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({**found, "seconds": took, "cpu_seconds": cpu, "peak_mb": peak}))


def measure(rows: int, turns: int, *, ray: bool) -> dict[str, Any]:
    """Run all ways in turns and return what they took."""
    with tempfile.TemporaryDirectory(prefix="twinscore-watch-") as scratch:
        home = Path(scratch) / "home"
        make_home(home, rows)
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for turn in range(turns):
            for way in ("by_hand", "by_job", *(["by_ray"] if ray and turn == 0 else [])):
                subprocess.run(["rm", "-rf", str(home / "lake" / "windows")], check=True)
                made = subprocess.run(
                    [sys.executable, __file__, "--way", way, "--home", str(home)], check=True, capture_output=True
                )
                found[way].append(json.loads(made.stdout.splitlines()[-1]))
                print(way, found[way][-1], flush=True)
    best = {way: min(runs, key=lambda one: one["seconds"]) for way, runs in found.items() if runs}
    told = {way: {**one, "rows_per_s": round(one["rows"] / one["seconds"])} for way, one in best.items()}
    return {
        "rows": rows,
        "features": FEATURES,
        "machine": {"cores": len(__import__("os").sched_getaffinity(0)), "processor": platform.processor()},
        "best": told,
        "turns": turns,
        "ratio": round(best["by_job"]["seconds"] / best["by_hand"]["seconds"], 3),
        "ratio_cpu": round(best["by_job"]["cpu_seconds"] / best["by_hand"]["cpu_seconds"], 3),
    }


def main() -> None:
    """Measure, or run one way in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--ray", action="store_true", help="run the job on a private Ray too")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args()
    if given.way:
        run_here(given.way, given.home)
        return
    result = measure(given.rows, given.turns, ray=given.ray)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["best"], indent=1), f"ratio {result['ratio']} (target: at most 1.5)")


if __name__ == "__main__":
    main()
