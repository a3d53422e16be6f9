"""How long outcomes took."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SchemaMismatch
from twinscore.monitoring.label_delay import DelayTally, label_delays

from .scored import FIGURE, View, block_of, take


def waiting(delay_s: np.ndarray, label: np.ndarray | None = None) -> Any:
    """Rows whose outcomes took so long."""
    block = block_of(np.full(len(delay_s), 0.5), label=np.zeros(len(delay_s)) if label is None else label)
    return replace(block, delay_s=delay_s)


def some_delays(rows: int, seed: int) -> Any:
    """Rows of which the outcome, or when it was known, may be missing, or that were scored after it."""
    rng = np.random.default_rng(seed)
    delay_s = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(3e5, 3e5, rows).round(6))
    return waiting(delay_s, np.where(rng.random(rows) < 0.2, np.nan, 1.0))


@given(rows=st.integers(0, 80), seed=st.integers(0, 999), parts=st.integers(1, 4))
def test_any_split_is_one_pass(rows: int, seed: int, parts: int) -> None:
    """Parts merged in any order, through JSON, are the whole."""
    block, rng = some_delays(rows, seed), np.random.default_rng(seed)
    part = rng.integers(0, parts, rows)
    merged = DelayTally()
    for number in rng.permutation(parts):
        one = DelayTally.of(block.where(part == number), View())
        merged = DelayTally.from_json(json.loads(json.dumps(one.to_json()))).merge(merged)

    assert DelayTally.of(block, View()) == merged


@given(rows=st.integers(1, 200), seed=st.integers(0, 999))
def test_quantiles_are_those_of_the_known_outcomes(rows: int, seed: int) -> None:
    """Within half a per cent of numpy's, inside their intervals; what is not known has no say."""
    block = some_delays(rows, seed)
    known = block.delay_s[~np.isnan(block.delay_s) & ~np.isnan(block.label)]
    tally = DelayTally.of(block, View())
    found: list[Any] = label_delays(tally, FIGURE, rows=rows, timed=True)

    assert len(known) == tally.waits.n
    assert int((known < 0).sum()) == tally.early
    for one, share in zip(found, (0.5, 0.9), strict=True):
        if not len(known):
            assert (None, "of no outcome it is known when it was told") == (one.value, one.note)
            continue
        true = float(np.quantile(np.floor(np.maximum(known, 0.0)), share, method="inverted_cdf"))
        assert one.value == pytest.approx(true, rel=0.005, abs=0.5)
        assert one.low <= one.value <= one.high
        assert len(known) == one.rows


def test_intervals_hold_the_true_median() -> None:
    """Of 400 samples at least 92 in 100 have the true median in their interval."""
    rng, held = np.random.default_rng(2), 0
    for _ in range(400):
        tally = DelayTally.of(waiting(rng.exponential(1e6, 80)), View())
        low, _, high = tally.waits.interval(0.5)
        assert low is not None
        assert high is not None
        held += low <= 1e6 * np.log(2) <= high

    assert held >= 368


def test_young_windows_and_early_outcomes_are_said() -> None:
    """A window whose outcomes are not due has no figure; an outcome before its score is no wait, and is told."""
    tally = DelayTally.of(waiting(np.array([-3600.0, 7200.0, 7200.0])), View())
    half, most = label_delays(tally, FIGURE, rows=3, timed=True)
    young = label_delays(tally, FIGURE, rows=3, timed=True, mature=False)

    assert "1 outcomes were known before the row was scored" == half.note
    assert [7200.0, 7200.0] == pytest.approx([half.value, most.value], rel=0.005)
    assert {(None, "the window's outcomes are not expected yet")} == {(one.value, one.note) for one in young}
    assert DelayTally() == DelayTally.of(take(block_of(np.array([0.5])), np.array([0])), View())


def test_what_is_no_tally_is_refused() -> None:
    """Another document is named as such."""
    with pytest.raises(SchemaMismatch, match="not counts of waits"):
        DelayTally.from_json({"waits": 3, "early": 0})
