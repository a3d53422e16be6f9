"""SIGKILL under POST load on a real Ray Serve behind an edge: who is answered all the same, and what is kept.

Three ways in are asked at once: the edge, which users call, Serve's own ingress, and a listener straight from the
roster. Whatever is killed, each answer with scores is in the log.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .killing import Asking, Ledger, below

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CLIENTS = 3
"""Of each way in."""
MANY = 10
"""Replicas that are killed one after the other."""
REPLACED_S = 90.0
"""How long a replacement may take on a machine that does much else; what it took is printed."""


@dataclass
class Stand:
    """A model with two replicas behind an edge."""

    settings: Settings
    rows: list[dict[str, Any]]
    edge_port: int

    def replicas(self) -> set[str]:
        """Return the names of the replicas that listen now."""
        return {one.replica for one in listener_roster(self.settings).listeners() if one.state == "ready"}

    def listener_port(self) -> int:
        """Return the port of one of them."""
        return random.choice(listener_roster(self.settings).listeners()).port

    def processes(self, title: str) -> list[int]:
        """Return the processes of this module's Ray with this title."""
        return [pid for pid, found in below(os.getpid()) if found.startswith(title)]

    @contextmanager
    def load(self, name: str) -> Iterator[dict[str, Ledger]]:
        """Ask by all three ways until the block ends; afterwards each answer must be in the log."""
        ports: dict[str, Callable[[], int]] = {
            "edge": lambda: self.edge_port,
            "ingress": lambda: self.settings.serve_port,
            "listener": self.listener_port,
        }
        ledgers = {way: Ledger(self.rows, random.Random(3), f"{name}-{way}") for way in ports}
        with ExitStack() as stack:
            asking = [stack.enter_context(Asking(ledgers[way], ports[way], CLIENTS, stay=True)) for way in ports]
            wait_for(lambda: all(one.answers >= 10 for one in asking), REPLACED_S)
            yield ledgers
            before = [one.answers for one in asking]
            wait_for(lambda: all(one.answers >= seen + 10 for one, seen in zip(asking, before, strict=True)), 60)
        log = model_folder(self.settings.lake, "members")
        kept = {entry.record.request_id: entry.record for entry in read_model(log)}
        for way, ledger in ledgers.items():
            told = ledger.answered()
            statuses = Counter(sent.status for sent in ledger.sent.values())
            print(f"{name}, {way}: {dict(statuses)}, {ledger.failures} broken off")
            assert set() == told.keys() - kept.keys()
            assert all(kept[request].status == 200 for request in told)
            one_row = {request: sent.scores for request, sent in told.items() if len(sent.scores or ()) == 1}
            assert one_row == {request: [(kept[request].outputs[0] or [])[0]] for request in one_row}


@pytest.fixture(scope="module")
def stand(serve_settings: Settings, members: Any) -> Iterator[Stand]:
    """Two replicas of `members` and an edge in front."""
    spec = ServeSpec(model="members", replicas=2, audit=AuditPolicy(reserve_mb=1))
    serve_model(serve_settings, "members", spec=spec)
    folder = tempfile.mkdtemp(prefix="ts-k-", dir="/tmp")  # a socket's path is short
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "twinscore.edge.keeper", "--ingress", f"127.0.0.1:{serve_settings.serve_port}"]
    environment = {**os.environ, "TWINSCORE_HOME": str(serve_settings.home), "TWINSCORE_SERVE_PORT": str(port)}
    with subprocess.Popen([*command, "--folder", folder], env=environment) as keeper:
        try:
            made = Stand(serve_settings, members.rows, port)
            wait_for(lambda: len(made.replicas()) == 2 and answers(port, members.rows[0]), REPLACED_S)
            yield made
        finally:
            keeper.terminate()
            keeper.wait(30)
            shutil.rmtree(folder, ignore_errors=True)
    stop_model("members")


def answers(port: int, row: dict[str, Any]) -> bool:
    try:
        return httpx.post(f"http://127.0.0.1:{port}/members/predict", json=row, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def wait_for(true: Callable[[], object], patience_s: float) -> float:
    """Wait for something that other processes bring about, and return how long it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < patience_s, "it did not happen"
        time.sleep(0.05)
    return time.monotonic() - began


def replace(stand: Stand) -> float:
    """Kill one replica, and return how long it took until there are two again."""
    before = stand.replicas()
    os.kill(random.choice(stand.processes("ray::ServeReplica:members:endpoint")), signal.SIGKILL)
    return wait_for(lambda: len(stand.replicas()) == 2 and stand.replicas() != before, REPLACED_S)


def unanswered(ledger: Ledger) -> int:
    """Return how often a client was not told what it should be told."""
    return ledger.failures + len([sent for sent in ledger.sent.values() if sent.status not in (200, 422, None)])


def test_a_replica_dies(stand: Stand) -> None:
    """Nobody who calls the edge notices; who calls a listener loses what was in it; another takes its place."""
    with stand.load("replica") as ledgers:
        took_s = replace(stand)
    print(f"replaced after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])
    assert CLIENTS >= ledgers["listener"].failures


@pytest.mark.chaos
def test_many_replicas_die(stand: Stand) -> None:
    """One after the other: by the edge not one request fails, and each replica is replaced."""
    with stand.load("many") as ledgers:
        took_s = [replace(stand) for _ in range(MANY)]
    print(f"{MANY} replaced after {min(took_s):.1f} to {max(took_s):.1f} s")

    assert 0 == unanswered(ledgers["edge"])
    assert MANY * CLIENTS >= ledgers["listener"].failures


def test_the_controller_dies(stand: Stand) -> None:
    """Nobody notices, and Ray starts it again."""
    (controller,) = stand.processes("ray::ServeController")
    replicas = stand.replicas()
    with stand.load("controller") as ledgers:
        os.kill(controller, signal.SIGKILL)
        took_s = wait_for(lambda: set(stand.processes("ray::ServeController")) - {controller}, REPLACED_S)
    print(f"restarted after {took_s:.1f} s")

    assert [0, 0, 0] == [unanswered(ledger) for ledger in ledgers.values()]
    assert replicas == stand.replicas()


def test_a_replica_dies_while_the_registry_is_gone(stand: Stand) -> None:
    """A replica needs its bundle and no registry, so another takes its place all the same."""
    registry = stand.settings.registry_folder
    hidden: Path = registry.rename(registry.with_name("hidden"))
    try:
        with stand.load("registry") as ledgers:
            took_s = replace(stand)
    finally:
        hidden.rename(registry)
    print(f"replaced after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])
