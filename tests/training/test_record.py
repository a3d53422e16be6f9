"""What a version's profile says of its decisions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import infer_features
from twinscore.bundle.profile import build_profile
from twinscore.training.record import _decisions


@pytest.mark.parametrize(
    ("card", "predicted", "expected"),
    [
        (ModelCard("m", "classification", "o", ("no", "yes"), "yes", 0.25), [0.1, 0.25, 0.9], {"no": 1, "yes": 2}),
        (ModelCard("m", "classification", "o", ("a", "b", "c")), [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], {"b": 1, "c": 1}),
        (ModelCard("m", "regression", "o"), [1.0, 2.0], None),
    ],
)
def test_profile_counts_what_was_decided(card: ModelCard, predicted: list, expected: dict[str, int] | None) -> None:
    """As scoring decides: from the threshold on, or the likeliest class; numbers have no decisions."""
    rows = pa.table({"x": np.arange(len(predicted), dtype=np.float64)})
    scores = np.zeros(len(predicted))
    decisions = _decisions(np.array(predicted, dtype=np.float32), card)
    profile = build_profile(rows, infer_features(rows, exclude=()), scores, decisions=decisions)

    assert expected == profile.get("decisions")
