"""Holds over HTTP, on a real server and a real store: as the commands do, for who may, and each in the ledger."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette

from twinscore.access.gate import Access
from twinscore.access.keys import create_key
from twinscore.control.hold_paths import HoldPaths
from twinscore.control.http import tell
from twinscore.errors import TwinscoreError
from twinscore.ports.rollout_store import ControlStore
from twinscore.rollout.hold import covering
from twinscore.rollout.ledger import verify_chain
from twinscore.settings import Settings, load_settings
from twinscore.wiring import open_rollout_store

from ..postgres import postgresql

DRIFT = {"scope": "loans", "reason": "income drifts", "owner": "ann", "source": "drift"}
AGAIN = {"reason": "the feed is repaired", "by": "bob"}


class Desk:
    """A server with nothing but the paths of holds, and what it told of changes."""

    def __init__(self, url: str, settings: Settings, store: ControlStore, changed: list[str | None]) -> None:
        self.client = httpx.Client(base_url=url, timeout=10)
        self.settings = settings
        self.store = store
        self.changed = changed

    def post(self, path: str, key: str = "", request: str = "", **document: Any) -> httpx.Response:
        """Send a document."""
        headers = {name: value for name, value in (("x-api-key", key), ("x-request-id", request)) if value}
        return self.client.post(path, json=document, headers=headers)

    def key(self, model: str, *verbs: str) -> str:
        """Make a key."""
        now = datetime.now(UTC)
        label = f"key-{len(verbs)}"
        return create_key(self.settings.home, label=label, models=[model], verbs=verbs, days=1.0, now=now).text

    def kinds(self, model: str) -> list[tuple[str, str]]:
        """Return what the ledger has of a model, and who asked for it; the chain is whole."""
        entries = self.store.ledger.entries(model)
        assert verify_chain(entries) is None
        return [(entry.kind, entry.requested_by) for entry in entries]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server_of(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Address of a server, or None for a file in the home."""
    with postgresql() if request.param == "postgresql" else nullcontext() as address:
        yield address


_NUMBERS = count()


@pytest.fixture
def desk(server_of: str | None, tmp_path: Path) -> Iterator[Desk]:
    """The paths over an empty store, on a port of their own."""
    uri = None if server_of is None else empty_database(server_of)
    settings = load_settings(home=tmp_path / "home", control_store=uri)
    changed: list[str | None] = []
    with open_rollout_store(settings) as store:
        paths = HoldPaths(store.holds, Access.load(settings.home), changed.append)
        with served(Starlette(routes=paths.routes(), exception_handlers={TwinscoreError: tell})) as url:
            desk = Desk(url, settings, store, changed)
            with desk.client:
                yield desk


def empty_database(server: str) -> str:
    """Make a database and return its address."""
    import psycopg

    name = f"holds_{next(_NUMBERS)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{server}/{name}"


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve an application over real HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


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
    """`operate` for what a hold concerns, `read` to list; a key stands in for a name, not for who decides."""
    prices, every = desk.key("prices", "operate", "read"), desk.key("*", "operate")
    placed = desk.post("/holds", every, **DRIFT)
    path = f"/holds/{placed.json()['id']}"
    by_key = desk.post("/holds", prices, scope="prices", reason="stale feed")
    nobody = desk.client.get("/holds")
    refused = [
        desk.post("/holds", prices, **DRIFT),
        desk.post("/holds", prices, **{**DRIFT, "scope": "*"}),
        desk.post(f"{path}/release", prices, **AGAIN),
        desk.post("/holds/nothing/release", prices, **AGAIN),
        desk.post(f"{path}/override", prices, model="loans", reason="now", by="dora"),
        desk.client.get("/holds", headers={"x-api-key": prices}),
        desk.client.get("/holds", headers={"x-api-key": every}),
    ]
    listed = desk.client.get("/holds", params={"model": "prices"}, headers={"x-api-key": prices})
    unnamed = desk.post(f"{path}/override", every, model="loans", reason="now")

    assert (201, 201, 401) == (placed.status_code, by_key.status_code, nobody.status_code)
    assert 'Bearer realm="twinscore"' == nobody.headers["www-authenticate"]
    assert [403] * 7 == [answer.status_code for answer in refused]
    assert prices.split("_")[1] == by_key.json()["owner"] == listed.json()[0]["owner"]
    assert (422, True) == (unnamed.status_code, "lacks by" in unnamed.json()["detail"])
