"""How often a window without drift alarms, and how often a small drift is found: simulated, through the real judge.

    python benchmarks/drift.py [--sizes 50,1000,100000] [--windows 1000] [--references 10] [--reference-rows 30000]
    python benchmarks/drift.py --sizes 50,200,1000 --many 20000

A hundred features of `drift_population.py`; the references are drawn from the same population as the windows, and each
makes its own bins. Every window is judged as it is, and again with one feature moved by so many of its standard
deviations. Persistence is left out: each window stands for itself. What other rules would say of the same windows
stands beside. Writes benchmarks/results/drift.json; sizes that are not measured this time stay as they are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from drift_population import code, population, reference_from, window_from

from twinscore.bundle.shift import psi
from twinscore.monitoring.drift_finding import findings_of, proof_of
from twinscore.monitoring.drift_level import adjusted, level_of, simes
from twinscore.monitoring.drift_proof import Floor, prove
from twinscore.monitoring.spec import WatchedDrift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.monitoring.drift_counts import Counted
    from twinscore.monitoring.drift_proof import Proof

POPULATION = 300_000
SIZES = (50, 200, 500, 1_000, 2_000, 5_000, 10_000, 100_000, 1_000_000)
SHIFTS = (0.1, 0.2, 0.5)
MOVED = "normal_0"
RULE = WatchedDrift()
FLOOR = Floor(RULE.effect, RULE.share)
OTHERS = ("psi above 0.1", "psi above 0.25", "chi-squared below 0.05")
"""Rules on the features one by one, for comparison."""
OUT = Path(__file__).parent / "results" / "drift.json"


def simulate(sizes: list[int], windows: int, references: int, reference_rows: int, seed: int = 6) -> dict[str, Any]:
    """Judge windows of every size against every reference."""
    columns = population(POPULATION, seed)
    counts: dict[int, Counter[str]] = {size: Counter() for size in sizes}
    times: dict[str, list[float]] = {"tests": [], "findings": [], "level": []}
    worst: Counter[int] = Counter()
    for number in range(references):
        reference, coded = reference_from(columns, reference_rows, seed + number)
        moved = columns[0]
        place = list(coded).index(MOVED)
        drawn = np.random.default_rng(seed + number).integers(0, POPULATION, size=reference_rows)
        spread = float(np.std(moved.values))
        shifted = {by: code(moved, moved.values + np.float32(by * spread), moved.values[drawn]) for by in SHIFTS}
        for size in sizes:
            rng = np.random.default_rng([seed, number, size])
            began = time.perf_counter()
            level = level_of(reference, size, alarms=RULE.alarms, floor=FLOOR)
            times["level"].append(time.perf_counter() - began)
            here: Counter[str] = Counter()
            for turn in range(windows // references):
                window, rows = window_from(coded, size, rng)
                began = time.perf_counter()
                proofs = {name: proof_of(one, reference.features[name]) for name, one in window.features.items()}
                times["tests"].append(time.perf_counter() - began)
                p_values = np.array([float(one.p_value(FLOOR)[0]) for one in proofs.values()])
                drifts = adjusted(p_values) <= level
                if turn == 0:
                    began = time.perf_counter()
                    found = findings_of(window, reference, RULE)
                    times["findings"].append(time.perf_counter() - began)
                    assert [bool(one.changed) for one in found.features.values()] == drifts.tolist()
                here.update({"alarm": int(drifts.any()), **_others(window.features, reference.features, proofs)})
                for by, one in shifted.items():
                    p_values[place] = proof_of(one.count(*rows), reference.features[MOVED]).p_value(FLOOR)[0]
                    told = adjusted(p_values) <= level
                    here[f"found {by}"] += bool(told[place])
                    here[f"others {by}"] += int(told.sum() - told[place])
            counts[size].update(here)
            worst[size] = max(worst[size], here["alarm"])
    per_reference = windows // references
    return {
        "seconds": {name: round(float(np.median(values)), 4) for name, values in times.items()},
        "sizes": {
            str(size): _told(held, per_reference * references)
            | {"references": references, "worst_reference": worst[size] / per_reference}
            for size, held in counts.items()
        },
    }


def many(sizes: list[int], windows: int, references: int, reference_rows: int, seed: int = 2_006) -> dict[str, Any]:
    """Count false alarms alone, of more windows and other references, all windows of a reference at once."""
    columns, found = population(POPULATION, seed), {}
    for size in sizes:
        alarms = 0
        for number in range(references):
            reference, coded = reference_from(columns, reference_rows, seed + number)
            drawn = np.random.default_rng([seed, number, size]).integers(0, POPULATION, (windows // references, size))
            p_values = np.empty((len(drawn), len(coded)))
            for place, (name, one) in enumerate(coded.items()):
                cells, missing = one.count_many(drawn)
                p_values[:, place] = prove(cells, missing, reference.features[name]).p_value(FLOOR)
            level = level_of(reference, size, alarms=RULE.alarms, floor=FLOOR)
            alarms += int((simes(p_values) <= level).sum())
        total = windows // references * references
        found[str(size)] = {"many_windows": total, "false_alarms_of_many": alarms / total}
        print(f"{size:>9} {alarms / total:7.2%} of {total} windows")
    return {"sizes": found}


def _others(
    window: Mapping[str, Counted], reference: Mapping[str, Counted], proofs: Mapping[str, Proof]
) -> dict[str, int]:
    """Tell what rules without a correction, or without a test, say of a window."""
    most = max(psi(one.cells.tolist(), reference[name].cells.tolist()) for name, one in window.items() if one.present)
    least = min(float(one.p_values["shape"][0]) for one in proofs.values())
    return {
        "psi above 0.1": int(most > 0.1),
        "psi above 0.25": int(most > 0.25),
        "chi-squared below 0.05": int(least < 0.05),
    }


def _told(held: Mapping[str, int], windows: int) -> dict[str, Any]:
    return {
        "windows": windows,
        "false_alarms": held["alarm"] / windows,
        "found": {str(by): held[f"found {by}"] / windows for by in SHIFTS},
        "others_beside": {str(by): held[f"others {by}"] / windows for by in SHIFTS},
        "other_rules": {
            name: held[name] / windows for name in ("psi above 0.1", "psi above 0.25", "chi-squared below 0.05")
        },
    }


def main() -> None:
    """Simulate, print a table, and write the results."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", default=",".join(map(str, SIZES)))
    arguments.add_argument("--windows", type=int, default=1_000)
    arguments.add_argument("--references", type=int, default=10)
    arguments.add_argument("--reference-rows", type=int, default=30_000)
    arguments.add_argument("--many", type=int, default=0, help="count only false alarms, of so many windows")
    chosen = arguments.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    counted = many if chosen.many else simulate
    result = counted(sizes, chosen.many or chosen.windows, chosen.references, chosen.reference_rows)
    document = json.loads(OUT.read_text()) if OUT.is_file() else {"features": 100, "alarms_at_most": RULE.alarms}
    rows = document.setdefault("reference_rows", {}).setdefault(str(chosen.reference_rows), {"sizes": {}})
    for size, one in result["sizes"].items():
        rows["sizes"][size] = {**rows["sizes"].get(size, {}), **one}
    rows["sizes"] = {size: rows["sizes"][size] for size in sorted(rows["sizes"], key=int)}
    rows["seconds"] = result.get("seconds", rows.get("seconds"))
    OUT.write_text(json.dumps(document, indent=1) + "\n")
    if chosen.many:
        return
    print(f"{'rows':>9} {'alarms':>7} {'worst':>7} " + " ".join(f"{by:>6} sd" for by in SHIFTS))
    for size, one in result["sizes"].items():
        shares = " ".join(f"{one['found'][str(by)]:9.1%}" for by in SHIFTS)
        print(f"{size:>9} {one['false_alarms']:7.2%} {one['worst_reference']:7.1%} {shares}")
    print(f"seconds: {result['seconds']}")


if __name__ == "__main__":
    main()
