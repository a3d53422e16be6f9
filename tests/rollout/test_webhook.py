"""Which webhooks are taken as hints, signed by MLflow's own code."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.rollout.webhook import Deliveries, Hint, Refused, check

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "s3cret of two"
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": NOW.isoformat(),
        "data": {"name": "loans", "alias": "champion", "version": "2"},
    }
).encode()


def signed(
    body: bytes = BODY, *, delivery: str = "d-1", at: datetime = NOW, secret: str = SECRET, mark: str | None = None
) -> dict[str, str]:
    """Return the headers that MLflow sends with a body."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    sent = str(int(at.timestamp()))
    signature = _generate_hmac_signature(secret, delivery, sent, body.decode())
    return {"X-MLflow-Signature": mark or signature, "X-MLflow-Timestamp": sent, "X-MLflow-Delivery-Id": delivery}


def test_what_mlflow_signs_is_a_hint() -> None:
    """A delivery as MLflow sends it names the model to look at."""
    found = check(signed(), BODY, secret=SECRET, now=NOW, seen=Deliveries())

    assert Hint("loans", "model_version_alias.created") == found


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        (signed(secret="another"), "unauthenticated"),
        (signed(mark="v1,"), "unauthenticated"),
        (signed(mark="v1,ü"), "unauthenticated"),
        (signed(at=NOW - timedelta(seconds=301)), "unauthenticated"),
        (signed(at=NOW + timedelta(seconds=301)), "unauthenticated"),
        (signed() | {"X-MLflow-Timestamp": "now"}, "unauthenticated"),
        (signed() | {"X-MLflow-Delivery-Id": "d-2"}, "unauthenticated"),
        (signed() | {"X-MLflow-Delivery-Id": "a.b"}, "unauthenticated"),
        ({}, "unauthenticated"),
    ],
)
def test_what_is_not_genuine_or_not_new_is_refused(headers: dict[str, str], code: str) -> None:
    """Another secret, another time, another id or no signature at all is refused, and is not remembered."""
    seen = Deliveries()

    refused = check(headers, BODY, secret=SECRET, now=NOW, seen=seen)

    assert isinstance(refused, Refused)
    assert code == refused.code
    assert isinstance(check(signed(), BODY, secret=SECRET, now=NOW, seen=seen), Hint)


def test_without_a_secret_nothing_is_taken() -> None:
    """A platform that has no secret takes no webhook, not even one signed with nothing."""
    refused = check(signed(secret=""), BODY, secret="", now=NOW, seen=Deliveries())

    assert isinstance(refused, Refused)
    assert "unauthenticated" == refused.code


def test_a_delivery_counts_once() -> None:
    """The same delivery, sent again while its time lets it in, is known; one with another id is new."""
    seen = Deliveries()

    found = [
        check(signed(delivery=delivery), BODY, secret=SECRET, now=NOW + timedelta(seconds=late), seen=seen)
        for delivery, late in [("a", 0), ("a", 0), ("b", 1), ("a", 299), ("b", 299)]
    ]

    assert ["", "repeated", "", "repeated", "repeated"] == [getattr(one, "code", "") for one in found]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 400)), max_size=60), st.integers(1, 40))
def test_ids_are_remembered_for_the_window(sent: list[tuple[int, int]], most: int) -> None:
    """Among fewer ids than are remembered, each is new once within the window; no more are kept than may be."""
    seen, known = Deliveries(most), dict[str, datetime]()
    now = NOW
    for number, pause in sent:
        now += timedelta(seconds=pause)
        new = seen.first(str(number), now)

        before = known.get(str(number))
        if before is None or now - before > timedelta(seconds=600):
            assert new
        elif most >= 31:
            assert not new
        if new:
            known[str(number)] = now
        assert len(seen._until) <= most + 1


@given(st.data())
def test_no_byte_can_be_changed(data: st.DataObject) -> None:
    """Any other body, id, time or signature than the one that was signed is refused."""
    headers = signed()
    name = data.draw(st.sampled_from(["body", *headers]))
    text = BODY.decode() if name == "body" else headers[name]
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != text[place]))
    text = text[:place] + other + text[place + 1 :]

    found = check(
        headers if name == "body" else headers | {name: text},
        text.encode() if name == "body" else BODY,
        secret=SECRET,
        now=NOW,
        seen=Deliveries(),
    )

    assert isinstance(found, Refused)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[" * 50_000, b'{"entity": "a", "action": "b", "data": 1}'])
def test_a_signed_body_may_still_be_nonsense(body: bytes) -> None:
    """A body that is no event is refused, whoever signed it."""
    found = check(signed(body), body, secret=SECRET, now=NOW, seen=Deliveries())

    assert isinstance(found, Refused)
    assert "bad_json" == found.code


def test_a_large_body_is_not_read() -> None:
    """A body beyond what events need is refused before it is hashed."""
    found = check(signed(), b"x" * 65_537, secret=SECRET, now=NOW, seen=Deliveries())

    assert isinstance(found, Refused)
    assert "too_large" == found.code
