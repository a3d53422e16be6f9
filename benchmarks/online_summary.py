"""From measured rounds to the figures that a target is set for; measures nothing."""

from __future__ import annotations

from typing import Any

from online_ways import SERVERS

Runs = dict[str, list[dict[str, Any]]]
FASTAPI = ("fastapi", "fastapi_2")
EVERY_SERVER = tuple(f"{name}{suffix}" for name in SERVERS for suffix in ("", "_2"))


def best_rate(runs: Runs, name: str, load: str) -> float | None:
    """Return the most requests/s of a way under a load, over its rounds."""
    rates = [run[load]["per_s"] for run in runs.get(name, []) if load in run]
    return max(rates, default=None)


def best_of(runs: Runs, names: tuple[str, ...], load: str) -> float | None:
    """Return the most requests/s that any of some ways reached."""
    rates = [rate for name in names if (rate := best_rate(runs, name, load)) is not None]
    return max(rates, default=None)


def best_load(rounds: list[dict[str, Any]], load: str) -> dict[str, Any]:
    """Return the round in which a load went fastest."""
    return dict(max((run[load] for run in rounds), key=lambda told: told["per_s"]))


def summary(runs: Runs, costs: dict[str, Any]) -> dict[str, Any]:
    """Return the ratios first, then the table, then what the parts cost; only what was measured."""
    loads = sorted({load for rounds in runs.values() for run in rounds for load in run if load[0] == "c"}, key=_count)
    table = {name: {load: best_load(rounds, load) for load in loads} for name, rounds in runs.items()}
    return {
        **ratios(runs),
        **part_costs(runs, costs),
        "failed": sum(told["failed"] for row in table.values() for told in row.values()),
        "requests_per_s": {name: {load: told["per_s"] for load, told in row.items()} for name, row in table.items()},
        "cpu_us": {name: {load: told["cpu_us"] for load, told in row.items()} for name, row in table.items()},
        "p50_ms": {name: {load: told["p50_ms"] for load, told in row.items()} for name, row in table.items()},
        "p99_ms": {name: {load: told["p99_ms"] for load, told in row.items()} for name, row in table.items()},
    }


def ratios(runs: Runs) -> dict[str, float]:
    """Return twinscore's requests/s, one replica through the edge, over those of the best of each kind of peer."""
    found: dict[str, float | None] = {}
    for load in ("c8", "c32", "c64"):
        for kind, names in (("fastapi", FASTAPI), ("best_server", EVERY_SERVER), ("ceiling", ("ceiling",))):
            found[f"ratio_to_{kind}_{load}"] = _over(best_rate(runs, "twinscore", load), best_of(runs, names, load))
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def part_costs(runs: Runs, costs: dict[str, Any]) -> dict[str, Any]:
    """Return what audit and shadow cost, p50 and p99 beside FastAPI's, and the bulk ratio."""
    found: dict[str, Any] = {}
    for load in ("c8", "c32", "c64"):
        share = _over(best_rate(runs, "twinscore", load), best_rate(runs, "twinscore_no_audit", load))
        if share is not None:
            found[f"audit_throughput_share_{load}"] = round(1 - share, 3)
    alone = [name for name in ("twinscore", *FASTAPI) if name in runs and "c1" in runs[name][0]]
    if "twinscore" in alone and len(alone) > 1:
        found["p50_ms_c1"] = {name: best_load(runs[name], "c1")["p50_ms"] for name in alone}
    pace = {name: told["half_of_fastapi"] for name, told in costs.get("pace", {}).items() if isinstance(told, dict)}
    if pace:
        found["p99_ms_at_half_of_fastapi"] = {name: told["p99_ms"] for name, told in pace.items()}
    if {"twinscore", "twinscore_no_audit"} <= pace.keys():
        found["audit_p99_ms"] = round(pace["twinscore"]["p99_ms"] - pace["twinscore_no_audit"]["p99_ms"], 3)
    if {"twinscore", "twinscore_shadow"} <= pace.keys():
        found["shadow_p99_ms"] = round(pace["twinscore_shadow"]["p99_ms"] - pace["twinscore"]["p99_ms"], 3)
    booster = max(costs.get("booster_bulk", {}).values(), default=None)
    for form in ("json", "arrow"):
        told = [row for name, row in costs.get("bulk", {}).items() if name.startswith(f"{form}_")]
        share = _over(max((row["rows_per_s"] for row in told), default=None), booster)
        if share is not None:
            found[f"bulk_{form}_ratio_to_booster"] = round(share, 3)
    return found


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above and below else None


def _count(load: str) -> int:
    return int(load[1:])
