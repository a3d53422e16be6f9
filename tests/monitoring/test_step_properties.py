"""Any figures in any order: what always holds of incidents and orders."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.monitoring.incident import RuleState
from twinscore.monitoring.order import Order
from twinscore.testing.alerts import HOUR, START, Watched, figure_at

BAD, BETWEEN, GOOD = 0.3, 0.22, 0.1
values = st.sampled_from((BAD, BAD, BETWEEN, GOOD, GOOD, None, float("nan")))
counts = st.tuples(st.integers(1, 4), st.integers(1, 6)).map(lambda pair: f"{min(pair)} of {max(pair)}")
lengths = st.sampled_from(("0s", "1h", "3h", "30h"))
said = st.fixed_dictionaries(
    {
        "when": st.just("value > 0.25"), "windows": counts, "for": lengths, "cooldown": lengths,
        "clear": st.fixed_dictionaries({"when": st.just("value < 0.2"), "windows": counts, "for": lengths}),
        "do": st.sampled_from((["ticket"], ["ticket", "hold"], ["hold", {"page": {"after": "2h"}}], [])),
        "each": st.sampled_from((["role"], ["subject"], [])),
    }
)  # fmt: skip
steps = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab"), st.sampled_from("34"), values), max_size=4),
    max_size=30,
)


def test_five_hundred_breaches_are_one_ticket() -> None:
    """One ticket, comments at most one per cooldown, closed on recovery: nothing twice, whatever runs again."""
    watched = Watched.of(when="value > 0.25", windows="3 of 5", cooldown="1d", do=["ticket", "hold"])
    when: dict[str, Any] = {}
    for at in range(510):
        figures = [figure_at(at, BAD if at < 500 else GOOD)]
        for order in watched.see(figures) + watched.see(figures):
            when[order.id] = watched.now
    incident = watched.orders[0].incident
    said = [one.id.removeprefix(f"{incident}/") for one in watched.orders]
    told = [when[one.id] for one in watched.orders if one.verb != "close" and one.action == "ticket"]

    assert ["ticket/open/1", "hold/open/1", *[f"ticket/comment/{at}" for at in range(1, 21)]] == said[:-2]
    assert ["ticket/close/1", "hold/close/1"] == said[-2:]
    assert all(later - earlier >= timedelta(days=1) for earlier, later in pairwise(told))


def follow(orders: list[Order]) -> None:
    """Refuse orders that are given twice, or open what is open, or speak of or close what is not."""
    going: dict[tuple[str, str], str] = {}
    seen: set[str] = set()
    for order in orders:
        place = (str(order.details["key"]), order.action)
        assert order.id not in seen
        seen.add(order.id)
        if order.verb == "open":
            assert place not in going
            going[place] = order.incident
        elif order.verb == "comment":
            assert order.incident == going[place]
        else:
            assert order.incident == going.pop(place)


@given(said, steps)
@settings(max_examples=150)
def test_incidents_never_overlap_and_steps_can_be_repeated_and_resumed(said: dict[str, Any], steps: list[Any]) -> None:
    """Late, revised, empty and repeated figures; a state that was JSON between any two steps gives the same orders."""
    watched, resumed = Watched.of(**said), Watched.of(**said)
    told: dict[str, Any] = {}
    for at, step in enumerate(steps):
        now = START + at * HOUR
        figures = [figure_at(window, value, subject=name, version=version) for window, name, version, value in step]
        orders = watched.see(figures, now)
        resumed.state = RuleState.from_json(json.loads(json.dumps(resumed.state.to_json())))
        assert orders == resumed.see(figures, now)
        assert watched.state == resumed.state
        assert [] == resumed.see(figures, now)
        assert watched.state == resumed.state
        for order in orders:
            if order.verb == "comment":
                assert (now - told[order.incident]).total_seconds() >= watched.rule.cooldown_s
            told[order.incident] = now

    follow(watched.orders)
    assert len(watched.state.open) == len({one.key for one in watched.state.open})
    kept = max(watched.rule.windows.of, watched.rule.clear_windows.of)
    assert all(len({window.end for window in one.windows}) <= kept for one in watched.state.series.values())


@given(said, st.lists(values, max_size=60))
def test_an_incident_takes_as_many_windows_as_the_rule_says(said: dict[str, Any], line: list[float | None]) -> None:
    """At the boundary it opens and closes no more often than M windows for one and K for the other allow."""
    watched = Watched.of(**said)
    watched.values(line)
    opens = sum(one.verb == "open" and one.action == "ticket" for one in watched.orders)
    closes = sum(one.verb == "close" and one.action == "ticket" for one in watched.orders)

    assert opens * watched.rule.windows.enough <= line.count(BAD)
    assert closes * watched.rule.clear_windows.enough <= line.count(GOOD)


def expected(said: dict[str, Any], line: list[float]) -> list[str]:
    """Return when an incident opens and closes, read off the rule; without `for` and figures that say nothing."""
    (enough, of), (clear_enough, clear_of) = [
        [int(word) for word in text.split(" of ")] for text in (said["windows"], said["clear"]["windows"])
    ]
    told, since, opened = [], 0, False
    for at in range(len(line)):
        window = line[max(since, at + 1 - (clear_of if opened else of)) : at + 1]
        good = [value < 0.2 for value in window] if opened else [value > 0.25 for value in window]
        if sum(good) >= (clear_enough if opened else enough):
            told.append(f"{at} ticket {'close' if opened else 'open'}")
            opened, since = not opened, at
    return told


@given(said, st.lists(st.sampled_from((BAD, BETWEEN, GOOD)), max_size=40))
def test_windows_are_counted_as_the_rule_reads(said: dict[str, Any], line: list[float]) -> None:
    """M of N to open and K of L to close, each counted from the last change on."""
    said = {**said, "for": "0s", "clear": {**said["clear"], "for": "0s"}, "do": "ticket", "cooldown": "3650d"}

    assert expected(said, line) == Watched.of(**said).values(line)


@given(said, st.lists(values, max_size=30))
def test_silence_changes_nothing(said: dict[str, Any], line: list[float | None]) -> None:
    """Windows without a value might as well not be there: the orders are those of the others."""
    said = {**said, "do": "ticket"}
    full, partial = Watched.of(**said), Watched.of(**said)
    for at, value in enumerate(line):
        full.see([figure_at(at, value)])
        if value is not None and value == value:
            partial.see([figure_at(at, value)])
        else:
            partial.see([], START + (at + 1) * HOUR)

    assert [replace(one, body="") for one in full.orders] == [replace(one, body="") for one in partial.orders]


@given(said, st.lists(st.tuples(st.sampled_from("ab"), values), max_size=12), st.randoms())
def test_the_order_of_arrival_within_a_step_does_not_matter(said: dict[str, Any], line: list[Any], random: Any) -> None:
    """Figures are judged by their windows, not by when they come."""
    figures = [figure_at(at, value, subject=name) for at, (name, value) in enumerate(line)]
    mixed = random.sample(figures, len(figures))
    first, second = Watched.of(**said), Watched.of(**said)

    assert first.see(figures, START + 50 * HOUR) == second.see(mixed, START + 50 * HOUR)
    assert first.state.incidents == second.state.incidents
