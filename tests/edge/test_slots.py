"""Which listener sits in which slot: the decision as a pure function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from twinscore.edge.slots import EMPTY_SLOTS, N_SLOTS, Slot, apply, plan
from twinscore.ports.listener_roster import Listener

START = datetime(2026, 1, 1, tzinfo=UTC)

listeners = st.lists(
    st.builds(
        Listener,
        st.just("loans"),
        st.text("abcdefgh", min_size=1, max_size=2),
        st.sampled_from(["127.0.0.1", "10.0.0.2"]),
        st.integers(30_000, 30_012),
        st.integers(1, 64),
        st.sampled_from(["ready", "draining"]),
        st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds)),
    ),
    max_size=24,
)


def settled(slots: tuple[Slot, ...], present: list[Listener]) -> tuple[Slot, ...]:
    return apply(slots, plan(slots, present))


@given(listeners, listeners)
def test_after_a_change_the_slots_are_the_listeners(before: list[Listener], now: list[Listener]) -> None:
    """Whatever was there before: every address sent to is a ready listener's, each has one slot, as far as they go."""
    slots = settled(settled(EMPTY_SLOTS, before), now)

    latest = {}
    for item in sorted(now, key=lambda item: (item.renewed_at, item.replica)):
        latest[item.host, item.port] = item
    ready = {address for address, item in latest.items() if item.state == "ready"}
    sent_to = [slot.address for slot in slots if slot.state == "ready"]
    drained = {slot.address for slot in slots if slot.state == "drain"}
    assert len(sent_to) == len(set(sent_to))
    assert set(sent_to) <= ready
    assert set(sent_to) == ready or len(sent_to) + len(drained) == N_SLOTS
    assert drained <= {address for address, item in latest.items() if item.state == "draining"}


@given(listeners, listeners)
def test_a_second_look_changes_nothing(before: list[Listener], now: list[Listener]) -> None:
    """Once the slots agree, there is nothing left to do."""
    slots = settled(settled(EMPTY_SLOTS, before), now)

    assert plan(slots, now) == ()


@given(listeners, listeners)
def test_who_stays_keeps_the_slot(before: list[Listener], now: list[Listener]) -> None:
    """A listener that was there before and still is stays where its connections are."""
    first = settled(EMPTY_SLOTS, before)
    second = settled(first, now)

    places = {slot.address: slot.name for slot in first if slot.state != "maint"}
    later = {slot.address: slot.name for slot in second if slot.state != "maint"}
    assert {address: later[address] for address in places if address in later} == {
        address: name for address, name in places.items() if address in later
    }


def test_a_new_listener_takes_a_slot_that_was_empty_before() -> None:
    """The slot of a listener that has just left may still carry its last requests."""
    old = Listener("loans", "a", "127.0.0.1", 30_001, 8, "ready", START)
    new = Listener("loans", "b", "127.0.0.1", 30_002, 8, "ready", START)
    slots = settled(EMPTY_SLOTS, [old])

    assert plan(slots, [new]) == (
        Slot("s1", "127.0.0.1", 30_001, 8, "maint"),
        Slot("s2", "127.0.0.1", 30_002, 8, "ready"),
    )
