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
from contextlib import ExitStack, contextmanager, suppress
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

SERVER = """
import sys, threading
import ray
from twinscore.online.deploy import serve_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import load_settings

home, port, folder = sys.argv[1:]
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
spec = ServeSpec(model="members", replicas=2, audit=AuditPolicy(reserve_mb=1))
serve_model(load_settings(home=home, serve_port=int(port)), "members", spec=spec)
print("ready", flush=True)
threading.Event().wait()
"""
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
    driver: int
    """A process that everything of this Ray descends from, and nothing of another that the tests keep beside it."""

    def replicas(self) -> set[str]:
        """Return the names of the replicas that listen now."""
        return {one.replica for one in listener_roster(self.settings).listeners() if one.state == "ready"}

    def listener_port(self) -> int:
        """Return the port of one of them; while there is none, a port where nobody answers."""
        found = listener_roster(self.settings).listeners()
        return random.choice(found).port if found else 9

    def processes(self, title: str) -> list[int]:
        """Return the processes of this module's Ray with this title."""
        return [pid for pid, found in below(self.driver) if found.startswith(title)]

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
    with edge_of(serve_settings) as port:
        made = Stand(serve_settings, members.rows, port, raylet())
        wait_for(lambda: len(made.replicas()) == 2 and answers(port, members.rows[0]), REPLACED_S)
        yield made
    stop_model("members")


def raylet() -> int:
    """Return the process that this process's Ray starts its workers from."""
    import ray

    node: Any = ray._private.worker._global_node
    pid: int = node.all_processes["raylet"][0].process.pid
    return pid


@contextmanager
def edge_of(settings: Settings) -> Iterator[int]:
    """Keep an edge until the block ends, and give its port."""
    folder = tempfile.mkdtemp(prefix="ts-k-", dir="/tmp")  # a socket's path is short
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "twinscore.edge.keeper", "--ingress", f"127.0.0.1:{settings.serve_port}"]
    environment = {**os.environ, "TWINSCORE_HOME": str(settings.home), "TWINSCORE_SERVE_PORT": str(port)}
    with subprocess.Popen([*command, "--folder", folder], env=environment) as keeper:
        try:
            yield port
        finally:
            keeper.terminate()
            keeper.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


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
    """Kill one replica, and return how long it took until there is another beside the one that stayed."""
    before = stand.replicas()
    os.kill(random.choice(stand.processes("ray::ServeReplica:members:endpoint")), signal.SIGKILL)

    def replaced() -> bool:
        now = stand.replicas()
        return len(now) == 2 and len(now - before) == 1

    return wait_for(replaced, REPLACED_S)


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
        took_s = []
        for _ in range(MANY):
            took_s.append(replace(stand))
            time.sleep(3)  # so that the edge has heard of the new one before the other may die
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


@pytest.mark.chaos
def test_the_control_store_dies(binary: Any, tmp_path: Path) -> None:
    """Ray's GCS goes and does not come back: for half a minute nobody who asks for a score notices."""
    from twinscore.wiring import model_store

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = Settings(home=tmp_path, serve_port=probe.getsockname()[1])
    tags = {"twinscore.bundle_digest": binary.bundle.digest}
    model_store(settings).register("members", binary.bundle.folder, metrics={}, params={}, tags=tags)
    model_store(settings).set_alias("members", "champion", "1")
    folder = tempfile.mkdtemp(prefix="ts-g-", dir="/tmp")
    command = [sys.executable, "-c", SERVER, str(tmp_path), str(settings.serve_port), folder]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        assert any(line == "ready\n" for line in server.stdout)
        with edge_of(settings) as port:
            made = Stand(settings, binary.rows, port, server.pid)
            wait_for(lambda: len(made.replicas()) == 2 and answers(port, binary.rows[0]), REPLACED_S)
            (store,) = [pid for pid, title in below(server.pid) if "gcs_server" in title.split("\0")[0]]
            with made.load("store") as ledgers:
                os.kill(store, signal.SIGKILL)
                time.sleep(30)
    finally:
        for pid in [*(pid for pid, _ in below(server.pid)), server.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.communicate()
        shutil.rmtree(folder, ignore_errors=True)

    assert [0, 0, 0] == [unanswered(ledger) for ledger in ledgers.values()]
