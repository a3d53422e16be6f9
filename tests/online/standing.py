"""A model with replicas behind an edge, and load on all its ways in: what the tests share that kill parts of it.

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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .killing import Asking, Ledger, below

__all__ = ["CLIENTS", "REPLACED_S", "Stand", "answers", "edge_of", "own_ray", "replace", "unanswered", "wait_for"]

CLIENTS = 3
"""Of each way in."""
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
        # A client that was broken off sends again, perhaps to another version: both answers are in the log.
        kept: defaultdict[str, list[AuditRecord]] = defaultdict(list)
        for entry in read_model(log):
            kept[entry.record.request_id].append(entry.record)
        for way, ledger in ledgers.items():
            told = ledger.answered()
            statuses = Counter(sent.status for sent in ledger.sent.values())
            print(f"{name}, {way}: {dict(statuses)}, {ledger.failures} broken off")
            assert set() == told.keys() - kept.keys()
            assert all(200 in [record.status for record in kept[request]] for request in told)
            for request, sent in told.items():
                if len(sent.scores or ()) == 1:
                    assert sent.scores in [[(record.outputs[0] or [])[0]] for record in kept[request] if record.outputs]


def own_ray() -> int:
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
