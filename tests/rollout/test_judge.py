"""Verdicts: silence never passes, faults fail, the healthy pass, and no look too many makes a failure."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.rollout.evidence import (
    LATENCY_EDGES_MS,
    ArmEvidence,
    Evidence,
    Histogram,
    Labelled,
    Moments,
    PairEvidence,
    Role,
)
from twinscore.rollout.gate import DEFAULT_GATES, METRICS, Gate, GateVerdict
from twinscore.rollout.judge import alpha_parts, judge
from twinscore.rollout.memory_trend import BLOCKS, MemoryTrend

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
SCORE_EDGES = tuple([step / 20 for step in range(1, 20)])
SECONDS = 600
APART = Labelled(1_000, Moments(), {"a=x": (500, 300), "a=y": (500, 50)})
EVERY_METRIC = tuple(
    Gate(metric=name, **{limit: 0.1})  # type: ignore[arg-type]  # one number, whichever limit takes it
    for name, metric in METRICS.items()
    for limit in metric.limits
)


def arm(version: str, role: Role, calls: int, *, seed: int = 0, **changes: Any) -> ArmEvidence:
    """Return a healthy version: 5 ms, one failure in a thousand, scores spread evenly, every third row approved."""
    rng = np.random.default_rng([seed, int(version)])
    scores = rng.random(calls)
    approved = int((scores > 0.67).sum())
    healthy = ArmEvidence(
        version=version, role=role, calls=calls, failed={"error": calls // 1_000}, rows=calls,
        latency_ms=Histogram.of(LATENCY_EDGES_MS, rng.lognormal(math.log(5), 0.4, calls).tolist()),
        scores=Histogram.of(SCORE_EDGES, scores.tolist()), decisions={"approve": approved, "refuse": calls - approved},
        width=Moments(calls, 0.1 * calls, 0.02 * calls), memory_mb=20.0,
        memory_trends=(MemoryTrend(process=version, look=1, floors_mb=(20.0,) * BLOCKS),),
        labelled=Labelled(calls, Moments(calls, calls / 2, calls), dict.fromkeys(("f=1", "f=2"), (calls, 9))),
    )  # fmt: skip
    return replace(healthy, **changes)


def seen(candidate: ArmEvidence, *more: ArmEvidence, live: int = 20_000, **changes: Any) -> Evidence:
    found = Evidence(
        arms=(arm("1", "live", live), candidate, *more), at=BEGAN + timedelta(seconds=SECONDS), replicas=2,
        pairs=(PairEvidence(version="2", n=candidate.rows, flips=candidate.rows // 100),),
    )  # fmt: skip
    return replace(found, **changes)


def verdicts(evidence: Evidence | None, gates: tuple[Gate, ...] = DEFAULT_GATES, **how: Any) -> dict[str, GateVerdict]:
    found = judge(gates, evidence, "2", "1", since=BEGAN, **how)

    assert [gate.name for gate in gates] == [one.gate for one in found]
    return {one.gate: one for one in found}


def outcomes(evidence: Evidence | None, **how: Any) -> set[str]:
    return {one.outcome for one in verdicts(evidence, **how).values() if not one.dry_run}


def failing(evidence: Evidence | None, **how: Any) -> set[str]:
    return {name for name, one in verdicts(evidence, **how).items() if one.outcome == "fail"}


def test_a_healthy_version_passes_every_gate() -> None:
    """With enough on both sides nothing is left open, and each verdict says its figures in words."""
    found = verdicts(seen(arm("2", "shadow", 1_000)))

    assert {"pass"} == {one.outcome for one in found.values()}
    assert (
        "calls that failed 0.1 %, 0.1 % for version 1, at most 1.1 % allowed, 1,000 calls" == found["error_rate"].words
    )
    assert found["error_rate"].low is not None
    assert found["error_rate"].high is not None
    assert found["error_rate"].low < 0.001 < found["error_rate"].high


@pytest.mark.parametrize("gate", EVERY_METRIC, ids=lambda gate: f"{gate.metric}")
def test_silence_never_passes(gate: Gate) -> None:
    """Nobody answered, nobody was asked, or only one side was: no gate passes and none fails."""
    alone = Evidence(arms=(arm("1", "live", 5_000),), at=BEGAN + timedelta(seconds=SECONDS), replicas=1)
    unasked = ArmEvidence(version="2", role="canary", scores=Histogram.empty(SCORE_EDGES), memory_mb=None)
    for evidence in (None, Evidence(), alone, seen(unasked)):
        found = judge([gate], evidence, "2", "1", since=BEGAN)[0]
        if gate.metric == "restarts" and evidence is not None and evidence.arm("2", "canary"):
            continue  # that a replica was never restarted is known without a call
        assert found.outcome == "inconclusive"


@pytest.mark.parametrize("gate", [gate for gate in EVERY_METRIC if gate.beside], ids=lambda gate: gate.metric)
def test_a_limit_beside_live_waits_for_live(gate: Gate) -> None:
    """Figures of the candidate alone say nothing of being worse."""
    evidence = Evidence(arms=(arm("2", "canary", 5_000),), at=BEGAN + timedelta(seconds=SECONDS), replicas=1)
    found = judge([gate], evidence, "2", "1", since=BEGAN)[0]

    assert found.outcome == "inconclusive"
    assert "version 1 has no figure" in found.words


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        (Gate(metric="loss", max=1.0), {"labelled": Labelled(500, Moments(500, math.nan, math.nan))}),
        (Gate(metric="uncertainty_width", times=2.0), {"width": Moments(500, math.inf, math.inf)}),
        (Gate(metric="memory_mb", max=100.0), {"memory_mb": math.nan}),
        (Gate(metric="score_shift", worse_by=0.1), {"scores": Histogram((0.5,), (500, 500))}),
    ],
    ids=lambda value: value.metric if isinstance(value, Gate) else "",
)
def test_what_is_no_number_decides_nothing(gate: Gate, changes: dict[str, Any]) -> None:
    """NaN, infinity, and scores in other bins than those of live are inconclusive, and carry no figure."""
    found = judge([gate], seen(arm("2", "canary", 1_000, **changes)), "2", "1", since=BEGAN)[0]

    assert ("inconclusive", None) == (found.outcome, found.value)


def test_too_few_are_inconclusive_and_say_how_many_are_missing() -> None:
    """One call less than the least, of a version without a fault."""
    gates = (Gate(metric="error_rate", worse_by=0.01, samples=300),)

    assert "299 calls: waits for 300 calls" in verdicts(seen(arm("2", "canary", 299)), gates)["error_rate"].words
    assert {"inconclusive"} == outcomes(seen(arm("2", "canary", 299)), gates=gates)
    assert {"pass"} == outcomes(seen(arm("2", "canary", 300)), gates=gates)


FAULTS: dict[str, dict[str, Any]] = {
    "error_rate": {"failed": {"error": 60, "late": 40}},
    "latency_ms_p95": {"latency_ms": Histogram.of(LATENCY_EDGES_MS, [105.0] * 1_000)},
    "refusal_rate": {"refused_rows": 200},
    "score_shift": {"scores": Histogram.of(SCORE_EDGES, (np.random.default_rng(1).random(1_000) ** 2).tolist())},
    "decision_rate": {"decisions": {"approve": 600, "refuse": 400}},
    "review_rate": {"review_rows": 300},
    "restarts": {"restarts": 3},
    "memory_mb": {"memory_mb": 600.0},
}


@pytest.mark.parametrize("gate", FAULTS)
def test_a_fault_fails_its_gate(gate: str) -> None:
    """A thousand calls with one thing wrong fail by the gate for it, and by no gate of another kind."""
    found = failing(seen(arm("2", "canary", 1_000, **FAULTS[gate])))

    assert gate in found
    assert {name.partition("_")[0] for name in found} == {gate.partition("_")[0]}


@pytest.mark.parametrize(
    ("gate", "changes"),
    [
        (Gate(metric="loss", times=1.5), {"labelled": Labelled(1_000, Moments(1_000, 900.0, 1_000.0))}),
        (Gate(metric="uncertainty_width", worse_by=0.1), {"width": Moments(1_000, 300.0, 100.0)}),
        (Gate(metric="uncertainty_width", min=0.2), {}),
        (Gate(metric="group_gap", max=0.1), {"labelled": APART}),
        (Gate(metric="group_gap", worse_by=0.1), {"labelled": APART}),
        (Gate(metric="error_rate", max=0.02), {"failed": {"error": 100}}),
        (Gate(metric="review_rate", min=0.1), {}),
        (Gate(metric="latency_ms_p50", max=4.0), {}),
        (Gate(metric="score_shift", worse_by=0.1), {"scores": Histogram(SCORE_EDGES, (40,) * 20, missing=200)}),
    ],
)  # fmt: skip
def test_other_limits_fail_too(gate: Gate, changes: dict[str, Any]) -> None:
    """Absolute limits above and below, means, gaps between groups, and scores that are no number."""
    assert {gate.name} == failing(seen(arm("2", "canary", 1_000, **changes)), gates=(gate,))


def test_decisions_changed_on_the_same_rows_fail() -> None:
    """A shadow that decides every third row differently is caught by pairs."""
    evidence = seen(arm("2", "shadow", 1_000), pairs=(PairEvidence(version="2", n=1_000, flips=330),))

    assert {"decision_flips"} == failing(evidence)


def test_a_figure_beyond_its_limit_that_may_be_chance_waits() -> None:
    """Eight failures of 300 look worse than allowed and prove nothing yet."""
    found = verdicts(seen(arm("2", "canary", 300, failed={"error": 8})))["error_rate"]

    assert found.outcome == "inconclusive"
    assert found.words.endswith("looks beyond its limit, not proved yet")


@pytest.mark.parametrize("metric", ["error_rate", "latency_ms_p95", "score_shift", "loss", "group_gap", "memory_mb"])
def test_a_gate_may_ask_for_proof_of_the_good(metric: str) -> None:
    """Then a pass needs being beyond the limit to be ruled out, which takes more than looking right."""
    by = {"latency_ms_p95": 25.0, "loss": 0.3, "memory_mb": 1.0}.get(metric, 0.15)
    gates = (Gate(metric=metric, worse_by=by, proven=True, samples=1),)
    few, many = (verdicts(seen(arm("2", "canary", n)), gates)[metric].outcome for n in (12, 4_000))

    assert ("pass" if metric == "memory_mb" else "inconclusive", "pass") == (few, many)


def test_replicas_that_did_not_answer_hold_up_a_pass_but_no_failure() -> None:
    """What the others counted is enough to condemn, not to acquit."""
    stale = ("listener-3",)

    assert {"inconclusive"} == outcomes(seen(arm("2", "canary", 1_000), stale=stale))
    assert {"error_rate"} == failing(seen(arm("2", "canary", 1_000, failed={"error": 100}), stale=stale))


def test_figures_that_neither_version_has_decide_nothing_where_the_gate_says_so() -> None:
    """A model without a threshold is not held up by gates on decisions; one with decisions is until they are there."""
    gates = (Gate(metric="decision_rate", worse_by=0.1, when_given=True),)
    mute = replace(seen(arm("2", "canary", 1_000, decisions={})), pairs=())
    without = replace(mute, arms=tuple([replace(one, decisions={}) for one in mute.arms]))

    assert verdicts(without, gates)["decision_rate"].dry_run
    assert not verdicts(mute, gates)["decision_rate"].dry_run
    assert not verdicts(Evidence(), gates)["decision_rate"].dry_run
    flips = (Gate(metric="decision_flips", max=0.1, when_given=True),)
    assert verdicts(mute, flips)["decision_flips"].dry_run
    shadow = replace(seen(arm("2", "shadow", 1_000)), pairs=())
    assert not verdicts(shadow, flips)["decision_flips"].dry_run


def test_late_answers_of_a_shadow_do_not_hold_up_the_canary() -> None:
    """Some pairs are counted when the shadow stage is over; no more will come, so nothing waits for them."""
    evidence = seen(arm("2", "canary", 5_000), pairs=(PairEvidence(version="2", n=1, flips=1),))
    verdict = verdicts(evidence)["decision_flips"]

    assert ("inconclusive", True) == (verdict.outcome, verdict.dry_run)
    assert {"pass"} == outcomes(evidence)


def test_a_dry_run_is_told_and_marked_and_costs_the_others_nothing() -> None:
    """Its verdict is reported with its figures; the deciding gates keep all of alpha."""
    told = Gate(metric="error_rate", name="strict", max=0.0001, dry_run=True)
    gate = Gate(metric="error_rate", worse_by=0.01)
    evidence = seen(arm("2", "canary", 1_000, failed={"error": 30}))
    found = verdicts(evidence, (told, gate))

    assert ("fail", True) == (found["strict"].outcome, found["strict"].dry_run)
    assert found["error_rate"] == verdicts(evidence, (gate,))["error_rate"]


def test_in_a_bake_the_version_before_is_what_it_was_in_the_stage_before() -> None:
    """It is asked no more, so its figures come from then; without them relative gates wait."""
    before = seen(arm("2", "canary", 10_000))
    baking = Evidence(
        arms=(arm("2", "live", 10_000), arm("2", "canary", 3, seed=1), arm("1", "live", 2)),
        at=BEGAN + timedelta(seconds=SECONDS),
        replicas=2,
    )
    slow = replace(baking, arms=(replace(baking.arms[0], **FAULTS["latency_ms_p95"]), *baking.arms[1:]))

    assert {"pass"} == outcomes(baking, before=before)
    assert "latency_ms_p95" in failing(slow, before=before)
    assert "inconclusive" in outcomes(replace(baking, arms=baking.arms[:1]))


def test_slow_answers_of_one_moment_are_one_event() -> None:
    """Half a second of nothing but slow answers proves nothing, though it was fifty calls; ten seconds of them do."""
    slow = Histogram.of(LATENCY_EDGES_MS, [400.0] * 50)

    def after(seconds: float) -> set[str]:
        evidence = seen(arm("2", "canary", 50, latency_ms=slow), at=BEGAN + timedelta(seconds=seconds))
        return failing(evidence)

    assert set() == after(0.5)
    assert {"latency_ms_p95", "latency_ms_p99"} <= after(10)


def test_the_bounds_of_a_quantile_are_edges_around_it() -> None:
    """They hold the quantile, and come closer with more answers."""
    few, many = (verdicts(seen(arm("2", "canary", n)))["latency_ms_p50"] for n in (300, 30_000))

    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert {few.low, few.high, many.low, many.high} <= set(LATENCY_EDGES_MS)
    assert few.low <= many.low <= 5.0 <= many.high <= few.high
    assert few.high > many.high


def test_a_good_version_survives_a_look_after_every_few_calls() -> None:
    """Ten rollouts of a version just like the live one at 5 %, sixty looks each: nothing fails at any of them."""
    for seed in range(10):
        at = range(100 * seed, 100 * seed + 60)
        parts = [(arm("1", "live", 190, seed=one), arm("2", "canary", 10, seed=one)) for one in at]
        live, candidate = parts[0]
        for n, (more_live, more) in enumerate(parts[1:], start=2):
            live, candidate = live.merged(more_live), candidate.merged(more)
            assert set() == failing(Evidence(arms=(live, candidate), at=BEGAN + timedelta(seconds=n)))
        assert candidate.calls == 600


@given(failed=st.integers(0, 500), more=st.integers(0, 500), calls=st.integers(500, 5_000))
def test_more_failures_never_help(failed: int, more: int, calls: int) -> None:
    """Among as many calls, a version with more failures is never judged better."""
    order = ["pass", "inconclusive", "fail"]
    gates = (Gate(metric="error_rate", worse_by=0.01),)
    healthy = seen(ArmEvidence(version="2", role="canary", calls=calls, scores=Histogram.empty(())))
    found = []
    for count in (failed, min(calls, failed + more)):
        candidate = replace(healthy.arms[1], failed={"error": count})
        found.append(verdicts(replace(healthy, arms=(healthy.arms[0], candidate)), gates)["error_rate"].outcome)

    assert order.index(found[0]) <= order.index(found[1])


@given(st.lists(st.none() | st.floats(0.01, 0.99), min_size=1, max_size=6), st.integers(1, 8))
def test_the_parts_of_alpha_add_up_to_no_more_than_alpha(shares: list[float | None], stages: int) -> None:
    """Whatever the gates ask for, all of them over all stages are wrong with chance alpha at most."""
    gates = [Gate(metric="error_rate", name=str(n), max=0.1, alpha_share=share) for n, share in enumerate(shares)]
    parts = alpha_parts(gates, 0.01 / stages)

    assert min(parts) > 0
    assert sum(parts) * stages <= 0.01 + 1e-12


@given(
    counts=st.lists(st.integers(-5, 50), min_size=8, max_size=8),
    numbers=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=3, max_size=3),
    seconds=st.floats(-10, 1e6),
)
def test_every_evidence_gets_a_verdict(counts: list[int], numbers: list[float], seconds: float) -> None:
    """Counters that disagree, numbers that are none, clocks that go back: never an exception, never a bare NaN."""
    a, b, c, d, e, f, g, h = counts
    odd = ArmEvidence(
        version="2", role="canary", calls=a, failed={"error": b}, rows=c, refused_rows=d,
        latency_ms=Histogram((1.0, 2.0), (e, f, g)), scores=Histogram((0.5,), (h, a), missing=b),
        decisions={"yes": c, "no": d}, review_rows=e, width=Moments(f, *numbers[:2]), restarts=g, memory_mb=numbers[2],
        labelled=Labelled(h, Moments(a, *numbers[1:]), {"g=1": (b, c), "g=2": (d, e)}),
    )  # fmt: skip
    its = replace(odd, version="1", role="live")
    evidence = Evidence(
        arms=(odd, its), pairs=(PairEvidence(version="2", n=f, flips=g),), at=BEGAN + timedelta(seconds=seconds)
    )
    gates = [replace(gate, name=str(n), proven=bool(n % 2)) for n, gate in enumerate(EVERY_METRIC)]

    for found in judge(gates, evidence, "2", "1", since=BEGAN):
        assert GateVerdict.from_json(found.to_json()) == found
        assert found.outcome in ("pass", "fail", "inconclusive")
