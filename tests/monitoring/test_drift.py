"""Figures of drift: what moved is named, what lasts counts, and what cannot be told is never called no drift."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.drift import drift_figures
from twinscore.monitoring.drift_counts import Counted, Reference, WindowCounts, counted, reference_of
from twinscore.monitoring.drift_finding import Findings, findings_of
from twinscore.monitoring.figure import Figure, figures_of, table_of
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.spec import WatchedDrift

START = datetime(2026, 3, 1, tzinfo=UTC)
WHERE = {"model": "loans", "version": "3", "start": START, "end": START + timedelta(hours=1)}
PROFILE = {
    "rows": 8_000,
    "features": {
        "income": {"kind": "numeric", "edges": [1, 2, 3], "counts": [1_900, 1_900, 1_900, 1_900], "missing": 400},
        "age": {"kind": "numeric", "edges": [30], "counts": [5_000, 3_000], "missing": 0},
        "grade": {"kind": "categorical", "categories": ["A", "B"], "counts": [6_000, 2_000], "missing": 0},
    },
    "score": {"edges": [0.2, 0.5], "counts": [3_000, 3_000, 2_000]},
    "decisions": {"accept": 6_000, "refuse": 2_000},
}
REFERENCE = reference_of(PROFILE)
RULE = WatchedDrift()


def like_the_reference(**changed: Counted) -> WindowCounts:
    """Return a window of 800 rows with the reference's shares, but for what is given."""
    known = {
        "income": counted("numeric", [190, 190, 190, 190], 40),
        "age": counted("numeric", [500, 300]),
        "grade": counted("categorical", [600, 200]),
    }
    return WindowCounts(features={**known, **changed}, score=counted("numeric", [300, 300, 200]),
                        decisions={"accept": 600, "refuse": 200}, rows=800)  # fmt: skip


def figures(window: WindowCounts, earlier: tuple[Findings, ...] = (), rule: WatchedDrift = RULE) -> list[Figure]:
    return drift_figures(window, REFERENCE, rule, where=WHERE, earlier=earlier)


def one(found: list[Figure], metric: str, subject: str = "") -> Any:
    return next(figure for figure in found if (figure.metric, figure.subject) == (metric, subject))


def test_window_like_the_reference_has_not_drifted() -> None:
    """Every figure is of the catalogue, finite, and says that nothing moved; the table keeps them."""
    found = figures(like_the_reference())
    values = [figure.value for figure in found]

    assert all(figure.metric in METRICS for figure in found)
    assert {METRICS[figure.metric].subject != "" for figure in found if figure.subject} == {True}
    assert all(value is not None and math.isclose(value, 0, abs_tol=1e-12) for value in values)
    assert one(found, "drifted_features").note == ""
    assert figures_of(table_of(found)) == found


@pytest.mark.parametrize(
    ("feature", "moved", "metric"),
    [
        ("income", counted("numeric", [130, 170, 210, 250], 40), "psi"),
        ("income", counted("numeric", [150, 150, 150, 150], 200), "missing_shift"),
        ("age", counted("numeric", [400, 400]), "ks"),
        ("grade", counted("categorical", [500, 300]), "cramers_v"),
        ("grade", counted("categorical", [585, 195], new=20), "new_category_share"),
        ("grade", counted("categorical", [0, 0], missing=800), "missing_shift"),
    ],
)
def test_what_moved_is_named(feature: str, moved: Counted, metric: str) -> None:
    """Once proved it counts as changed; it has drifted when two of three windows show it."""
    window = like_the_reference(**{feature: moved})
    first = findings_of(window, REFERENCE, RULE)
    alone, after = figures(window), figures(window, (first,))

    assert {name for name, finding in first.features.items() if finding.changed} == {feature}
    assert first.alarm is True
    assert one(alone, metric, feature).p_value < 0.001
    assert (one(alone, "feature_drift", feature).value, one(alone, "drifted_features").value) == (0, 0)
    assert (one(after, "feature_drift", feature).value, one(after, "drifted_features").value) == (1, 1)
    assert one(after, "feature_drift", feature).note == "changed in 2 of the last 2 windows that could tell"


def test_effects_have_their_numbers() -> None:
    """By hand, with the interval around them."""
    window = like_the_reference(income=counted("numeric", [150, 150, 150, 150], 200),
                                grade=counted("categorical", [590, 190], missing=10, new=10))  # fmt: skip
    found = figures(window)
    missing, new = one(found, "missing_shift", "income"), one(found, "new_category_share", "grade")

    assert missing.value == pytest.approx(200 / 800 - 400 / 8_000, abs=1e-12)
    assert missing.low < missing.value < missing.high
    assert new.value == pytest.approx(10 / 790, abs=1e-12)
    assert (missing.rows, new.rows) == (800, 790)
    assert one(found, "psi", "income").value == pytest.approx(0, abs=1e-12)
    assert one(found, "cramers_v", "grade").note == "no interval: some cells have fewer than 5 rows"


def test_scores_and_decisions_are_held_against_the_reference_too() -> None:
    """A window whose scores went up, twice."""
    window = WindowCounts(features=like_the_reference().features, score=counted("numeric", [200, 300, 300]),
                          decisions={"accept": 500, "refuse": 290, "ask": 10}, rows=800)  # fmt: skip
    found = figures(window, (findings_of(window, REFERENCE, RULE),))

    assert one(found, "score_drift").value == 1
    assert one(found, "score_psi").p_value < 1e-6
    assert one(found, "score_ks").value == pytest.approx(0.125, abs=1e-12)
    assert one(found, "decision_shift", "accept").value == pytest.approx(500 / 800 - 0.75, abs=1e-12)
    assert one(found, "decision_shift", "accept").high < 0
    assert one(found, "decision_shift", "ask").value == pytest.approx(10 / 800, abs=1e-12)


def test_few_rows_tell_nothing() -> None:
    """Neither drift nor no drift: no value, and the reason; the alarm is neither true nor false."""
    few = {
        name: counted(known.kind, np.minimum(known.counts, 3)) for name, known in like_the_reference().features.items()
    }
    window = WindowCounts(features=few, score=counted("numeric", [3, 3, 3]), decisions={"accept": 9}, rows=9)
    found = figures(window)

    assert {figure.value for figure in found} == {None}
    assert one(found, "psi", "income").note == "12 rows, fewer than 30"
    assert one(found, "drifted_features").note == "3 of 3 features could not tell"
    assert findings_of(window, REFERENCE, RULE).alarm is None


def test_window_without_an_answer_ends_nothing() -> None:
    """Drift seen before and after an empty night lasts through it."""
    moved = like_the_reference(age=counted("numeric", [300, 500]))
    night = like_the_reference(**{name: counted(k.kind, k.counts * 0) for name, k in REFERENCE.features.items()})
    seen = (findings_of(moved, REFERENCE, RULE), findings_of(night, REFERENCE, RULE))

    assert one(figures(moved, seen), "feature_drift", "age").value == 1
    assert one(figures(night, seen), "feature_drift", "age").value is None


def test_what_cannot_be_compared_is_said() -> None:
    """Other bins, a feature that is not counted or not known, a reference without rows or decisions: no value each."""
    window = like_the_reference(age=counted("numeric", [1, 2, 800]), pets=counted("numeric", [400, 400]))
    bare = reference_of({"rows": 0, "features": {"age": {"kind": "numeric", "counts": [0, 0], "missing": 0}}})
    found, empty = figures(window), drift_figures(window, bare, RULE, where=WHERE)

    assert one(found, "feature_drift", "age").note == "counted in other bins than the reference's"
    assert one(found, "feature_drift", "pets").note == "the reference has no rows of it"
    assert one(found, "drifted_features").note == "2 of 4 features could not tell"
    assert {figure.value for figure in empty} == {None}
    assert one(figures(WindowCounts(features={})), "psi", "income").note == "not counted in this window"
    assert one(empty, "decision_shift", "accept").note == "the reference has no decisions"


def test_feature_with_hardly_a_value_is_judged_by_what_is_missing() -> None:
    """Five values of 800 say nothing of a distribution; that the others are gone does."""
    window = like_the_reference(income=counted("numeric", [5, 0, 0, 0], 795))
    found = findings_of(window, REFERENCE, RULE).features["income"]

    assert found.changed
    assert found.effects["psi"].value is None
    assert found.effects["psi"].note == "5 rows have a value, 7600 of the reference"


def test_reference_is_known_by_its_digest() -> None:
    """What is kept for one profile is not used for another."""
    other = reference_of({**PROFILE, "rows": 8_001})

    assert REFERENCE == reference_of(dict(PROFILE))
    assert other != REFERENCE
    assert isinstance(hash(other), int)
    assert REFERENCE.decisions == {"accept": 6_000, "refuse": 2_000}
    assert Reference(digest="x", features={}).score is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("alarms", 0.0), ("effect", -1.0), ("share", 1.5), ("at_least", 4), ("fewest_rows", 0)],
)
def test_rule_without_sense_is_refused(key: str, value: float) -> None:
    """The message names the key of the deployment file."""
    with pytest.raises(SettingsInvalid, match=rf"monitor\.drift\.{key}"):
        WatchedDrift(**{key: value})
