"""Holds over HTTP, on a real server and a real store: as the commands do, for who may, and each in the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from twinscore.rollout.hold import covering

from .desk import Desk

DRIFT = {"scope": "loans", "reason": "income drifts", "owner": "ann", "source": "drift"}
AGAIN = {"reason": "the feed is repaired", "by": "bob"}


def test_a_hold_lives_over_http_as_by_command(desk: Desk) -> None:
    """Placed, listed, overridden for one model, released: the store, the ledger and the answers say the same."""
    until = (datetime.now(UTC) + timedelta(hours=2)).replace(microsecond=0)
    every = desk.post("/holds", scope="*", reason="audit", owner="cara", expires=f"{until:%Y-%m-%dT%H:%M:%SZ}")
    one = desk.post("/holds", **DRIFT)
    other = desk.post("/holds", scope="prices", reason="stale feed", owner="ann")
    listed = desk.client.get("/holds").json()
    of_loans = desk.client.get("/holds", params={"model": "loans"}).json()
    overridden = desk.post(f"/holds/{every.json()['id']}/override", model="loans", reason="wrong price", by="dora")
    released = desk.post(f"/holds/{one.json()['id']}/release", **AGAIN)

    assert [201, 201, 201, 200, 200] == [
        answer.status_code for answer in (every, one, other, overridden, released)
    ]  # fmt: skip
    assert ["cara", "ann", "ann"] == [hold["owner"] for hold in listed]
    assert ["*", "loans"] == [hold["scope"] for hold in of_loans]
    assert until.isoformat() == every.json()["expires"]
    assert ("drift", "held") == (one.json()["source"], one.json()["state"])
    assert ("released", "bob") == (released.json()["state"], released.json()["released_by"])
    assert 3 == len(desk.client.get("/holds", params={"all": "true"}).json())
    held, now = desk.store.holds.held(), datetime.now(UTC)
    assert () == covering(held, "loans", now)
    assert 2 == len(covering(held, "prices", now))
    assert [("hold_placed", "cara")] == desk.kinds("*")
    assert [("hold_placed", "ann"), ("hold_overridden", "dora"), ("hold_released", "bob")] == desk.kinds("loans")
    assert [None, "loans", "prices", "loans", "loans"] == desk.changed


def test_a_request_that_is_sent_again_places_one_hold(desk: Desk) -> None:
    """Whoever got no answer asks again with the same request id; for another model it is another hold."""
    first, second = (desk.post("/holds", request="r-1", **DRIFT).json() for _ in range(2))
    other = desk.post("/holds", request="r-1", **{**DRIFT, "scope": "prices"}).json()

    assert first["id"] == second["id"] != other["id"]
    assert [("hold_placed", "ann")] == desk.kinds("loans")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/holds", {**DRIFT, "reason": " "}, "reason is empty"),
    ("/holds", {"scope": "loans", "reason": "drift"}, "owner is empty"),
    ("/holds", {**DRIFT, "until": "tomorrow"}, "unknown key 'until'"),
    ("/holds", {**DRIFT, "scope": 7}, "must be text"),
    ("/holds", {**DRIFT, "expires": "2026-12-24T12:00:00"}, "with its zone"),
    ("/holds", {**DRIFT, "expires": "2001-01-01T00:00:00Z"}, "before it begins"),
    ("/holds/{id}/release", {"by": "bob"}, "lacks reason"),
    ("/holds/{id}/override", {"model": "loans", "reason": "now"}, "lacks by"),
    ("/holds/{id}/override", {"model": "loans", "reason": "now", "by": "twinscore"}, "named person only"),
    ("/holds/{id}/override", {"model": "prices", "reason": "now", "by": "bob"}, "nothing to override"),
    ("/holds/nothing/release", AGAIN, "There is no hold 'nothing'"),
]


def test_what_is_wrong_is_refused_by_name(desk: Desk) -> None:
    """As the commands refuse it; nothing changes, and the ledger gets no entry."""
    hold = desk.post("/holds", **DRIFT).json()["id"]
    for path, document, words in WRONG:
        answer = desk.post(path.format(id=hold), **document)
        assert (422, True) == (answer.status_code, words in answer.json()["detail"]), answer.text
    bodies = [desk.client.post("/holds", content=body) for body in (b"", b"[]", b"{", b"{" + b"x" * 70_000)]

    assert [(422, True)] * 4 == [(one.status_code, '{"scope": "loans"' in one.json()["detail"]) for one in bodies]
    assert ["held"] == [one["state"] for one in desk.client.get("/holds", params={"all": "true"}).json()]
    assert [("hold_placed", "ann")] == desk.kinds("loans")


def test_a_hold_that_is_over_stays_over(desk: Desk) -> None:
    """Released twice, or overridden afterwards, is a conflict that says who ended it."""
    hold = desk.post("/holds", **DRIFT).json()["id"]
    desk.post(f"/holds/{hold}/release", **AGAIN)
    twice = desk.post(f"/holds/{hold}/release", **AGAIN)
    after = desk.post(f"/holds/{hold}/override", model="loans", reason="now", by="dora")

    assert [409, 409] == [twice.status_code, after.status_code]
    assert "bob" in twice.json()["detail"]


def test_who_may_do_what(desk: Desk) -> None:
    """`operate` for what a hold concerns, `read` to list; who decides says so."""
    prices, every = desk.key("pat", "prices", "operate", "read"), desk.key("ann", "*", "operate")
    placed = desk.post("/holds", every, **DRIFT)
    path = f"/holds/{placed.json()['id']}"
    by_key = desk.post("/holds", prices, scope="prices", reason="stale feed")
    nobody = desk.client.get("/holds")
    refused = [
        desk.post("/holds", prices, **DRIFT),
        desk.post("/holds", prices, **{**DRIFT, "scope": "*"}),
        desk.post(f"{path}/release", prices, **AGAIN),
        desk.post("/holds/nothing/release", prices, **AGAIN),
        desk.post(f"{path}/override", prices, model="loans", reason="now", by="pat"),
        desk.client.get("/holds", headers={"x-api-key": prices}),
        desk.client.get("/holds", headers={"x-api-key": every}),
    ]
    listed = desk.client.get("/holds", params={"model": "prices"}, headers={"x-api-key": prices})
    unnamed = desk.post(f"{path}/override", every, model="loans", reason="now")

    assert (201, 201, 401) == (placed.status_code, by_key.status_code, nobody.status_code)
    assert 'Bearer realm="twinscore"' == nobody.headers["www-authenticate"]
    assert [403] * 7 == [answer.status_code for answer in refused]
    assert f"pat (key {prices.split('_')[1]})" == by_key.json()["owner"] == listed.json()[0]["owner"]
    assert (422, True) == (unnamed.status_code, "lacks by" in unnamed.json()["detail"])


def test_nobody_changes_a_hold_in_another_name(desk: Desk) -> None:
    """With a key, owner and `by` are who has it; another name is refused, and the ledger says which key it was."""
    ann, bob = desk.key("ann", "loans", "operate"), desk.key("bob", "loans", "operate")
    forged = [desk.post("/holds", bob, **DRIFT), desk.post("/holds", bob, **{**DRIFT, "owner": "ann (key x)"})]
    placed = desk.post("/holds", ann, **DRIFT).json()
    path = f"/holds/{placed['id']}"
    forged += [
        desk.post(f"{path}/override", bob, model="loans", reason="now", by="ann"),
        desk.post(f"{path}/release", bob, reason="now", by="ann"),
    ]
    overridden = desk.post(f"{path}/override", bob, model="loans", reason="now", by="bob")
    released = desk.post(f"{path}/release", ann, reason="closed")

    assert [(403, "forbidden")] * 4 == [(one.status_code, one.json()["code"]) for one in forged]
    assert "owner says 'ann', and nobody speaks for another" in forged[0].json()["detail"]
    assert [200, 200] == [overridden.status_code, released.status_code]
    by_ann, by_bob = (f"{name} (key {key.split('_')[1]})" for name, key in (("ann", ann), ("bob", bob)))
    assert by_ann == placed["owner"] == released.json()["released_by"]
    assert by_ann.replace("ann", "drift") == placed["source"] == desk.store.ledger.entries("loans")[0].decided_by
    assert [("hold_placed", by_ann), ("hold_overridden", by_bob), ("hold_released", by_ann)] == desk.kinds("loans")
