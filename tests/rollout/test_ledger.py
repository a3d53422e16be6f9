"""The ledger's chain: what is entered reads back, and whatever is touched afterwards is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid
from twinscore.rollout.ledger import EMPTY, Broken, Draft, Entry, Head, canonical_json, chained, verify_chain

AT = datetime(2026, 5, 1, 12, 0, 0, 7, tzinfo=UTC)
TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
DRAFTS = st.builds(
    Draft,
    model=st.just("loans"),
    kind=st.sampled_from(["started", "rolled_back"]),
    from_version=st.none() | st.just("1"),
    to_version=st.none() | st.just("2"),
    requested_by=TEXT,
    decided_by=TEXT,
    reason=TEXT,
    evidence=st.dictionaries(TEXT, JSON, max_size=3),
    policy_digest=st.just("p" * 64),
    rollout_id=TEXT,
)


def some(count: int) -> tuple[Entry, ...]:
    """Return a chain of entries that differ."""
    return chained([Draft(model="loans", kind="started", reason=f"entry {place}") for place in range(count)], None, AT)


@given(st.lists(DRAFTS, min_size=1, max_size=4))
def test_entries_read_back_and_follow_each_other(drafts: list[Draft]) -> None:
    """Through real JSON text an entry is equal again, and the chain of all of them is whole."""
    entries = chained(drafts, None, AT)
    again = [Entry.from_json(json.loads(json.dumps(entry.to_json(), allow_nan=False))) for entry in entries]

    assert list(entries) == again
    assert verify_chain(again, known=entries[-1].head) is None
    assert [entry.number for entry in again] == list(range(1, len(drafts) + 1))


@given(st.lists(DRAFTS, min_size=2, max_size=4), st.data())
def test_a_chain_may_be_written_in_parts(drafts: list[Draft], data: st.DataObject) -> None:
    """Entering in two goes gives the entries of one go, and each part is whole after the one before."""
    cut = data.draw(st.integers(0, len(drafts)))
    first = chained(drafts[:cut], None, AT)
    last = first[-1] if first else None
    second = chained(drafts[cut:], last, AT)

    assert chained(drafts, None, AT) == (*first, *second)
    assert verify_chain(second, after=last.head if last else EMPTY) is None


@given(st.integers(1, 5), st.data())
def test_an_edited_entry_is_named(count: int, data: st.DataObject) -> None:
    """Whichever member is changed, the check names that entry."""
    entries = list(some(count))
    place = data.draw(st.integers(0, count - 1))
    name = data.draw(st.sampled_from(sorted(CHANGES)))
    entries[place] = replace(entries[place], **{name: CHANGES[name]})

    found = verify_chain(entries)
    assert found is not None
    assert place + 1 == found.number


CHANGES: dict[str, Any] = {
    "kind": "rolled_back",
    "from_version": "9",
    "to_version": "9",
    "requested_by": "somebody",
    "decided_by": "somebody",
    "reason": "another",
    "evidence": {"errors": 0},
    "policy_digest": "q" * 64,
    "rollout_id": "another",
    "at": AT + timedelta(microseconds=1),
    "previous": "f" * 64,
    "digest": "f" * 64,
}


@given(st.integers(2, 6), st.data())
def test_a_missing_or_moved_entry_is_named(count: int, data: st.DataObject) -> None:
    """Removing one names its number; exchanging two names the first of them."""
    entries = list(some(count))
    gone = data.draw(st.integers(0, count - 2))
    without = [*entries[:gone], *entries[gone + 1 :]]
    swapped = list(entries)
    swapped[gone], swapped[gone + 1] = swapped[gone + 1], swapped[gone]

    assert verify_chain(without) == Broken(gone + 1, f"is missing; {gone + 2} stands in its place")
    assert verify_chain(swapped) == Broken(gone + 1, f"is missing; {gone + 2} stands in its place")


def test_a_removed_end_shows_against_a_known_head() -> None:
    """A chain says nothing of what is cut off its end; the head that was kept elsewhere does."""
    entries = some(4)
    head = entries[-1].head

    assert verify_chain(entries[:2]) is None
    assert verify_chain(entries[:2], known=head) == Broken(3, "is missing; the chain once reached 4")
    assert verify_chain((), known=head) == Broken(1, "is missing; the chain once reached 4")
    assert verify_chain((), known=EMPTY) is None


def test_a_chain_made_anew_shows_against_a_known_head() -> None:
    """Who recomputes every digest from an edited entry on is found out by an older head."""
    entries = some(3)
    forged = chained([Draft(model="loans", kind="started", reason="forged")] * 3, None, AT)

    assert verify_chain(forged) is None
    assert verify_chain(forged, known=entries[1].head) == Broken(2, "is not the one that was there before")


def test_a_chain_is_of_one_model() -> None:
    """Entries of two models neither mix in one go nor pass for one chain."""
    one, other = Draft(model="loans", kind="started"), Draft(model="prices", kind="started")

    with pytest.raises(SettingsInvalid, match="loans, prices"):
        chained([one, other], None, AT)
    with pytest.raises(SettingsInvalid, match="prices"):
        chained([other], chained([one], None, AT)[0], AT)
    foreign = chained([other], chained([one], None, AT)[0].head, AT)
    assert verify_chain([*chained([one], None, AT), *foreign]) == Broken(2, "is of prices, not of loans")


def test_times_are_kept_in_utc() -> None:
    """The same moment in another zone gives the same digest; a time without a zone is refused."""
    draft = Draft(model="loans", kind="started")
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))

    assert chained([draft], None, AT) == chained([draft], None, elsewhere)
    with pytest.raises(SettingsInvalid, match="zone"):
        chained([draft], None, AT.replace(tzinfo=None))


def test_what_cannot_be_stored_is_replaced() -> None:
    """NUL and half surrogate pairs become U+FFFD, numbers that are not finite their names."""
    draft = Draft(
        model="loans", kind="started", reason="a\x00b\ud800", evidence={"x\x00": [math.nan, math.inf, -math.inf, (1,)]}
    )

    assert draft.reason == "a�b�"
    assert draft.evidence == {"x�": ["NaN", "Infinity", "-Infinity", [1]]}


def test_what_is_no_entry_is_refused() -> None:
    """A kind that is no small word, and evidence that is no JSON."""
    with pytest.raises(SettingsInvalid, match="rolled_back"):
        Draft(model="loans", kind="Rolled back")
    with pytest.raises(SettingsInvalid, match="datetime"):
        Draft(model="loans", kind="started", evidence={"at": AT})


def test_the_digest_is_what_the_reference_says() -> None:
    """Anybody can compute it: SHA-256 over canonical JSON without the digest itself."""
    import hashlib

    (entry,) = some(1)
    said = entry.to_json()
    digest = said.pop("digest")

    assert digest == hashlib.sha256(canonical_json(said).encode()).hexdigest()
    assert entry.head == Head(1, digest)
    assert "2026-05-01T12:00:00.000007+00:00" == said["at"]
