"""How often equal groups raise a fairness alarm, and how often a true gap is found: simulated windows.

    python benchmarks/fairness.py [--windows 1500]

Every window goes through the product's own figures. An alarm is an interval that excludes X: the gap's low end lies
above X. Equal groups have the same rates; X = 0 is the hardest case: nothing but chance is between the groups. The
target is at most 5 % alarms of equal groups of 200 rows, and at least 95 % of windows of 5,000 rows with a true gap
of 0.1 found, at X = 0. What an X of 0.05 or more groups do to both is counted beside it, and so is what other
intervals would have done. Writes benchmarks/results/fairness.json.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.monitoring.fairness import fairness
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.group_tally import GroupCounts, GroupTally

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SEED = 20_260_301
START = datetime(2026, 3, 1, tzinfo=UTC)
FIGURE = partial(Figure, model="m", version="1", start=START, end=START + timedelta(hours=1))
GROUPS = (2, 3, 5, 10, 16)
RATES = (0.02, 0.1, 0.3, 0.5)
"""Chance that a row without a positive outcome is decided positive."""
POSITIVE = 0.25
"""Share of rows with a positive outcome, of which 0.7 are decided positive."""
LIMITS = (0.0, 0.05)
METRICS = ("selection_rate_gap", "tpr_gap", "fpr_gap", "fnr_gap", "precision_gap")
OUT = Path(__file__).parent / "results" / "fairness.json"


def window(rng: np.random.Generator, rows: list[int], fpr: list[float]) -> dict[str, float]:
    """Return the low ends of the gaps of one window whose groups have so many rows and these rates."""
    counts = {}
    for number, (size, rate) in enumerate(zip(rows, fpr, strict=True)):
        positive = int(rng.binomial(size, POSITIVE))
        fp, tp = int(rng.binomial(size - positive, rate)), int(rng.binomial(positive, 0.7))
        counts[str(number)] = GroupCounts(size, fp + tp, tp, fp, size - positive - fp, positive - tp)
    found = fairness(GroupTally({"g": counts}), FIGURE)
    return {one.metric: one.low or 0.0 for one in found if one.metric.endswith("_gap")}


def alarms(windows: int, rows: list[int], fpr: list[float], seed: int) -> dict[str, Any]:
    """Return shares of windows with an alarm, per limit and metric, and of any of the metrics."""
    rng = np.random.default_rng([SEED, seed])
    lows = [window(rng, rows, fpr) for _ in range(windows)]
    found: dict[str, Any] = {}
    for limit in LIMITS:
        hits = {name: [low[name] > limit for low in lows] for name in METRICS}
        told = {name: float(np.mean(hits[name])) for name in METRICS}
        found[f"above {limit:g}"] = told | {"any": float(np.mean(np.any(list(hits.values()), axis=0)))}
    return found


def others(windows: int, sizes: list[int], rate: float) -> dict[str, float]:
    """Return the shares of alarms at X = 0 that other intervals of a gap raise among equal groups."""
    rng, groups, rows = np.random.default_rng([SEED, 7, int(rate * 1000), *sizes]), len(sizes), np.array(sizes)
    hits = rng.binomial(rows, rate, (windows, groups)).astype(np.float64)
    z = -NormalDist().inv_cdf(0.05 / (groups * (groups - 1)))
    kinds: dict[str, tuple[Callable[..., NDArray[np.float64]], float]] = {
        "Newcombe 11, Bonferroni (chosen)": (newcombe_corrected, z),
        "Newcombe 10, Bonferroni": (newcombe, z),
        "Newcombe 10, no correction for many pairs": (newcombe, 1.959964),
        "Wald, Bonferroni": (wald, z),
    }
    return {name: float((low(hits, rows, z_of) > 0).mean()) for name, (low, z_of) in kinds.items()}


def newcombe(hits: NDArray[np.float64], rows: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    share = hits / rows
    middle = (share + z * z / 2 / rows) / (1 + z * z / rows)
    half = z * np.sqrt(share * (1 - share) / rows + z * z / 4 / rows**2) / (1 + z * z / rows)
    return _lowest(share, np.maximum(middle - half, 0), np.minimum(middle + half, 1))


def newcombe_corrected(hits: NDArray[np.float64], rows: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    share, square = hits / rows, z * z
    below = np.maximum(square - 2 - 1 / rows + 4 * share * (rows * (1 - share) + 1), 0)
    above = np.maximum(square + 2 - 1 / rows + 4 * share * (rows * (1 - share) - 1), 0)
    low = (2 * rows * share + square - 1 - z * np.sqrt(below)) / (2 * (rows + square))
    high = (2 * rows * share + square + 1 + z * np.sqrt(above)) / (2 * (rows + square))
    return _lowest(share, np.where(hits > 0, np.maximum(low, 0), 0), np.where(hits < rows, np.minimum(high, 1), 1))


def wald(hits: NDArray[np.float64], rows: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    share = hits / rows
    half = z * np.sqrt(share * (1 - share) / rows)
    return _lowest(share, share - half, share + half)


def _lowest(share: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest lower end of any pair's difference, (n_windows,)."""
    apart = share[:, :, None] - share[:, None, :]
    ends = apart - np.sqrt(np.square(share - low)[:, :, None] + np.square(high - share)[:, None, :])
    found: NDArray[np.float64] = np.where(np.eye(share.shape[1], dtype=bool), -1.0, ends).max(axis=(1, 2))
    return found


def rounded(value: Any) -> Any:
    """Return a document with shares of four digits: more say nothing of so many windows."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=1_500, help="of each case")
    windows, began = parser.parse_args().windows, time.perf_counter()

    case: dict[str, Any]
    equal = []
    for number, (groups, rate) in enumerate((groups, rate) for groups in GROUPS for rate in RATES):
        for size in (200, 1_000):
            case = {"groups": groups, "rows_each": size, "fpr": rate}
            equal.append(case | alarms(windows, [size] * groups, [rate] * groups, 10 * number + size))
            print("equal", equal[-1], flush=True)
    uneven = []
    for groups in (2, 5, 10):
        rows = [200 if number % 2 else 5_000 for number in range(groups)]
        case = {"groups": groups, "rows": "5,000 and 200 in turn", "fpr": 0.1}
        uneven.append(case | alarms(windows, rows, [0.1] * groups, 500 + groups))
    apart = []
    for groups in (2, 3, 5, 10):
        for rate in (0.05, 0.3, 0.5):
            rows = [5_000 // groups] * groups
            case = {"groups": groups, "rows": 5_000, "fpr": rate, "one_group": round(rate + 0.1, 2)}
            fpr = [rate] * (groups - 1) + [rate + 0.1]
            apart.append(case | alarms(windows, rows, fpr, 700 + 10 * groups + int(rate * 100)))
            print("apart", apart[-1], flush=True)
    for small in (500, 1_000):
        case = {"groups": 2, "rows": 5_000, "smaller_group": small, "fpr": 0.3, "one_group": 0.4}
        apart.append(case | alarms(windows, [5_000 - small, small], [0.3, 0.4], 900 + small))
    compared: list[dict[str, Any]] = []
    for groups in (2, 5, 10):
        for rate in (0.01, 0.02, 0.1, 0.3, 0.5):
            sizes = {"200": [200] * groups, "100 and 5,000 in turn": ([100, 5_000] * groups)[:groups]}
            compared += [
                {"groups": groups, "rows_each": name, "rate": rate} | others(20_000, rows, rate)
                for name, rows in sizes.items()
            ]
    of_200 = [case for case in equal if case["rows_each"] == 200]
    least = {
        groups: min(case["above 0"]["fpr_gap"] for case in apart if case["groups"] == groups)
        for groups in (2, 3, 5, 10)
    }
    summary = {
        "windows_of_each_case": windows,
        "most_alarms_of_equal_groups_of_200": max(case["above 0"][name] for case in of_200 for name in METRICS),
        "mean_alarms_of_equal_groups_of_200": float(np.mean([case["above 0"]["fpr_gap"] for case in of_200])),
        "most_alarms_of_any_of_five_metrics": max(case["above 0"]["any"] for case in of_200),
        "most_alarms_of_equal_groups_of_200_at_0.05": max(case["above 0.05"]["any"] for case in of_200),
        "least_found_of_a_gap_of_0.1_by_groups": least,
        "seconds": round(time.perf_counter() - began, 1),
    }
    document = {"summary": summary, "equal_groups": equal, "uneven_equal_groups": uneven, "true_gap_of_0.1": apart,
                "other_intervals_at_0": compared}  # fmt: skip
    OUT.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
