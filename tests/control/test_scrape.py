"""Evidence look by look: replicas that come, go, stop answering or speak of something else; over real listeners."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from twinscore.access.gate import Access
from twinscore.access.keys import create_key
from twinscore.clock import FixedClock
from twinscore.control.scrape import Scrape
from twinscore.errors import StoreUnavailable
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway
from twinscore.online.listener import HttpListener
from twinscore.online.serve_config import Processes
from twinscore.ports.listener_roster import Listener
from twinscore.rollout.evidence import Evidence
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target
from twinscore.settings import Settings
from twinscore.testing.models import make_bundle


@pytest.fixture(scope="session")
def loans(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    """A small real version."""
    bundle = make_bundle(tmp_path_factory.mktemp("loans") / "bundle", "binary")
    return Endpoint(bundle, model="loans", version="1")


class Roster:
    """Names listeners, and never forgets one by itself."""

    def __init__(self, broken: bool = False) -> None:
        self.found: dict[str, Listener] = {}
        self._broken = broken

    def announce(self, listener: Listener) -> None:
        """Enter a listener."""
        self.found[listener.replica] = listener

    def withdraw(self, model: str, replica: str) -> None:
        """Take an entry away."""
        del self.found[replica]

    def listeners(self) -> tuple[Listener, ...]:
        """Return the entries, or fail."""
        if self._broken:
            message = "gone"
            raise StoreUnavailable(message)
        return tuple(self.found.values())

    def enter(self, replica: str, port: int) -> None:
        """Enter what listens at a port."""
        self.announce(Listener("loans", replica, "127.0.0.1", port, 1, "ready", datetime.now(UTC)))


class Replicas:
    """Gateways of one model, each with a listener of its own in one roster; Serve's part is a table."""

    def __init__(self, home: Path, loans: Endpoint, opened: ExitStack) -> None:
        self.settings = Settings(home=home)
        self.clock = FixedClock(datetime.now(UTC))
        self.roster = Roster()
        self.processes: dict[str, Processes] = {}
        self.routing = Routing(model="loans", live=Target(version="1", digest=loans.bundle.digest))
        self._loans, self._opened = loans, opened
        self._row = loans.decode([loans.example()])[0]

    def open(self, name: str) -> Gateway:
        """Start a replica."""
        gateway = Gateway("loans", self._loans)
        gateway.access = Access.load(self.settings.home)
        gateway.book.know([self._loans])
        listener = HttpListener(gateway)
        self._opened.callback(listener.close)
        self.roster.enter(name, listener.port)
        return gateway

    def score(self, gateway: Gateway, times: int) -> None:
        """Let a replica answer."""
        for _ in range(times):
            gateway.book.score(self._loans, Asked(self._row))

    def scrape(self, known: Evidence | None = None, **more: Any) -> Scrape:
        """Begin to look."""
        options: dict[str, Any] = {"roster": self.roster, "processes": self._serve, "clock": self.clock, **more}
        found = Scrape(self.settings, "loans", baseline="1", known=known, **options)
        self._opened.callback(found.close)
        return found

    def _serve(self, apps: Iterable[str]) -> dict[str, Processes]:
        return {app: self.processes[app] for app in apps if app in self.processes}


@pytest.fixture
def replicas(tmp_path: Path, loans: Endpoint) -> Iterator[Replicas]:
    """No replica yet."""
    with ExitStack() as opened:
        yield Replicas(tmp_path, loans, opened)


def rows(evidence: Evidence) -> int:
    arm = evidence.arm("1", "live")
    return 0 if arm is None else arm.rows


def test_looks_add_up_over_replicas_and_time(replicas: Replicas, loans: Endpoint) -> None:
    """What was counted before the first look is left out; after it every row of every replica is in, once."""
    one, two = replicas.open("a"), replicas.open("b")
    replicas.score(one, 100)
    scrape = replicas.scrape()
    seen = [rows(scrape.look(replicas.routing))]
    for gateway, times in ((one, 3), (two, 4), (one, 0)):
        replicas.score(gateway, times)
        seen.append(rows(scrape.look(replicas.routing)))
    arm = scrape.evidence.arm("1", "live")

    assert [0, 3, 7, 7] == seen
    assert arm is not None
    assert (7, 7, 7) == (arm.latency_ms.n, arm.scores.n, arm.score.n)
    assert tuple(loans.bundle.profile["score"]["edges"]) == arm.scores.edges
    assert (2, ()) == (scrape.evidence.replicas, scrape.evidence.stale)


def test_a_replica_that_ends_takes_only_what_came_since_the_last_look(replicas: Replicas) -> None:
    """Its successor counts from nothing under another incarnation, and all of that belongs to the rollout."""
    gateway = replicas.open("a")
    scrape = replicas.scrape()
    scrape.look(replicas.routing)
    replicas.score(gateway, 5)
    scrape.look(replicas.routing)
    replicas.score(gateway, 2)  # nobody looked
    replicas.roster.withdraw("loans", "a")
    gone = scrape.look(replicas.routing)
    replicas.clock.advance(3_600)  # the successor is younger than the first look
    successor = replicas.open("b")
    replicas.score(successor, 10)

    assert (5, 0) == (rows(gone), gone.replicas)
    assert 15 == rows(scrape.look(replicas.routing))


def test_what_was_known_is_carried_on(replicas: Replicas) -> None:
    """A control that starts anew goes on from the saved figures, and counts nothing twice."""
    gateway = replicas.open("a")
    first = replicas.scrape()
    first.look(replicas.routing)
    replicas.score(gateway, 5)
    saved = json.dumps(first.look(replicas.routing).to_json())
    second = replicas.scrape(Evidence.from_json(json.loads(saved)))
    after = rows(second.look(replicas.routing))
    replicas.score(gateway, 2)

    assert (5, 7) == (after, rows(second.look(replicas.routing)))


def test_replicas_that_do_not_tell_are_named(replicas: Replicas) -> None:
    """A port that refuses and one that stays silent are stale by name; a roster that cannot be read is an error."""
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        replicas.roster.enter("r0", closed.getsockname()[1])
        replicas.roster.enter("r1", silent.getsockname()[1])
        found = replicas.scrape().look(replicas.routing)

    assert ((), 0, ("r0", "r1")) == (found.arms, found.replicas, found.stale)
    with pytest.raises(StoreUnavailable):
        replicas.scrape(roster=Roster(broken=True)).look(replicas.routing)


def test_a_replica_of_another_release_is_stale(replicas: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of another form are not half understood."""
    gateway = replicas.open("a")
    monkeypatch.setattr(gateway.book, "document", lambda: {"incarnation": "x", "age_s": 1.0, "edges": {}, "arms": [{}]})
    found = replicas.scrape().look(replicas.routing)

    assert (0, ("a",)) == (found.replicas, found.stale)


def test_a_stack_with_keys_is_read_with_the_local_one(replicas: Replicas) -> None:
    """Where keys are asked for, the control uses this machine's own, which may operate."""
    create_key(replicas.settings.home, label="any", models=["*"], days=1, now=replicas.clock.now())
    gateway = replicas.open("a")
    scrape = replicas.scrape()
    scrape.look(replicas.routing)
    replicas.score(gateway, 4)

    assert 4 == rows(scrape.look(replicas.routing))


def test_ends_of_processes_are_counted_by_version_and_role(replicas: Replicas, loans: Endpoint) -> None:
    """The gateway's, a canary's and a shadow's ends are their own; an application started anew begins at none."""
    replicas.open("a")
    digest = loans.bundle.digest
    canary = Challenger(arm="canary", app="c", version="2", digest=digest, mode="canary", share=100)
    shadow = Shadow(app="s", version="3", digest=digest)
    routing = Routing(model="loans", live=replicas.routing.live, challengers=(canary,), shadows=(shadow,))
    scrape = replicas.scrape()

    def look(table: dict[str, str], of: Routing = routing) -> list[int]:
        replicas.processes = {app: Processes(1, frozenset(name), frozenset()) for app, name in table.items()}
        found = scrape.look(of)
        arms = [found.arm("1", "live"), found.arm("2", "canary"), found.arm("3", "shadow")]
        return [0 if arm is None else arm.restarts for arm in arms]

    assert [0, 0, 0] == look({"loans": "a", "c": "a", "s": "a"})
    assert [0, 1, 1] == look({"loans": "a", "c": "b", "s": "b"})
    assert [1, 2, 1] == look({"loans": "b", "c": "c", "s": "b"})
    assert [1, 2, 1] == look({"loans": "b", "s": "b"}, Routing(model="loans", live=routing.live, shadows=(shadow,)))
    assert [1, 2, 1] == look({"loans": "b", "c": "z", "s": "b"})


def test_a_serve_that_is_away_costs_nothing_else(replicas: Replicas) -> None:
    """When Serve's controller does not answer, the replicas' figures come all the same."""
    gateway = replicas.open("a")
    scrape = replicas.scrape(processes=_away)
    scrape.look(replicas.routing)
    replicas.score(gateway, 4)
    found = scrape.look(replicas.routing)

    assert (4, 1) == (rows(found), found.replicas)
    assert timedelta(0) == found.at - replicas.clock.now()


def _away(apps: object) -> dict[str, Processes]:
    raise RuntimeError(apps)
