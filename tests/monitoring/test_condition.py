"""Conditions: what is written is what is read, and what cannot be read is refused where it goes wrong."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.condition import Both, Comparison, Condition, Either, Missing, holds, negated, show_condition
from twinscore.monitoring.condition_range import possible
from twinscore.monitoring.condition_text import MOST_COMPARISONS, parse_condition
from twinscore.monitoring.judge import Window
from twinscore.monitoring.metric import METRICS
from twinscore.monitoring.quantity import LONGEST_S, seconds_of, show_seconds

SHARE = METRICS["fpr_gap"]
ABOVE = Comparison("value", ">", 1.0)
UNITS = [METRICS[name] for name in ("psi", "fpr_gap", "latency_ms_p99", "prediction_age_s", "runs_failed")]

operators = st.sampled_from((">", ">=", "<", "<="))
numbers = st.one_of(
    st.floats(-1e6, 1e6, allow_nan=False), st.integers(-1_000_000, 1_000_000).map(float), st.floats(1e-9, 1e-3)
)
terms = st.sampled_from(("value", "low", "high", "p_value", "rows"))
comparisons = st.builds(Comparison, terms, operators, numbers)
conditions = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from((Both, Either)), st.lists(inner, min_size=2, max_size=3)
    ),
    max_leaves=MOST_COMPARISONS,
)
silences = st.integers(1, int(LONGEST_S) * 1_000).map(lambda thousandths: Missing(thousandths / 1_000))


def figure(**numbers: Any) -> Window:
    """Return what a condition looks at."""
    members = {"value": None, "low": None, "high": None, "p_value": None, "rows": 0, **numbers}
    return Window(None, "", None, "clear", *members.values())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "metric", "expected"),
    [
        ("value > 0.25", "psi", Comparison("value", ">", 0.25)),
        ("low>5%", "fpr_gap", Comparison("low", ">", 0.05)),
        ("value >= 0.25 s", "latency_ms_p99", None),
        ("value >= 0.25s", "latency_ms_p99", Comparison("value", ">=", 250.0)),
        ("value > 2h", "prediction_age_s", Comparison("value", ">", 7_200.0)),
        ("missing for 90m", "psi", Missing(5_400.0)),
        (
            "p_value < 0.01 AND (value > 1 or value < -1)",
            "score_mean",
            Both((Comparison("p_value", "<", 0.01), Either((ABOVE, Comparison("value", "<", -1.0))))),
        ),
        (
            "value > 1 or value < 0 and rows >= 50",
            "score_mean",
            Either((ABOVE, Both((Comparison("value", "<", 0.0), Comparison("rows", ">=", 50.0))))),
        ),
    ],
)  # fmt: skip
def test_conditions_are_read(text: str, metric: str, expected: Condition | None) -> None:
    """Numbers take the metric's unit; `and` binds before `or`; a unit stands at its number."""
    if expected is None:
        with pytest.raises(SettingsInvalid):
            parse_condition(text, METRICS[metric])
    else:
        assert expected == parse_condition(text, METRICS[metric])


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", 0, "name one of value"),
        ("valu > 1", 0, "Did you mean 'value'"),
        ("value = 1", 6, "one of >, >=, < and <="),
        ("value > high", 8, "a number"),
        ("value > 250ms", 8, "a plain number or %"),
        ("value > 1 adn low > 1", 10, "Did you mean 'and'"),
        ("(value > 1", 10, "close the bracket"),
        ("value > 1)", 9, "go on with `and` or `or`"),
        ("value > 1 and", 13, "ends there"),
        ("missing 2h", 8, "for how long"),
        ("missing for 2", 12, "a time with a unit"),
        ("missing for 0s", 12, "above 0"),
        ("missing for 2h or value > 1", 15, "stands alone"),
        ("value > 1e999", 8, "finite"),
        ("value > 1; import os", 9, "not have ';'"),
        ("value > 1 or " * 9 + "value > 1", 104, "at most 8 comparisons"),
        ("(" * 9 + "value > 1" + ")" * 9, 8, "at most 8 brackets"),
        ("value > 1" + " " * 300, 300, "300 letters"),
    ],
)
def test_mistakes_are_named_where_they_are(text: str, at: int, said: str) -> None:
    """The letter is that of the first thing that cannot be, and the message says what could stand there."""
    with pytest.raises(SettingsInvalid) as caught:
        parse_condition(text, SHARE)

    assert (at, "when") == (caught.value.fields["at"], caught.value.fields["key"])
    assert said in caught.value.message


@given(st.one_of(conditions, silences), st.sampled_from(UNITS))
def test_a_condition_is_read_back_as_it_was(condition: Condition, metric: Any) -> None:
    """What is shown is read back to an equal condition, in every unit."""
    text = show_condition(condition, metric.unit)
    assume(len(text) <= 300)

    assert condition == parse_condition(text, metric)


PIECES = (
    "value",
    "low",
    "rows",
    "missing",
    "for",
    " ",
    "and",
    "or",
    "(",
    ")",
    ">",
    "<=",
    "=",
    "0.5",
    "-1e3",
    "2h",
    "%",
    "ü",
)


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map(" ".join)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    """No text does anything else, whatever is in it."""
    refused: SettingsInvalid | None = None
    try:
        condition = parse_condition(text, SHARE)
    except SettingsInvalid as error:
        refused = error
    if refused is None:
        assert condition == parse_condition(show_condition(condition, SHARE.unit), SHARE)
    else:
        assert 0 <= refused.fields["at"] <= len(text)


LINE = [at / 8 for at in range(9)]
FIGURES = [
    figure(low=low, value=value, high=high, rows=1)
    for low, value, high in product(LINE, LINE, LINE)
    if low <= value <= high
]
marks = st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0))
bounds = st.recursive(
    st.builds(Comparison, st.sampled_from(("value", "low", "high")), operators, marks),
    lambda inner: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from((Both, Either)), st.lists(inner, min_size=2, max_size=2)
    ),
    max_leaves=4,
)


@given(bounds, bounds)
def test_what_can_hold_at_once_is_known_exactly(one: Any, other: Any) -> None:
    """The answer is that of trying every figure of a fine enough grid."""
    found = any(holds(one, item) and holds(other, item) for item in FIGURES)

    assert found == possible([one, other], SHARE)


@given(conditions, st.dictionaries(terms, st.one_of(st.none(), st.just(float("nan")), numbers)))
def test_the_opposite_is_unknown_with_it_and_else_the_opposite(condition: Any, numbers: dict[str, Any]) -> None:
    """A figure that says nothing of a condition says nothing of its opposite either."""
    found = holds(condition, figure(**{"rows": 0, **numbers}))

    assert (None if found is None else not found) == holds(negated(condition), figure(**{"rows": 0, **numbers}))


def test_unknown_parts_decide_nothing() -> None:
    """Unknown and false is false, unknown or true is true, all else with unknown is unknown."""
    unknown, true, false = Comparison("low", ">", 0.0), Comparison("value", ">", 0.0), Comparison("value", "<", 0.0)
    seen = figure(value=1.0)

    assert [None, False, None, True] == [
        holds(Both((unknown, true)), seen), holds(Both((unknown, false)), seen),
        holds(Either((unknown, false)), seen), holds(Either((unknown, true)), seen),
    ]  # fmt: skip


@given(st.integers(0, int(LONGEST_S) * 1_000))
def test_times_are_read_back(thousandths: int) -> None:
    """To the millisecond, up to ten years."""
    assert thousandths / 1_000 == seconds_of(show_seconds(thousandths / 1_000), "for")


@pytest.mark.parametrize("text", ["", "2", "2 weeks", "-1h", "1e3s", "4000d", 5, None, True, "9" * 12 + "d"])
def test_other_times_are_refused(text: object) -> None:
    """A time has one of five units, and no more than ten years."""
    with pytest.raises(SettingsInvalid, match="The for must be"):
        seconds_of(text, "for")
