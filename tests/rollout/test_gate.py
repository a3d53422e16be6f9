"""Gates as people write them: read strictly, refused by name, with limits that mean something."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.rollout.gate import DEFAULT_GATES, METRICS, Gate, GateVerdict


def test_a_gate_is_read_from_yaml() -> None:
    """A gate is called like its metric, and takes its samples and bursts from it."""
    gate = Gate.from_document(yaml.safe_load("{metric: latency_ms_p95, times: 1.5, worse_by: 25}"))

    assert gate == Gate(metric="latency_ms_p95", name="latency_ms_p95", times=1.5, worse_by=25)
    assert (100, 1.0) == (gate.least, gate.burst)
    assert (5, 0.0) == (
        Gate(metric="error_rate", max=0.1, samples=5).least,
        Gate(metric="error_rate", max=0.1, burst_s=0.0).burst,
    )


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ([], "mapping"),
        ({"metric": "error_rat", "max": 0.1}, "error_rate"),
        ({"metric": "error_rate"}, "at least one of max, min, worse_by, times"),
        ({"metric": "error_rate", "maxx": 0.1}, "'max'"),
        ({"max": 0.1}, "lacks metric"),
        ({"metric": "error_rate", "max": "much"}, "a number"),
        ({"metric": "error_rate", "max": True}, "a number"),
        ({"metric": "error_rate", "max": math.nan}, "finite"),
        ({"metric": "error_rate", "worse_by": -0.1}, "not below 0"),
        ({"metric": "error_rate", "max": 0.1, "burst_s": math.inf}, "finite"),
        ({"metric": "error_rate", "max": 0.1, "samples": 0}, "at least 1"),
        ({"metric": "error_rate", "max": 0.1, "alpha_share": 1}, "between 0 and 1"),
        ({"metric": "score_shift", "max": 0.1}, "score_shift is limited by worse_by"),
        ({"metric": "decision_flips", "worse_by": 0.1}, "decision_flips is limited by max"),
        ({"metric": "error_rate", "max": 5}, "a share from 0 to 1"),
        ({"metric": "memory_mb", "min": 5}, "limited by max or worse_by or times"),
    ],
)
def test_what_is_no_gate_is_refused_by_name(document: Any, word: str) -> None:
    """Unknown keys and metrics, wrong kinds, no limit, and limits that mean nothing are named."""
    with pytest.raises(SettingsInvalid, match=word):
        Gate.from_document(document)


@given(
    metric=st.sampled_from(sorted(METRICS)),
    limit=st.floats(0, 1),
    samples=st.none() | st.integers(1, 10**9),
    flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_a_gate_survives_json(metric: str, limit: float, samples: int | None, flags: tuple[bool, bool, bool]) -> None:
    """Reading what was written gives an equal gate, whatever its limit."""
    proven, when_given, dry_run = flags
    for key in METRICS[metric].limits:
        gate = Gate(
            metric=metric, samples=samples, proven=proven, when_given=when_given, dry_run=dry_run, **{key: limit}
        )
        assert gate == Gate.from_document(gate.to_json())


def test_a_verdict_survives_json() -> None:
    """Reading what was written gives an equal verdict."""
    verdict = GateVerdict(gate="error_rate", outcome="pass", words="fine", value=0.1, low=0.0, high=0.2, samples=7)

    assert verdict == GateVerdict.from_json(verdict.to_json())


def test_the_default_gates_have_names_of_their_own() -> None:
    """Verdicts are told apart by name."""
    names = [gate.name for gate in DEFAULT_GATES]

    assert len(set(names)) == len(names)
