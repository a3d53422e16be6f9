"""Incidents: when they open, what is ordered, when they are over; each rule of the language once."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from twinscore.monitoring.figure import Figure
from twinscore.monitoring.incident import AlertState
from twinscore.monitoring.rule_file import read_rule
from twinscore.monitoring.step import step_all
from twinscore.testing.alerts import HOUR, START, Watched, figure_at

BAD, GOOD = 0.3, 0.1
OFTEN = {"when": "value > 0.25", "windows": "3 of 5"}


def test_an_incident_opens_goes_on_and_closes() -> None:
    """3 of 5 windows open it, three clear ones in a row end it; its phases are told on the way."""
    watched = Watched.of(**OFTEN, do=["ticket", "hold"])

    assert [] == watched.values([BAD, GOOD, BAD])
    assert [True] == [one.pending for one in watched.state.series.values()]
    assert ["3 ticket open", "3 hold open"] == watched.values([BAD], first=3)
    assert ["open"] == [one.phase for one in watched.state.open]
    assert [] == watched.values([GOOD, GOOD], first=4)
    assert ["clearing"] == [one.phase for one in watched.state.open]
    assert [] == watched.values([BAD, GOOD, GOOD], first=6)
    assert ["9 ticket close", "9 hold close"] == watched.values([GOOD], first=9)
    assert ["closed"] == [one.phase for one in watched.state.incidents.values()]


def test_forty_features_are_one_incident() -> None:
    """One ticket lists them, the worst first; those that join later are in its comments, not in tickets apart."""
    watched = Watched.of(when="value > 0.25", cooldown="2h")
    (order,) = watched.see([figure_at(0, 0.3 + at / 100, subject=f"f{at}") for at in range(40)])

    assert (40, "f39", 0.69) == (order.details["members_total"], order.details["subject"], order.details["value"])
    assert "psi in 40 places, worst of f39 is 0.69 (live, online)" in order.title
    assert "and 20 more" in order.body
    assert [] == watched.see([figure_at(1, BAD, subject="f99")])
    (order,) = watched.see([figure_at(2, BAD, subject="f99")])
    assert ("comment", 41) == (order.verb, order.details["members_total"])


def test_incidents_are_apart_where_the_rule_says_so() -> None:
    """`each: subject` makes one for each feature; roles that are not looked at make none."""
    watched = Watched.of(when="value > 0.25", each="subject")
    orders = watched.see(
        [figure_at(0, BAD, subject=name) for name in ("a", "b")] + [figure_at(0, BAD, subject="c", role="shadow")]
    )

    assert [["a"], ["b"]] == [one.details["key"] for one in orders]


def test_columns_of_groups_are_apart_and_paths_too() -> None:
    """Whoever audits one column looks at its groups; online and batch are mended differently."""
    watched = Watched.of(metric="fpr_gap", when="low > 5%", do="audit")
    orders = watched.see(
        [figure_at(0, 0.2, low=0.1, high=0.3, metric="fpr_gap", subject=name) for name in ("sex", "age")]
        + [figure_at(0, 0.2, low=0.1, metric="fpr_gap", subject="sex", role="batch", path="batch")]
    )

    assert 3 == len(orders)


@pytest.mark.parametrize("silent", [{"value": None}, {"value": float("nan")}, {"value": BAD, "rows": 20}])
def test_what_says_nothing_changes_nothing(silent: dict[str, float]) -> None:
    """No value, NaN and too few rows neither break a rule nor end an incident, and take no window's place."""
    watched = Watched.of(**OFTEN, least_rows=100)
    nothing = [figure_at(at, **silent) for at in range(1, 10)]

    assert [] == watched.values([BAD])
    assert [] == watched.see(nothing)
    assert ["10 ticket open"] == watched.values([BAD, BAD], first=9)[-1:]
    assert [] == watched.see([figure_at(at, **silent) for at in range(11, 40)])
    assert ["42 ticket close"] == watched.values([GOOD, GOOD, GOOD], first=40)[-1:]


def test_an_interval_that_is_not_there_says_nothing() -> None:
    """A condition on `low` waits for one; why nothing is said is kept for people."""
    watched = Watched.of(metric="fpr_gap", when="low > 5%")

    assert [] == watched.values([0.9], metric="fpr_gap")
    assert ["it lacks what the condition asks for"] == [one.note for one in watched.state.series.values()]
    assert ["1 ticket open"] == watched.values([0.9], first=1, metric="fpr_gap", low=0.8, high=1.0)


def test_figures_between_both_conditions_keep_an_incident_as_it_is() -> None:
    """Hysteresis: below the threshold is not yet over."""
    watched = Watched.of(when="value > 0.25", clear="value < 0.2")

    assert ["0 ticket open"] == watched.values([BAD, 0.22, 0.24, 0.2])
    assert ["4 ticket close"] == watched.values([0.19, 0.22, 0.25], first=4)


def test_a_breach_must_last() -> None:
    """`for` is counted from the end of the first window to that of the last, and anew after a break."""
    watched = Watched.of(when="value > 0.25", **{"for": "2h"}, clear={"for": "1h"})

    assert ["6 ticket open"] == watched.values([BAD, BAD, GOOD, GOOD, BAD, BAD, BAD, GOOD, BAD, GOOD])
    assert ["10 ticket close"] == watched.values([GOOD], first=10)


def test_silence_is_a_condition_of_its_own() -> None:
    """`missing for` opens after the time without a value, and closes when a figure is there again."""
    watched = Watched.of(metric="prediction_age_s", when="missing for 2h")
    quiet = {"metric": "prediction_age_s", "role": "batch", "path": "batch"}

    assert [] == watched.see([figure_at(0, 5.0, **quiet)])
    assert [] == watched.see([figure_at(1, None, **quiet)], now=START + 2 * HOUR)
    (order,) = watched.see([figure_at(2, float("nan"), **quiet)], now=START + 3 * HOUR)
    assert "no prediction_age_s since 2026-03-01 01:00 UTC (batch, batch)" in order.title
    assert [] == watched.see([], now=START + 30 * HOUR)
    assert ["close"] == [one.verb for one in watched.see([figure_at(29, 5.0, **quiet)], now=START + 30 * HOUR)]


def test_who_was_never_heard_is_missing_too() -> None:
    """The time runs from the first look; the first figure ends it."""
    watched = Watched.of(metric="auc", when="missing for 1d")

    assert [] == watched.see([], now=START)
    (order,) = watched.see([], now=START + 24 * HOUR)
    assert "no auc ever" in order.title
    assert ["close"] == [one.verb for one in watched.see([figure_at(23, 0.8, metric="auc")], now=START + 24 * HOUR)]
    assert [] == watched.see([], now=START + 40 * HOUR)
    assert ["open"] == [one.verb for one in watched.see([], now=START + 48 * HOUR)]


def test_a_window_told_anew_replaces_what_it_said() -> None:
    """Late labels revise a past window: what it says now counts, in both directions."""
    watched = Watched.of(**OFTEN)

    assert [] == watched.values([BAD, GOOD, BAD, GOOD])
    assert ["open"] == [one.verb for one in watched.see([figure_at(1, BAD)])]
    watched = Watched.of(when="value > 0.25")
    assert ["0 ticket open"] == watched.values([BAD])
    assert ["close"] == [one.verb for one in watched.see([figure_at(0, GOOD)])]


def test_windows_that_were_let_go_of_are_not_judged_again() -> None:
    """Only as many windows are kept as the rule counts; older ones say nothing any more."""
    watched = Watched.of(**OFTEN)
    watched.values([GOOD] * 50)
    before = watched.state

    assert [] == watched.see([figure_at(at, BAD) for at in range(40)])
    assert before == watched.state
    assert [5] == [len(one.windows) for one in before.series.values()]


def test_a_window_that_is_not_over_waits() -> None:
    """Half an hour of figures is not an hour's."""
    watched = Watched.of(when="value > 0.25")

    assert [] == watched.see([figure_at(3, BAD)], now=START + 3.5 * HOUR)
    assert 1 == len(watched.see([figure_at(3, BAD)], now=START + 4 * HOUR))


def test_what_comes_back_within_the_cooldown_is_the_same_incident() -> None:
    """Its ticket is opened again; later it is a new one."""
    watched = Watched.of(when="value > 0.25", cooldown="6h")
    watched.values([BAD, GOOD, GOOD, BAD, GOOD])
    watched.values([BAD], first=20)
    opens = [one for one in watched.orders if one.verb == "open"]

    assert opens[0].incident == opens[1].incident != opens[2].incident
    assert ["open/1", "open/2", "open/1"] == [one.id.partition("/ticket/")[2] for one in opens]
    assert [False, True, False] == [one.details["reopened"] for one in opens]


def test_later_actions_wait_and_only_come_while_it_is_still_so() -> None:
    """Scale at once, degrade two minutes later if that did not help."""
    said = {
        "metric": "latency_ms_p99", "when": "value > 250ms", "clear": {"when": "value < 200ms", "windows": 3},
        "do": ["scale", {"degrade": {"after": "2m"}}],
    }  # fmt: skip
    seconds = {"metric": "latency_ms_p99", "length": timedelta(seconds=30)}
    watched = Watched.of(**said)

    assert ["0 scale open", "4 degrade open"] == watched.values([300.0] * 6, **seconds)
    assert ["8 scale close", "8 degrade close"] == watched.values([100.0] * 3, first=6, **seconds)
    watched = Watched.of(**said)
    better = [300.0, 300.0, 210.0, 190.0, 150.0, 150.0]
    assert ["0 scale open", "5 scale close"] == watched.values(better, **seconds)


def test_a_dry_run_is_marked_and_made_real_when_the_rule_is() -> None:
    """Orders of a dry run must not be executed; once the rule acts, an incident that is open is acted on."""
    watched = Watched.of(when="value > 0.25", dry_run=True)
    watched.values([BAD])
    watched.rule = read_rule({"name": "drift", "metric": "psi", "when": "value > 0.25"})
    watched.values([BAD, GOOD], first=1)

    assert [("open", True), ("open", False), ("close", False)] == [(one.verb, one.dry_run) for one in watched.orders]
    assert [True, False, False] == [one.details["dry_run"] for one in watched.orders]
    assert watched.orders[0].title.startswith("(dry run) ")


def test_an_incident_goes_over_to_the_next_version() -> None:
    """The live version's figures are judged together, so a better version ends what the one before began."""
    watched = Watched.of(when="value > 0.25")

    assert ["0 ticket open"] == watched.values([BAD], version="3")
    assert ["1 ticket close"] == watched.values([GOOD], first=1, version="4")


def test_a_window_with_two_versions_counts_once_by_the_worse() -> None:
    """Around a promotion both versions have a figure of the same window."""
    watched = Watched.of(when="value > 0.25", windows="2 of 2")
    both = [figure_at(0, BAD, version="3"), figure_at(0, GOOD, version="4")]

    assert [] == watched.see(both)
    assert 1 == len(watched.see([figure_at(1, GOOD, version="3"), figure_at(1, BAD, version="4")]))


def test_rules_that_change_take_their_incidents_with_them() -> None:
    """Another threshold judges what is kept anew; other figures, or no rule, close what is open."""
    said = {"name": "drift", "metric": "psi", "when": "value > 0.25"}
    rules = {
        "same": read_rule(said),
        "higher": read_rule({**said, "when": "value > 0.5"}),
        "apart": read_rule({**said, "each": "subject"}),
    }
    begun, orders = step_all([rules["same"]], AlertState(model="loans"), [figure_at(0, BAD)], START + HOUR)
    verbs = {
        name: [one.verb for one in step_all(chosen, begun, [], START + HOUR)[1]]
        for name, chosen in [*((name, [rule]) for name, rule in rules.items()), ("none", [])]
    }

    assert ["open"] == [one.verb for one in orders]
    assert {"same": [], "higher": ["close"], "apart": ["close"], "none": ["close"]} == verbs
    gone, _ = step_all([], begun, [], START + HOUR)
    _, again = step_all([rules["same"]], gone, [figure_at(0, BAD)], START + HOUR)
    assert orders[0].id != again[0].id


def test_only_rules_of_the_cadence_are_stepped() -> None:
    """Figures of the last seconds never meet a rule about whole windows."""
    rules = [
        read_rule({"name": name, "metric": "latency_ms_p99", "when": "value > 250ms", "cadence": name})
        for name in ("live", "window")
    ]
    slow = [figure_at(0, 300.0, metric="latency_ms_p99")]
    state, first = step_all(rules, AlertState(model="loans"), slow, START + HOUR, cadence="live")
    state, second = step_all(rules, state, slow, START + HOUR)

    assert ["live", "window"] == [one.details["rule"] for one in (*first, *second)]
    assert state == AlertState.from_json(json.loads(json.dumps(state.to_json())))


def test_thousands_that_stay_raised_change_nothing() -> None:
    """An incident keeps the first thousand of them, so a look without news leaves the state as it is."""
    watched = Watched.of(when="value > 0.25")
    watched.see([figure_at(0, BAD, subject=f"f{at:04}") for at in range(1_500)])
    before = watched.state
    watched.see([])

    assert before == watched.state
    assert ["f0000", "f0999"] == [watched.state.open[0].members[at][-1] for at in (0, -1)]


def test_names_from_data_stay_names() -> None:
    """A segment's value can neither break the table of a ticket nor mention people."""
    watched = Watched.of(when="value > 0.25", segment="*")
    (order,) = watched.see([figure_at(0, BAD, segment="town=a|b`\n# @all <script>" + "x" * 500)])
    (row,) = [line for line in order.body.splitlines() if "town=" in line and line.startswith("|")]

    assert 8 == row.replace("\\|", "").count("|")
    assert "@" not in order.title
    assert "<" not in order.title
    assert len(order.title) <= 260


def test_figures_of_other_models_and_metrics_are_not_looked_at() -> None:
    """Whoever steps need not sort them out first."""
    watched = Watched.of(when="value > 0.25")
    other: Figure = figure_at(0, BAD, model="other")

    assert [] == watched.see([other, figure_at(0, 1.0, metric="ks")])
    assert {} == watched.state.series
