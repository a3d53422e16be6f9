"""On a real Ray Serve: load on the listener adds a replica, its end takes it away, and no request fails meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.spec import ScalingPolicy, ServeSpec
from twinscore.ports.listener_roster import ListenerRoster
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .conftest import Trained

pytestmark = pytest.mark.cluster
QUICK = ScalingPolicy(target_ongoing=0.3, target_busy=1.0, up_delay_s=1, down_delay_s=2)
CLIENTS = 4
_LOOKING = threading.Lock()


def test_load_adds_a_replica_and_its_end_takes_it_away(members: Any, serve_settings: Settings, binary: Trained) -> None:
    """The requests go straight to the listeners, which Serve does not count; each has an answer with scores."""
    del members
    spec = ServeSpec(model="members", max_replicas=2, scaling=QUICK, max_queued_requests=10_000, max_wait_ms=10_000)
    serve_model(serve_settings, "members", spec=spec)
    roster = listener_roster(serve_settings)
    load = Load(roster, binary.rows[0])
    try:
        before = len(ready(roster))
        load.start()
        up = comes_true(lambda: len(ready(roster)) == 2)
        spread = comes_true(lambda: len(load.ports) >= 2)
        load.stop()
        with Load(roster, binary.rows[0], pause_s=1.0) as little:
            down = comes_true(lambda: len(ready(roster)) == 1)
    finally:
        load.stop()
        stop_model("members")

    assert (1, True, True, True) == (before, up, spread, down)
    assert [{200}, {200}] == [set(load.seen), set(little.seen)]
    assert 0 < min(little.seen[200], load.seen[200])


def ready(roster: ListenerRoster) -> list[int]:
    """Return the ports that an edge would send to."""
    with _LOOKING:
        return [one.port for one in roster.listeners() if one.model == "members" and one.state == "ready"]


def comes_true(what: Callable[[], bool], within_s: float = 90) -> bool:
    until = time.monotonic() + within_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


class Load:
    """Clients that ask the listeners in turn, as an edge does: by the roster, another one when a connection breaks."""

    def __init__(self, roster: ListenerRoster, row: dict[str, Any], *, pause_s: float = 0.0) -> None:
        self.seen: Counter[Any] = Counter()
        self.ports: set[int] = set()
        self._roster = roster
        self._body = json.dumps(row).encode()
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once each client has its answer."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(60)

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=30, trust_env=False, headers={"content-type": "application/json"}) as client:
            while not self._stop.is_set():
                ports, looked_s = sorted(ready(self._roster)), time.monotonic()
                while not self._stop.is_set() and time.monotonic() < looked_s + 0.2:
                    self.seen[self._once(client, ports, number)] += 1
                    time.sleep(self._pause_s)

    def _once(self, client: httpx.Client, ports: list[int], number: int) -> Any:
        """Return the status of a request; a connection that a draining listener closed is another listener's turn."""
        error: Any = "no listener"
        for turn in range(len(ports)):
            port = ports[(number + turn) % len(ports)]
            try:
                status = client.post(f"http://127.0.0.1:{port}/members/predict", content=self._body).status_code
            except httpx.TransportError as failure:
                error = repr(failure)
                continue
            self.ports.add(port)
            return status
        return error
