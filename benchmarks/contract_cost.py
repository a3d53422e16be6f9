"""What a contract costs: one row online, a table in bulk, and the same suite by Great Expectations itself.

    python benchmarks/contract_cost.py [--rows 1000000] [--no-gx]

Twenty columns with two or three rules each, as `infer_contract` writes them: 8 float64, 5 int64,
5 string, 1 bool, 1 timestamp, and a key. Bulk is measured on one thread.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.contract.compile import compile_contract
from twinscore.contract.expectations import validate_with_gx
from twinscore.contract.infer import infer_contract
from twinscore.contract.rows import RowDecoder, rows_to_table, table_to_rows

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = ["Private", "Self-emp-not-inc", "Local-gov", "State-gov", "Federal-gov", "Without-pay", "Never-worked", "Other"]


def make_table(n_rows: int) -> pa.Table:
    """Return seeded rows: (n_rows, 21); every second number and text column has 5 % nulls."""
    rng = np.random.default_rng(7)
    columns: dict[str, pa.Array] = {"row_id": pa.array(np.arange(n_rows))}
    for n in range(8):
        holes = rng.random(n_rows) < 0.05 if n % 2 else None
        columns[f"amount_{n}"] = pa.array(rng.normal(100.0, 15.0, n_rows), mask=holes)
    for n in range(5):
        holes = rng.random(n_rows) < 0.05 if n % 2 else None
        columns[f"count_{n}"] = pa.array(rng.integers(0, 90, n_rows), mask=holes)
    for n in range(5):
        holes = rng.random(n_rows) < 0.05 if n % 2 else None
        columns[f"kind_{n}"] = pa.array(np.array(WORDS)[rng.integers(0, len(WORDS), n_rows)], mask=holes)
    columns["flag"] = pa.array(rng.random(n_rows) < 0.5)
    instants = pa.array(rng.integers(1_600_000_000_000_000, 1_700_000_000_000_000, n_rows))
    columns["event_time"] = instants.cast(pa.timestamp("us", "UTC"))
    return pa.table(columns)


def best_s(call: Callable[[], object], *, repeats: int = 7) -> float:
    """Return the shortest of several timings, in seconds."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def per_call_us(call: Callable[[int], object], n_calls: int) -> tuple[float, float]:
    """Return median and 99th percentile of single calls, in microseconds."""
    for place in range(min(n_calls, 500)):
        call(place)
    gc.disable()
    spent = np.empty(n_calls)
    for place in range(n_calls):
        start = time.perf_counter_ns()
        call(place)
        spent[place] = time.perf_counter_ns() - start
    gc.enable()
    return float(np.median(spent)) / 1e3, float(np.quantile(spent, 0.99)) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the bulk table")
    parser.add_argument("--no-gx", action="store_true", help="leave Great Expectations out")
    asked = parser.parse_args()

    pa.set_cpu_count(1)
    table = make_table(asked.rows)
    contract = infer_contract(table, name="cost", key=["row_id"])
    checker = compile_contract(contract)
    table = checker.conform(table)
    few = table.slice(0, 5_000)
    objects = table_to_rows(few)
    decoder = RowDecoder(contract)
    rows, faults = decoder.decode(objects)
    assert not faults
    assert rows_to_table(rows, contract).equals(few)
    verdict = checker.check(table)
    assert verdict.accepted.all()

    print(f"{len(contract.columns)} columns, {len(checker.rules)} row rules, {len(checker.run_rules)} run rules")
    median, p99 = per_call_us(lambda place: checker.check_row(rows[place]), len(rows))
    print(f"check_row          median {median:7.2f} us   p99 {p99:7.2f} us")
    median, p99 = per_call_us(lambda place: decoder.decode(objects[place : place + 1]), len(rows))
    print(f"decode one row     median {median:7.2f} us   p99 {p99:7.2f} us")
    broken = [{**row, "amount_0": 1e9, "kind_0": "Unknown"} for row in rows[:2_000]]
    median, p99 = per_call_us(lambda place: checker.check_row(broken[place]), len(broken))
    print(f"check_row, faults  median {median:7.2f} us   p99 {p99:7.2f} us")
    for name, call in (
        ("check", lambda: checker.check(table)),
        ("conform + check", lambda: checker.check(checker.conform(table))),
        ("aggregate", lambda: checker.aggregate(table, verdict)),
    ):
        print(f"{name:18} {best_s(call) / len(table) * 1e6:7.4f} us per row over {len(table)} rows")
    if not asked.no_gx:
        for n_rows in (1, 1_000):
            part = table.slice(0, n_rows)
            validate_with_gx(contract, part)
            spent = best_s(lambda part=part: validate_with_gx(contract, part), repeats=3)
            print(f"Great Expectations {spent * 1e3:7.1f} ms per call of {n_rows} rows")


if __name__ == "__main__":
    main()
