"""Freezes: once or each week, in local time, through nights and the change of the clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.rollout.calendar import DAYS, Freeze, frozen_by, thaws_at

WEEKEND = Freeze(name="weekend", days=("sat", "sun"))
NIGHTS = Freeze(name="nights", days=("mon", "tue"), start=18 * 60, end=8 * 60, zone="Europe/Berlin")
YEAR_END = Freeze(name="year end", starts="2026-12-20", ends="2027-01-02", zone="Europe/Berlin")
NOON = Freeze(name="noon", starts="2026-05-04T12:00", ends="2026-05-04T16:00+02:00")
moments = st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
weekly = st.builds(
    Freeze,
    name=st.just("f"),
    days=st.lists(st.sampled_from(DAYS), min_size=1, max_size=6).map(tuple),
    start=st.integers(0, 1_439),
    end=st.integers(0, 1_440),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("freeze", "moment", "thaw"),
    [
        (WEEKEND, "2026-05-01T23:59:59", None),
        (WEEKEND, "2026-05-02T00:00:00", "2026-05-04T00:00:00"),
        (WEEKEND, "2026-05-03T23:59:59", "2026-05-04T00:00:00"),
        (NIGHTS, "2026-05-04T15:59:59", None),
        (NIGHTS, "2026-05-04T16:00:00", "2026-05-05T06:00:00"),
        (NIGHTS, "2026-05-06T05:59:00", "2026-05-06T06:00:00"),
        (NIGHTS, "2026-05-06T16:00:00", None),
        (YEAR_END, "2026-12-19T22:59:59", None),
        (YEAR_END, "2026-12-19T23:00:00", "2027-01-02T23:00:00"),
        (NOON, "2026-05-04T13:00", "2026-05-04T14:00"),
    ],
)  # fmt: skip
def test_a_freeze_begins_and_ends(freeze: Any, moment: str, thaw: str | None) -> None:
    """The last day is frozen too; a night ends on the day after; local time is local."""
    assert (thaw is not None, None if thaw is None else at(thaw)) == (
        frozen_by([freeze], at(moment)) is not None, thaws_at([freeze], at(moment)),
    )  # fmt: skip


def test_freezes_without_a_gap_are_one() -> None:
    """It thaws when the last of them is over."""
    night = Freeze(name="night", days=("mon",), start=0, end=300)

    assert at("2026-05-04T05:00:00") == thaws_at([WEEKEND, night], at("2026-05-02T10:00:00"))


def test_what_is_frozen_for_ever_has_no_end() -> None:
    """Every day, all day: no end is named, and the search for one ends."""
    always = Freeze(name="always", days=DAYS)

    now = at("2026-05-02T10:00:00")

    assert (always, None) == (frozen_by([always], now), thaws_at([always], now))


def test_a_night_through_the_change_of_the_clocks_ends_in_local_time() -> None:
    """On the night to 29 March 2026 Berlin's clocks go forward."""
    night = Freeze(name="night", days=("sat",), start=22 * 60, end=6 * 60, zone="Europe/Berlin")

    assert at("2026-03-29T04:00:00") == thaws_at([night], at("2026-03-28T23:00:00"))


@given(st.lists(weekly, min_size=1, max_size=3), moments)
def test_it_is_frozen_until_it_thaws(freezes: list[Freeze], moment: datetime) -> None:
    """At the end nothing is frozen, a second before something still is."""
    thaw = thaws_at(freezes, moment)
    if thaw is None:
        return

    assert frozen_by(freezes, moment) is not None
    assert frozen_by(freezes, thaw) is None
    assert frozen_by(freezes, thaw - timedelta(seconds=1)) is not None


@given(weekly)
def test_a_freeze_survives_json(freeze: Freeze) -> None:
    """It reads back to an equal value."""
    assert freeze == Freeze.from_json(freeze.to_json())


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({}, "either a day to begin"),
        ({"starts": "2026-05-01", "ends": "2026-05-02", "days": ("mon",)}, "either a day to begin"),
        ({"starts": "2026-05-02", "ends": "2026-05-01"}, "after 2026-05-02"),
        ({"starts": "2026-05-32", "ends": "2026-06-01"}, "a day such as"),
        ({"starts": "2026-05-01"}, "a day such as"),
        ({"days": ("monday",)}, "Did you mean 'mon'"),
        ({"days": ("mon",), "zone": "Europe/Berln"}, "time zone"),
        ({"days": ("mon",), "zone": "../etc"}, "time zone"),
        ({"days": ("mon",), "start": 1_440}, "two times of day"),
        ({"name": "", "days": ("mon",)}, "short name"),
    ],
)
def test_a_freeze_that_is_none_is_refused(said: dict[str, Any], word: str) -> None:
    """The message says what was expected."""
    with pytest.raises(SettingsInvalid, match=word):
        Freeze(**{"name": "f", **said})
