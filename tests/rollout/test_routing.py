"""The routing document: what it refuses, how it travels, and which epochs are taken."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target, accept

DIGEST = "a" * 64
LIVE = Target(version="1", digest=DIGEST)
CANARY = Challenger(arm="canary", app="m.canary.2", version="2", digest="b" * 64, mode="canary", share=500)
PLAIN = Routing(model="m", live=LIVE)
FULL = Routing(
    model="m",
    live=LIVE,
    epoch=7,
    salt="spring",
    previous=Target(version="0", digest="c" * 64),
    challengers=(CANARY, replace(CANARY, arm="b", app="m.ab.3", mode="ab")),
    shadows=(Shadow(app="m.shadow.4", version="4", digest=DIGEST, sampling=100),),
    entity=("customer",),
    deadline_ms=100,
    header_override=True,
)


@pytest.mark.parametrize("found", [PLAIN, FULL], ids=["plain", "full"])
def test_a_routing_travels_as_json(found: Routing) -> None:
    """What comes back from JSON text is equal."""
    assert found == Routing.from_json(json.loads(json.dumps(found.to_json())))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"epoch": 0}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"term": -1}, "term"),
        ({"salt": ""}, "salt"),
        ({"salt": "x" * 65}, "salt"),
        ({"deadline_ms": 0}, "deadline_ms"),
        ({"header_override": 1}, "header_override"),
        ({"entity": "customer"}, "entity"),
        ({"entity": [1]}, "entity"),
        ({"modell": "m"}, "modell"),
        ({"live": {"version": "1"}}, "digest"),
        ({"live": {"version": 1, "digest": DIGEST}}, "version"),
        ({"live": {"version": "1", "digest": "short"}}, "digest"),
        ({"live": None}, "live"),
        ({"challengers": {}}, "challengers"),
        ({"shadows": [{"app": "a b", "version": "4", "digest": DIGEST}]}, "app"),
    ],
)
def test_a_wrong_member_is_named(change: dict[str, Any], word: str) -> None:
    """Unknown, missing and mistyped members are refused, and the message names them."""
    with pytest.raises(SettingsInvalid, match=word):
        Routing.from_json({**PLAIN.to_json(), **change})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ([{"share": 10_001}], "share"),
        ([{"share": 500.0}], "share"),
        ([{"arm": "live"}], "arm"),
        ([{"mode": "blue"}], "mode"),
        ([{"app": ""}], "app"),
        ([{}, {"arm": "b", "app": "other"}], "mode"),
        ([{}, {"mode": "ab", "app": "other"}], "arm"),
        ([{}, {"mode": "ab", "arm": "b"}], "app"),
        ([{"share": 6_000}, {"mode": "ab", "arm": "b", "app": "other", "share": 6_000}], "shares"),
        ([{"extra": 1}], "extra"),
    ],
)
def test_wrong_challengers_are_refused(changes: list[dict[str, Any]], word: str) -> None:
    """One canary, one A/B arm, each with its own application, and together at most everybody."""
    document = FULL.to_json()
    one = document["challengers"][0]
    with pytest.raises(SettingsInvalid, match=word):
        Routing.from_json({**document, "challengers": [{**one, **change} for change in changes]})


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_a_stale_epoch_is_refused(current: int, sent: int, term: int, sent_term: int, same_words: bool) -> None:
    """Only a newer epoch of no older term is taken, or the very document that is in force."""
    in_force = replace(PLAIN, epoch=current, term=term)
    coming = replace(PLAIN, epoch=sent, term=sent_term, salt=PLAIN.salt if same_words else "other")
    if coming == in_force or (sent > current and sent_term >= term):
        assert coming == accept(in_force, coming)
    else:
        with pytest.raises(StoreConflict, match=f"epoch {current} of term {term} is in force"):
            accept(in_force, coming)
    assert coming == accept(None, coming)
