"""What single parts of the online path cost: pace, bulk requests, restarts; not a measurement by itself."""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from online_load import JSON, Refused, check, paced, wrk
from online_model import BULK_ROWS, read_bodies, write_files
from online_stack import VARIANTS, Stack

if TYPE_CHECKING:
    from pathlib import Path

    from online_model import Reference

ARROW = "application/vnd.apache.arrow.stream"
_BODIES = 8
"""Different bulk requests."""


def booster_bulk(reference: Reference, seconds: float = 3.0) -> dict[str, float]:
    """Return rows/s of the booster's own `inplace_predict` on BULK_ROWS rows, ready as a matrix, by threads."""
    encoded, booster = reference.encoded_bulk, reference.bundle.booster
    found = {}
    for threads in (1, 2):
        booster.set_param({"nthread": threads})
        booster.inplace_predict(encoded, validate_features=False)
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            booster.inplace_predict(encoded, validate_features=False)
            done += len(encoded)
        found[f"threads_{threads}"] = round(done / (time.perf_counter() - began))
    booster.set_param({"nthread": 1})
    return found


def bulk_requests(reference: Reference, url: str, seconds: float) -> dict[str, Any]:
    """Return rows/s of requests with BULK_ROWS rows, as JSON and as an Arrow stream, from one and two connections."""
    tables = [_rolled(reference.bulk, number) for number in range(_BODIES)]
    found: dict[str, Any] = {}
    for name, content_type, contents in (
        ("json", JSON, [json.dumps({"instances": table.to_pylist()}).encode() for table in tables]),
        ("arrow", ARROW, [_stream(table) for table in tables]),
    ):
        listed = write_files(reference.folder / "bodies" / f"bulk-{name}", contents)
        for connections in (1, 2):
            wrk(url, listed, connections, 1, content_type)
            load = told(f"bulk {name}", wrk(url, listed, connections, seconds, content_type))
            if load["failed"]:
                found[name] = f"{load['failed']} requests were refused: {content_type} is not served"
                break
            rows = round(load["per_s"] * BULK_ROWS)
            found[f"{name}_c{connections}"] = {"rows_per_s": rows, "p50_ms": load["p50_ms"], "p99_ms": load["p99_ms"]}
    return found


def under_pace(url: str, listed: Path, rates: dict[str, float], seconds: float) -> dict[str, Any]:
    """Return latencies at some rates, each after a warm-up at the same rate."""
    found = {}
    for name, rate in rates.items():
        paced(url, listed, rate, 1.0)
        found[name] = told(name, paced(url, listed, rate, seconds))
    return found


def compare_variants(
    stack: Stack, reference: Reference, listed: Path, rates: dict[str, float], seconds: float
) -> dict[str, Any]:
    """Serve the variants in turn and return their latencies at the same rates."""
    found: dict[str, Any] = {}
    for name in ("twinscore", "twinscore_no_audit", "twinscore_shadow"):
        try:
            url = stack.serve(VARIANTS[name])
            check(url, read_bodies(listed), reference.own_scores, own_score, exact=True)
            print(f"pace of {name}", file=sys.stderr, flush=True)
            found[name] = under_pace(url, listed, rates, seconds)
        except Refused as error:
            found[name] = str(error)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    return found


def compared(rounds: dict[str, list[dict[str, Any]]], base: str, other: str) -> dict[str, Any]:
    """Return the medians of p50 and p99 over rounds of two ways, their ratios, and what was not answered 200."""
    found: dict[str, Any] = {}
    for quantile in ("p50", "p99"):
        medians = {
            name: statistics.median(one["status"]["200"]["ms"][quantile] for one in seen)
            for name, seen in rounds.items()
        }
        found[f"{quantile}_ms"] = {name: round(value, 2) for name, value in medians.items()}
        found[f"{quantile}_ratio"] = round(medians[other] / medians[base], 3)
    found["failed"] = {
        name: sum(one["sent"] - one["status"]["200"]["count"] for one in seen) for name, seen in rounds.items()
    }
    return found


def told(name: str, found: dict[str, Any]) -> dict[str, Any]:
    """Print a figure as soon as it is there, and return it."""
    print(name, json.dumps(found), file=sys.stderr, flush=True)
    return found


def own_score(answer: Any) -> float:
    """Return the score of twinscore's answer to one row."""
    return float(answer["predictions"][0]["score"])


def _rolled(table: pa.Table, number: int) -> pa.Table:
    order = np.roll(np.arange(table.num_rows), number)
    return table.take(pa.array(order))


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
