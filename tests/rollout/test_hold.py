"""Holds: whom they stop, when they end, and who may go on in spite of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.rollout.hold import EVERY_MODEL, Hold, covering, overridden, placed, released

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def hold(scope: str = "loans", **changes: object) -> Hold:
    """Return a hold of one hour's age."""
    members = {"id": "h1", "reason": "drift of income", "owner": "ann", "source": "drift", "created_at": AT - HOUR}
    return Hold(scope=scope, **{**members, **changes})  # type: ignore[arg-type]


@given(st.sampled_from(["loans", "prices", EVERY_MODEL]), st.sampled_from(["loans", "prices"]))
def test_a_hold_stops_its_scope(scope: str, model: str) -> None:
    """A model's own hold and one on every model stop it, another model's does not."""
    one = hold(scope)

    assert covering([one], model, AT) == ((one,) if scope in (model, EVERY_MODEL) else ())


@given(st.integers(-3, 3))
def test_a_hold_ends_when_it_expires(minutes: int) -> None:
    """Up to the moment it stops, from the moment on it does not."""
    one = hold(expires=AT)
    now = AT + timedelta(minutes=minutes)

    assert one.state(now) == ("held" if minutes < 0 else "expired")
    assert bool(covering([one], "loans", now)) == (minutes < 0)


def test_the_oldest_hold_comes_first() -> None:
    """Whoever asks why a model waits is told the first reason first."""
    young, old = hold(id="a"), hold(id="b", created_at=AT - 2 * HOUR)

    assert covering([young, old], "loans", AT) == (old, young)


def test_a_released_hold_is_over() -> None:
    """It stops nothing any more, and the ledger gets who and why; releasing twice is refused."""
    over, draft = released(hold(), by="bob", reason="drift was a holiday", at=AT)

    assert covering([over], "loans", AT) == ()
    assert ("hold_released", "loans", "bob", "drift was a holiday") == (
        draft.kind, draft.model, draft.requested_by, draft.reason
    )  # fmt: skip
    with pytest.raises(StoreConflict, match="bob"):
        released(over, by="bob", reason="again", at=AT)
    with pytest.raises(StoreConflict, match="expired"):
        released(hold(expires=AT), by="bob", reason="late", at=AT)


def test_an_override_lets_one_model_go_on() -> None:
    """A hold on every model goes on stopping the others; the entry is in the chain of the model that goes on."""
    still, draft = overridden(hold(EVERY_MODEL), model="loans", by="ann", reason="fix of a wrong price", at=AT)

    assert covering([still], "loans", AT) == ()
    assert covering([still], "prices", AT) == (still,)
    assert still.state(AT) == "held"
    assert ("hold_overridden", "loans", "ann") == (draft.kind, draft.model, draft.decided_by)
    assert {"hold": "h1", "scope": "*", "held_because": "drift of income", "owner": "ann"} == draft.evidence
    everybody, _ = overridden(hold(EVERY_MODEL), model=EVERY_MODEL, by="ann", reason="all clear", at=AT)
    assert covering([everybody], "prices", AT) == ()


@pytest.mark.parametrize(("by", "reason"), [("", "why"), ("  ", "why"), ("twinscore", "why"), ("ann", "")])
def test_an_override_needs_a_person_and_a_reason(by: str, reason: str) -> None:
    """Neither nobody nor the platform itself may go past a hold, and nobody without saying why."""
    with pytest.raises(SettingsInvalid):
        overridden(hold(), model="loans", by=by, reason=reason, at=AT)


def test_an_override_must_override_something() -> None:
    """A hold that does not stop the model, or is over, is not there to be overridden."""
    with pytest.raises(SettingsInvalid, match="prices"):
        overridden(hold(), model="prices", by="ann", reason="why", at=AT)
    with pytest.raises(StoreConflict, match="over"):
        overridden(hold(expires=AT), model="loans", by="ann", reason="why", at=AT)


@pytest.mark.parametrize("changes", [{"reason": " "}, {"owner": ""}, {"expires": AT - HOUR}, {"scope": ""}])
def test_a_hold_says_what_it_is_for(changes: dict[str, object]) -> None:
    """Without scope, reason or owner, or over before it begins, it is not placed."""
    with pytest.raises(SettingsInvalid):
        placed(hold(**changes))  # type: ignore[arg-type]


def test_holds_read_back() -> None:
    """Through JSON text a hold with everything in it is equal again."""
    one, _ = overridden(hold(expires=AT + HOUR), model="loans", by="ann", reason="why", at=AT)
    over, _ = released(one, by="bob", reason="done", at=AT)

    for each in (hold(), one, over):
        assert Hold.from_json(json.loads(json.dumps(each.to_json()))) == each
