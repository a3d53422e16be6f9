"""Drift of segments, each held against the same segment of the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from twinscore.bundle.features import infer_features
from twinscore.bundle.profile import build_profile
from twinscore.monitoring.drift_counts import Reference, WindowCounts, counted, reference_of, segment_reference
from twinscore.monitoring.drift_finding import findings_of
from twinscore.monitoring.spec import WatchedDrift

RULE = WatchedDrift()


def counts_of(profile: Any, spec: Any, table: pa.Table) -> WindowCounts:
    """A window of rows, counted by scipy and numpy from the raw values."""
    rows, features = spec.encode(table).astype(np.float64), {}
    for place, one in enumerate(spec.features):
        there = rows[~np.isnan(rows[:, place]), place]
        if one.kind == "categorical":
            bins = np.bincount(there.astype(int), minlength=len(one.categories))
        else:
            edges = np.array([-np.inf, *profile["features"][one.name]["edges"], np.inf])
            bins = np.histogram(-there, -edges[::-1])[0][::-1]  # turned round: bins are open below, closed above
        features[one.name] = counted(one.kind, bins, len(rows) - len(there))
    return WindowCounts(features=features, rows=table.num_rows)


def as_text(table: pa.Table) -> pa.Table:
    """The rows with text as contracts have it."""
    text = [item.with_type(pa.string()) if pa.types.is_large_string(item.type) else item for item in table.schema]
    return table.cast(pa.schema(text))


def reference_in(profile: Any, segment: str) -> Reference:
    """The reference of a segment that the profile keeps."""
    found = segment_reference(profile, segment)
    assert found is not None
    return found


def test_the_census_by_sex(adult_train: Path, adult_test: Path) -> None:
    """Women of the test rows are like the women of the training rows and unlike all of them; PSI is the formula's."""
    train, test = as_text(pq.read_table(adult_train)), as_text(pq.read_table(adult_test))
    spec = infer_features(train, exclude=["row_id", "label", "sex"])
    profile = build_profile(train, spec, np.zeros(train.num_rows), segments=("sex", "education"))
    women = np.array(test["sex"].to_pylist()) == "Female"
    window = counts_of(profile, spec, test.filter(pa.array(women)))
    own = findings_of(window, reference_in(profile, "sex=Female"), RULE)
    known = np.array(train["sex"].to_pylist()) == "Female"
    everybody = findings_of(window, reference_of(profile), RULE)

    assert not any(one.changed for one in own.features.values())
    assert {"relationship", "hours_per_week"} <= {name for name, one in everybody.features.items() if one.changed}
    for place, one in enumerate(spec.features):
        before = spec.encode(train)[known, place].astype(np.float64)
        after = spec.encode(test)[women, place].astype(np.float64)
        before, after = before[~np.isnan(before)], after[~np.isnan(after)]
        if one.kind == "numeric":
            edges = np.array(profile["features"][one.name]["edges"])
            cells = [np.searchsorted(edges, values) for values in (before, after)]
            assert own.features[one.name].effects["ks"].value == pytest.approx(
                stats.ks_2samp(*cells).statistic, abs=1e-9
            )
        else:
            shares = [np.bincount(values.astype(int), minlength=len(one.categories)) for values in (before, after)]
            apart = jensenshannon(shares[0], shares[1], base=2)
            assert own.features[one.name].effects["js_distance"].value == pytest.approx(apart, abs=1e-9)


@pytest.mark.parametrize("rows", [60, 600])
def test_false_alarms_of_a_small_segment(rows: int) -> None:
    """Windows without drift of a segment with 300 reference rows alarm in at most 2 of 100, references drawn anew."""
    rng, alarms, windows = np.random.default_rng(rows), 0, 0
    for seed in range(5):
        values = np.random.default_rng(seed).normal(size=(3_000, 4))
        table = pa.table({**{f"x{at}": values[:, at] for at in range(4)}, "branch": np.arange(3_000) % 10})
        spec = infer_features(table, exclude=["branch"])
        profile = build_profile(table, spec, np.zeros(3_000), segments=("branch",))
        reference = reference_in(profile, "branch=3")
        for _ in range(60):
            window = pa.table({f"x{at}": rng.normal(size=rows) for at in range(4)} | {"branch": np.full(rows, 3)})
            alarms += bool(findings_of(counts_of(profile, spec, window), reference, RULE).alarm)
            windows += 1

    assert alarms <= 0.02 * windows


def test_what_the_profile_does_not_keep_is_not_told() -> None:
    """No segment of an old bundle, of another column or value."""
    table = pa.table({"x": np.zeros(100), "branch": ["a"] * 99 + ["b"]})
    spec = infer_features(table, exclude=["branch"])
    kept = build_profile(table, spec, np.zeros(100), segments=("branch",))

    assert segment_reference(kept, "branch=a") is not None
    assert [None] * 4 == [
        segment_reference(profile, segment)
        for profile, segment in [
            (kept, "branch=b"), (kept, "branch=(others)"), (kept, "x=0"),
            (build_profile(table, spec, np.zeros(100)), "branch=a"),
        ]
    ]  # fmt: skip
