"""How the reference rows of each segment were spread."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.bundle.features import infer_features
from twinscore.bundle.profile import bin_counts, build_profile
from twinscore.bundle.segments import FEWEST_ROWS, MOST_VALUES

KINDS = pa.array(["car", "home", None])


def some_rows(rows: int, seed: int) -> tuple[pa.Table, np.ndarray, pa.Array]:
    """Rows with missing cells, their scores and decisions."""
    rng = np.random.default_rng(seed)
    amount = np.where(rng.random(rows) < 0.2, np.nan, rng.normal(size=rows).round(1))
    table = pa.table({
        "amount": pa.array(amount, from_pandas=True),
        "kind": KINDS.take(pa.array(rng.integers(0, 3, rows))),
        "branch": pa.array(rng.integers(0, 4, rows)),
    })  # fmt: skip
    return table, rng.random(rows).round(2), pa.array(np.where(rng.random(rows) < 0.3, "yes", "no"))


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 400), seed=st.integers(0, 999))
def test_counts_are_those_of_the_rows_of_a_segment(rows: int, seed: int) -> None:
    """Each segment has what counting its rows alone gives, in the bins of all rows; the profile is else the same."""
    table, scores, decisions = some_rows(rows, seed)
    spec = infer_features(table, exclude=["branch"])
    profile = build_profile(table, spec, scores, decisions=decisions, segments=("kind", "branch"))
    found = json.loads(json.dumps(profile))["segments"]
    encoded, edges = spec.encode(table).astype(np.float64), np.array(profile["score"]["edges"])

    for column in ("kind", "branch"):
        names = np.array(["(missing)" if one is None else str(one) for one in table[column].to_pylist()])
        assert {name for name in names if (names == name).sum() >= FEWEST_ROWS} == set(found[column])
        for name, one in found[column].items():
            mine = names == name
            assert int(mine.sum()) == one["rows"]
            assert bin_counts(scores[mine], edges).tolist() == one["score"]
            assert int((decisions.to_numpy(False)[mine] == "yes").sum()) == one["decisions"].get("yes", 0)
            for place, feature in enumerate(spec.features):
                values = encoded[mine, place]
                there, known = values[~np.isnan(values)], profile["features"][feature.name]
                expected = (
                    np.bincount(there.astype(int), minlength=len(feature.categories))
                    if feature.kind == "categorical" else bin_counts(there, np.array(known["edges"]))
                )  # fmt: skip
                assert expected.tolist() == one["features"][feature.name]["counts"]
                assert int(np.isnan(values).sum()) == one["features"][feature.name]["missing"]
    without = {name: one for name, one in profile.items() if name != "segments"}
    assert build_profile(table, spec, scores, decisions=decisions) == without


@pytest.mark.parametrize("values", [MOST_VALUES, MOST_VALUES + 9])
def test_only_the_largest_are_kept(values: int) -> None:
    """A column with very many values keeps the largest, so that a bundle stays small."""
    rows = np.concatenate([np.full(FEWEST_ROWS + number, number) for number in range(values)])
    table = pa.table({"x": pa.array(np.zeros(len(rows))), "shop": pa.array(rows)})
    profile: Any = build_profile(
        table, infer_features(table, exclude=["shop"]), np.zeros(len(rows)), segments=("shop", "shop")
    )

    assert {str(number) for number in range(values - MOST_VALUES, values)} == set(profile["segments"]["shop"])
