"""Figures of one window."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from twinscore.monitoring.drift_counts import reference_of
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.known_version import KnownVersion
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.spec import MonitorSpec
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.tally_runs import RunTally
from twinscore.monitoring.tally_service import Requests, ServiceTally
from twinscore.monitoring.window_drift import DriftInTime
from twinscore.monitoring.window_figures import window_figures
from twinscore.monitoring.window_key import WindowKey

from .test_tally import PLAN, make_block

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
KEY = WindowKey(
    model="loans", version="3", bundle_digest="d", role="live", path="online", segment="", start=START,
    end=START + timedelta(hours=1),
)  # fmt: skip


PROFILE = {
    "rows": 5,
    "features": {
        one.name: {"kind": one.kind, "counts": list(one.counts), "missing": one.missing} for one in PLAN.features
    },
    "score": {"edges": list(PLAN.score_edges), "counts": [1] * (len(PLAN.score_edges) + 1), "min": 0.0, "max": 1.0},
}


class Known(KnownVersion):
    """A version of which only the plan and the profile are known."""

    plan = replace(PLAN, created_at="2026-03-01T00:00:00+00:00", profile=PROFILE)
    reference = reference_of(PROFILE)


KNOWN = Known(SimpleNamespace(profile=PROFILE))  # type: ignore[arg-type]


def by_name(tally: WindowTally, key: WindowKey = KEY) -> dict[tuple[str, str], Figure]:
    """The figures of a tally by metric and subject."""
    spec = MonitorSpec(fewest_in_group=2)
    found = window_figures(key, tally, KNOWN, spec, drift=DriftInTime(spec.drift))
    assert all(one.metric in METRICS for one in found)
    return {(one.metric, one.subject): one for one in found}


def test_scores_and_doubts_are_those_of_the_rows() -> None:
    """Means and shares are what numpy says of the same rows, inside their intervals."""
    block = make_block(5, 400)
    found = by_name(WindowTally.of(block, PLAN))
    width = (block.upper - block.lower)[~np.isnan(block.upper)]
    sets = block.set_size[block.set_size >= 0]
    decided = block.decision.codes[block.decision.codes >= 0]

    assert found["score_mean", ""].value == pytest.approx(block.score.mean(), rel=1e-12)
    assert found["interval_width", ""].value == pytest.approx(width.mean(), rel=1e-12)
    assert found["ambiguous_share", ""].value == (sets != 1).mean()
    assert found["decision_rate", "yes"].value == (decided == 1).mean()
    assert found["review_rate", ""].value == block.review.mean()
    assert found["model_age_s", ""].value == 11 * 3600
    for one in found.values():
        if one.low is not None and one.high is not None and one.value is not None:
            assert one.low <= one.value <= one.high


def test_requests_and_runs_are_told() -> None:
    """Shares of what they are of: failures of requests, refusals of rows; a shed request has no time."""
    requests = Requests(
        status=np.array([200] * 8 + [500, 503]), shed=np.array([False] * 9 + [True]),
        took_us=np.array([1_000] * 9 + [9_000_000]), answered=30, refused=10, cached=15, degraded=3,
    )  # fmt: skip
    runs = RunTally.of({"seconds": {"total": 12.5}, "rows_in": 200, "rows_quarantined": 10})
    refused = RunTally.of({"seconds": {"total": 2.5}, "rows_in": 0, "refused": "too many"})
    found = by_name(WindowTally(service=ServiceTally.of(requests), runs=refused.merge(runs)))
    values = {name: one.value for (name, _), one in found.items()}

    assert (10.0, 0.1, 0.1, 0.25) == tuple(
        values[name] for name in ("requests", "error_rate", "shed_rate", "refusal_rate")
    )
    assert (0.5, 0.1) == (values["cached_share"], values["degraded_share"])
    assert values["latency_ms_p99"] == pytest.approx(1.0, rel=0.005)
    assert (1.0, 12.5, 0.05) == (values["runs_failed"], values["run_s"], values["quarantine_share"])
    assert "the longest of 2" == found["run_s", ""].note


def test_nothing_counted_says_nothing() -> None:
    """A window without requests, rows and runs has no figure but the age of the version."""
    assert {("model_age_s", "")} == set(by_name(WindowTally()))


def test_what_could_not_be_counted_is_said() -> None:
    """The note of a run without its input is on every figure of the window."""
    tally = WindowTally.of(make_block(1, 5), PLAN).merge(WindowTally(notes=frozenset({"the input is gone"})))

    assert all(one.note for one in by_name(tally).values())
    assert "the input is gone" == by_name(tally)["score_mean", ""].note
