"""A person ends an incident: what broke the rule opens nothing until it has recovered, and no longer than was said."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import ModelNotFound, SettingsInvalid
from twinscore.monitoring.dismissal import dismiss
from twinscore.monitoring.incident import Incident, RuleState
from twinscore.monitoring.order import Order
from twinscore.testing.alerts import HOUR, Watched, figure_at

BAD, GOOD = 0.3, 0.1
OFTEN = {"when": "value > 0.25", "windows": "2 of 3", "cooldown": "4h"}


def end(watched: Watched, lasting: timedelta = timedelta(days=30)) -> tuple[Incident, tuple[Order, ...]]:
    """Have ann dismiss the one open incident now."""
    (incident,) = watched.state.open
    watched.state, ended, orders = dismiss(
        watched.state, incident.id, watched.now, by="ann", reason="known", lasting=lasting
    )
    return ended, orders


def test_what_was_asked_for_is_taken_back() -> None:
    """Each action is closed with who and why, and the incident is neither open nor forgotten."""
    watched = Watched.of(**OFTEN, do=["ticket", "hold"])
    watched.values([BAD, BAD])
    ended, orders = end(watched)

    assert [("ticket", "close"), ("hold", "close")] == [(one.action, one.verb) for one in orders]
    assert "Dismissed by ann: known" == orders[0].body.splitlines()[0]
    assert ("ann", "known") == (orders[1].details["dismissed_by"], orders[1].details["dismissed_because"])
    assert () == watched.state.open
    assert (ended,) == watched.state.dismissed
    assert watched.state == RuleState.from_json(watched.state.to_json())


def test_it_is_quiet_until_it_has_recovered() -> None:
    """However long it goes on; the next breach after that is another incident with a ticket of its own."""
    watched = Watched.of(**OFTEN)
    watched.values([BAD, BAD])
    ended, _ = end(watched)

    assert [] == watched.values([BAD] * 100 + [GOOD] * 3, first=2)
    assert () == watched.state.dismissed
    assert ["106 ticket open"] == watched.values([BAD, BAD], first=105)
    assert ended.id != watched.state.open[0].id
    assert not watched.state.open[0].dismissed_by


def test_what_wavers_at_its_limit_does_not_come_back_at_once() -> None:
    """It must have recovered, and the cooldown must be over."""
    watched = Watched.of(**(OFTEN | {"cooldown": "24h"}))
    watched.values([BAD, BAD])
    end(watched)
    wavering = watched.values([GOOD, GOOD, GOOD, BAD, BAD] * 4, first=2)
    later = watched.values([GOOD] * 6 + [BAD, BAD], first=22)

    assert [] == wavering
    assert ["29 ticket open"] == later


def test_what_else_breaks_the_rule_is_told() -> None:
    """Another feature opens an incident of its own at once, also within the cooldown."""
    watched = Watched.of(**OFTEN)
    watched.see([figure_at(at, BAD, subject="income") for at in (0, 1)])
    ended, _ = end(watched)
    watched.see([figure_at(at, BAD, subject=name) for at in (2, 3) for name in ("income", "age")])
    (incident,) = watched.state.open

    assert ended.id != incident.id
    assert ["age"] == [member[-1] for member in incident.members]


def test_it_is_told_again_after_a_while() -> None:
    """What still breaks the rule then opens another incident; a feature that is gone for good opens none."""
    watched = Watched.of(**OFTEN)
    watched.see([figure_at(at, BAD, subject=name) for at in (0, 1) for name in ("income", "gone")])
    ended, _ = end(watched, timedelta(hours=10))
    early = watched.values([BAD] * 9, first=2, subject="income")
    late = watched.values([BAD], first=11, subject="income")
    (incident,) = watched.state.open

    assert ([], ["11 ticket open"]) == (early, late)
    assert ended.id != incident.id
    assert ["income"] == [member[-1] for member in incident.members]


def test_figures_that_are_missing_are_dismissed_until_they_come() -> None:
    """Silence that is known opens nothing; the next one, after somebody was heard, does."""
    watched = Watched.of(when="missing for 3h", cooldown="1h")
    watched.see([figure_at(0, GOOD)])
    silent = watched.see([], watched.now + 4 * HOUR)
    end(watched)
    still = watched.see([], watched.now + 40 * HOUR)
    heard = watched.see([figure_at(60, GOOD)])
    again = watched.see([], watched.now + 4 * HOUR)

    assert (["open"], [], [], ["open"]) == tuple([one.verb for one in some] for some in (silent, still, heard, again))


@given(st.lists(st.sampled_from([BAD, GOOD, None]), max_size=20), st.integers(0, 3))
def test_dismissed_or_not_the_rule_judges_the_same(values: list[float | None], extra: int) -> None:
    """Nothing is told while it is dismissed, what is kept can be read back, and each series stands as it would."""
    watched, other = (Watched.of(**OFTEN) for _ in range(2))
    for one in (watched, other):
        one.values([BAD] * (2 + extra))
    end(watched)
    for at, value in enumerate(values, start=2 + extra):
        dismissed = bool(watched.state.dismissed)
        orders = watched.values([value], first=at)
        other.values([value], first=at)
        watched.state = RuleState.from_json(watched.state.to_json())
        assert not (dismissed and watched.state.dismissed and orders)
    (mine,), (theirs,) = watched.state.series.values(), other.state.series.values()

    assert (theirs.raised, theirs.windows, theirs.mark) == (mine.raised, mine.windows, mine.mark)


@pytest.mark.parametrize(
    ("by", "reason", "lasting", "says"),
    [
        ("", "known", timedelta(days=1), "by somebody and for a reason"),
        ("ann", " ", timedelta(days=1), "by somebody and for a reason"),
        ("ann", "known", timedelta(days=91), "at most 90 days"),
        ("ann", "known", timedelta(), "at most 90 days"),
    ],
)
def test_what_is_refused(by: str, reason: str, lasting: timedelta, says: str) -> None:
    """Somebody, a reason, and not for ever."""
    watched = Watched.of(**OFTEN)
    watched.values([BAD, BAD])
    (incident,) = watched.state.open

    with pytest.raises(SettingsInvalid, match=says):
        dismiss(watched.state, incident.id, watched.now, by=by, reason=reason, lasting=lasting)
    with pytest.raises(ModelNotFound, match="Did you mean"):
        dismiss(watched.state, f"{incident.id}x", watched.now, by="ann", reason="known")
