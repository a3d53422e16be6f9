"""How often a good version is rolled back, and how soon a bad one: simulated rollouts through the real judge.

    python benchmarks/rollouts.py [--good 1000] [--bad 70] [--rate 100] [--processes 2]

Every rollout goes through the default policy with a look every five seconds: the stages with their shares, least
requests and times, the default gates, and alpha shared by all. Faults begin with the version, in the middle of the
canary at 5 %, or in the bake. Weight 0 is reached two seconds after the look that sees the fault, which is what a
rollback may take. Writes benchmarks/results/rollouts.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rollout_traffic import BEGAN, FAULTS, Arm, Traffic, evidence_of

from twinscore.rollout.assign import BUCKETS
from twinscore.rollout.judge import judge
from twinscore.rollout.policy import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twinscore.rollout.evidence import Evidence
    from twinscore.rollout.stage import Stage

LOOK_S = 5.0
ROLLBACK_S = 2.0
"""From a verdict to weight 0."""
LEAK_MB = 0.1
"""That a leaking version loses with each call."""
LONGEST_S = 4 * 3_600.0
ONSETS = {"with the version": "", "in the canary at 5 %": "5%", "in the bake": "bake"}
OUT = Path(__file__).parent / "results" / "rollouts.json"


@dataclass(frozen=True)
class Told:
    """How one rollout ended."""

    outcome: str
    """live, rolled_back, waiting, or not_begun: it was stopped, or waited, before its fault began."""
    stage: str
    gate: str
    seconds: float
    """Of the whole rollout; of a fault, from its beginning to weight 0."""
    bad: int
    """Answers by a faulty version that users got, or calls that it failed and live stood in for."""
    memory_mb: float
    looks: int


def roll_out(seed: int, rate: float, fault: str = "", onset: str = "") -> Told:
    """Take one version through the default policy."""
    policy, traffic = Policy.default("simulated"), Traffic(seed, rate)
    before, at_s, since_s, looks, bad, memory = None, 0.0, 0.0, 0, 0, 0.0
    asked: Arm | None = None
    for stage in policy.stages:
        arms = _arms(stage, traffic)
        candidate, began_s = arms[-1], at_s
        if asked is not None and asked.role == candidate.role:  # one canary's processes live through its shares
            candidate.series, candidate.leaked_mb, candidate.memory_mb = asked.series, asked.leaked_mb, asked.memory_mb
        asked = candidate
        hits = bool(fault) and onset in ("", _name(stage))
        while True:
            if hits and not candidate.fault and (onset != "5%" or at_s - began_s >= 30.0):
                candidate.fault, since_s = fault, at_s if onset else since_s
                onset = ""
            bad += _ask(stage, arms, traffic, at_s, LOOK_S)
            at_s, looks, memory = at_s + LOOK_S, looks + 1, max(memory, candidate.memory_mb)
            evidence = evidence_of(arms, traffic.edges, at_s)
            failed, passed = _judged(policy, stage, evidence, before, began_s)
            if failed:
                bad += _ask(stage, arms, traffic, at_s, ROLLBACK_S)
                outcome = "not_begun" if fault and not candidate.fault else "rolled_back"
                told = (_name(stage), failed, at_s + ROLLBACK_S - since_s, bad, candidate.memory_mb, looks)
                return Told(outcome, *told)
            if passed and candidate.calls >= stage.requests and at_s - began_s >= stage.at_least_s:
                break
            if at_s > LONGEST_S:
                return Told(
                    "not_begun" if fault and not candidate.fault else "waiting",
                    _name(stage),
                    "",
                    at_s,
                    bad,
                    memory,
                    looks,
                )
        before = evidence if before is None else before.merged(evidence)
    return Told("live", "", "", at_s, bad, memory, looks)


def _name(stage: Stage) -> str:
    return f"{stage.share / 100:g}%" if stage.kind == "canary" else stage.kind


def _arms(stage: Stage, traffic: Traffic) -> list[Arm]:
    rngs = traffic.rng.spawn(2)
    live, candidate = Arm("1", "live", rngs[0], replicas=2), Arm("2", "canary", rngs[1])
    if stage.kind == "shadow":
        candidate.role = "shadow"
    if stage.kind == "bake":
        candidate.role, candidate.replicas = "live", 2
        return [candidate]
    return [live, candidate]


def _ask(stage: Stage, arms: list[Arm], traffic: Traffic, at_s: float, took_s: float) -> int:
    """Let a look's calls be answered; return how many went wrong before users' eyes, which a shadow's never do."""
    share = {"canary": stage.share, "bake": BUCKETS}.get(stage.kind, 0)
    live, mine, load = traffic.look(at_s, took_s, share)
    if stage.kind == "shadow":
        mine = live
    divided = traffic.groups if stage.kind == "canary" else None
    wrong = 0
    for arm, who in zip(arms, [mine] if stage.kind == "bake" else [live, mine], strict=True):
        groups = None if divided is None else divided[who]
        wrong = arm.answer(at_s, took_s, traffic.scores[who], load, traffic.edges, LEAK_MB, groups)
    return 0 if stage.kind == "shadow" else wrong


def _judged(
    policy: Policy, stage: Stage, evidence: Evidence, before: Evidence | None, began_s: float
) -> tuple[str, bool]:
    """Return the first gate that fails, and whether all that decide pass."""
    since = BEGAN + timedelta(seconds=began_s)
    found = judge(
        policy.gates, evidence, "2", "1", since=since, alpha=policy.alpha, stages=len(policy.stages),
        before=before if stage.kind == "bake" else None,
    )  # fmt: skip
    deciding = [one for one in found if not one.dry_run]
    failed = [one.gate for one in deciding if one.outcome == "fail"]
    return failed[0] if failed else "", all(one.outcome == "pass" for one in deciding)


def good_figures(told: list[Told]) -> dict[str, Any]:
    """Return how good versions fared."""
    back = [one for one in told if one.outcome == "rolled_back"]
    minutes = [one.seconds / 60 for one in told if one.outcome == "live"]
    return {
        "rollouts": len(told),
        "looks": sum(one.looks for one in told),
        "rolled_back": len(back),
        "rolled_back_share": len(back) / len(told),
        "waiting": sum(one.outcome == "waiting" for one in told),
        "by_gate": dict(Counter(f"{one.gate} at {one.stage}" for one in back)),
        "minutes_to_live": {"median": round(statistics.median(minutes), 1), "most": round(max(minutes), 1)},
    }


def bad_figures(told: list[Told], fault: str) -> dict[str, Any]:
    """Return how soon one fault was found, and what it did until then."""
    caught = [one for one in told if one.outcome == "rolled_back"]
    seconds, bad = [one.seconds for one in caught], [one.bad for one in caught]
    found = {
        "rollouts": len(told),
        "caught": len(caught),
        "not_begun": sum(one.outcome == "not_begun" for one in told),
        "caught_share": len(caught) / max(1, sum(one.outcome != "not_begun" for one in told)),
        "seconds_to_weight_0": {"median": statistics.median(seconds), "worst": max(seconds)},
        "bad_answers": {"median": statistics.median(bad), "worst": max(bad)},
        "by_gate": dict(Counter(one.gate for one in caught).most_common()),
        "by_stage": dict(Counter(one.stage for one in caught).most_common()),
    }
    if "leak" in fault:
        found["memory_mb"] = {"worst": round(max(one.memory_mb for one in caught))}
    return found


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run all rollouts, in as many processes as asked for."""
    began = time.perf_counter()
    with ProcessPoolExecutor(given.processes) as pool:

        def run(name: str, count: int, *fault: str) -> list[Told]:
            jobs = [pool.submit(roll_out, seed, given.rate, *fault) for seed in _seeds(name, count)]
            told = [job.result() for job in jobs]
            ends = Counter(one.outcome for one in told)
            print(f"{time.perf_counter() - began:5.0f} s  {name}: {dict(ends)}", file=sys.stderr, flush=True)
            return told

        good = good_figures(run("good", given.good))
        bad = {
            f"{fault}, {words}": bad_figures(run(f"{fault}, {words}", given.bad, fault, onset), fault)
            for fault in FAULTS
            for words, onset in ONSETS.items()
        }
    caught = {
        fault: sum(one["caught"] for name, one in bad.items() if name.startswith(f"{fault},"))
        / (len(ONSETS) * given.bad)
        for fault in FAULTS
    }
    return {
        "requests_per_s": given.rate,
        "look_s": LOOK_S,
        "rollback_s": ROLLBACK_S,
        "alpha": Policy.default("simulated").alpha,
        "good": good,
        "caught_share": caught,
        "bad": bad,
    }


def _seeds(name: str, count: int) -> Iterable[int]:
    """Give each series numbers of its own, the same each time."""
    first = int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) * 1_000_000
    return range(first, first + count)


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=int, default=1_000, help="rollouts of versions as good as the live one")
    parser.add_argument("--bad", type=int, default=70, help="rollouts of each fault and beginning")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    text = json.dumps(measure(given), indent=1)
    given.out.write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
