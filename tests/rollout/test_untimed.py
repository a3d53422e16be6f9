"""Gates on latency where the live version answers from a cache, or in bulk alone."""

from __future__ import annotations

from dataclasses import replace

from twinscore.rollout.evidence import LATENCY_EDGES_MS, Histogram
from twinscore.rollout.gate import Gate

from .test_judge import FAULTS, arm, outcomes, seen, verdicts


def test_a_live_version_whose_answers_have_no_times_holds_nobody_up() -> None:
    """It answers from a cache, or in bulk: beside it a latency decides nothing, and an absolute limit all the same."""
    evidence = seen(arm("2", "canary", 5_000))
    untimed = replace(
        evidence, arms=(replace(evidence.arms[0], latency_ms=Histogram.empty(LATENCY_EDGES_MS)), *evidence.arms[1:])
    )
    young = replace(untimed, arms=(replace(untimed.arms[0], rows=3), *untimed.arms[1:]))
    beside, absolute = Gate(metric="latency_ms_p95", times=2.0), Gate(metric="latency_ms_p95", max=50.0, times=2.0)
    slow = replace(untimed, arms=(untimed.arms[0], arm("2", "canary", 5_000, **FAULTS["latency_ms_p95"])))

    assert {"pass"} == outcomes(untimed)
    assert verdicts(untimed, (beside,))["latency_ms_p95"].dry_run
    assert not verdicts(young, (beside,))["latency_ms_p95"].dry_run
    assert "pass" == verdicts(untimed, (absolute,))["latency_ms_p95"].outcome
    assert "fail" == verdicts(slow, (absolute,))["latency_ms_p95"].outcome
