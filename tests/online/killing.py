"""Fronts in processes of their own that are killed under load, and the clients' own ledger: what test_kill.py shares.

A nursery process imports everything and builds the endpoint once; each front is a fork of it, so that a life begins in
milliseconds. The ledger is kept by the clients, in this process, and never asks the log.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Literal

__all__ = ["Asking", "Ledger", "Nursery", "Sent", "below"]

NURSERY = """
import ctypes, os, signal, sys, threading, time
from pathlib import Path
from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key
from twinscore.audit.places import model_folder
from twinscore.errors import StoreConflict
from twinscore.online.asked import Asked
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.switch import load_endpoint
from twinscore.online.request import Limits
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

folder, digest, home = sys.argv[1:]
settings = Settings(home=Path(home))
endpoint = load_endpoint(Path(folder), digest, model="members", version="1", limits=Limits())
endpoint.score(Asked(endpoint.decode([endpoint.example()])[0]))
out = os.dup(1)
os.dup2(2, 1)  # where libraries print
say = lambda text: os.write(out, (text + "\\n").encode())

def serve():
    policy = AuditPolicy(reserve_mb=1, segment_age_s=0.3)
    front = Front(Gateway("members", endpoint), settings, listener_roster(settings), replica=f"p{os.getpid()}",
                  audit=policy)
    say(f"open {os.getpid()} {front.listener.port}")
    threading.Event().wait()

def compact():
    log = model_folder(settings.lake, "members")
    while True:
        try:
            compact_model(log, load_secret(audit_key(settings.home)), lambda digest: endpoint.bundle.contract)
        except StoreConflict:
            pass
        time.sleep(0.05)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
say("ready")
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody is left when the nursery ends
        {"serve": serve, "compact": compact}[line.strip()]()
    say(f"born {pid}")
"""


class Nursery:
    """Forks processes that serve or compact, and kills them; ends with everything it started."""

    def __init__(self, bundle: Path, digest: str, home: Path) -> None:
        command = [sys.executable, "-X", "faulthandler", "-c", NURSERY, str(bundle), digest, str(home)]
        # A pool of threads that the nursery has would be waited for in vain by its forks.
        alone = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **alone}
        )
        self._alive: set[int] = set()
        self._ports: dict[int, int] = {}
        self._hear("ready")

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *reason: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for pid in list(self._alive):
            self.kill(pid)
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def fork(self, what: Literal["serve", "compact"]) -> int:
        """Return the pid of a new process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        pid = self._hear("born")
        self._alive.add(pid)
        return pid

    def port_of(self, pid: int) -> int:
        """Return where a front listens, once it does."""
        while pid not in self._ports:
            self._hear("open")
        return self._ports[pid]

    def kill(self, pid: int) -> None:
        """SIGKILL; returns once the process is gone."""
        os.kill(pid, signal.SIGKILL)
        self._alive.discard(pid)
        until = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
            time.sleep(0.001)

    def _hear(self, wanted: str) -> int:
        """Read until a word comes, and remember every port that is told before; lines of several processes mix."""
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line, f"the nursery ended with {self._process.wait(30)}"
            word, *numbers = line.split()
            if word == "open":
                self._ports[int(numbers[0])] = int(numbers[1])
            if word == wanted:
                return int(numbers[0]) if numbers else 0


@dataclass
class Sent:
    """What a client knows of one request: what it sent, and what it was told, if anything."""

    body: bytes
    status: int | None = None
    """None while nobody was told anything: the log may or may not have it."""
    scores: list[float] | None = None


class Ledger:
    """Every request of every client; an id whose answer was not seen is sent again in the next life, as an edge does.

    Args:
        rows: that requests are made of.
        dice: chooses what is sent.
        prefix: of the ids, which another ledger of the same log does not have.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], dice: random.Random, prefix: str = "q") -> None:
        self.sent: dict[str, Sent] = {}
        self.resent = 0
        """Requests that were sent more than once."""
        self.failures = 0
        """Requests whose connection broke."""
        self._rows = rows
        self._dice = dice
        self._prefix = prefix
        self._again: deque[str] = deque()
        self._mutex = threading.Lock()

    def next(self) -> tuple[str, bytes]:
        """Return an id and a body to send: one row mostly, several at times, now and then one that is refused."""
        with self._mutex:
            if self._again and self._dice.random() < 0.5:
                self.resent += 1
                request_id = self._again.popleft()
                return request_id, self.sent[request_id].body
            row = dict(self._dice.choice(self._rows))
            chance = self._dice.random()
            if chance < 0.05:
                row["age"] = -5
            several = self._dice.sample(self._rows, self._dice.choice([3, 40])) if chance > 0.95 else None
            body = json.dumps(row if several is None else {"instances": several}).encode()
            request_id = f"{self._prefix}-{len(self.sent):07}"  # of one width, so that none is the beginning of another
            self.sent[request_id] = Sent(body)
            return request_id, body

    def told(self, request_id: str, status: int, said: bytes) -> None:
        """Note an answer."""
        sent = self.sent[request_id]
        sent.status = status
        if status == 200:
            sent.scores = [one["score"] for one in json.loads(said)["predictions"]]

    def broke(self, request_id: str) -> None:
        """Note that the connection ended before an answer."""
        with self._mutex:
            self.failures += 1
            self._again.append(request_id)

    def answered(self, status: int = 200) -> dict[str, Sent]:
        """Return the requests that were told this status."""
        return {request_id: sent for request_id, sent in self.sent.items() if sent.status == status}


@dataclass
class Asking:
    """A few clients that ask until they are told to stop, or until their connection breaks.

    Args:
        ledger: what they note in.
        port: where they connect to, asked anew for each connection.
        clients: how many.
        stay: connect again when the connection breaks.
    """

    ledger: Ledger
    port: Callable[[], int]
    clients: int = 4
    stay: bool = False
    answers: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Asking:
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            connection = HTTPConnection("127.0.0.1", self.port(), timeout=20)
            try:
                self._ask_on(connection)
            finally:
                connection.close()
            if not self.stay:
                return

    def _ask_on(self, connection: HTTPConnection) -> None:
        while not self._stop.is_set():
            request_id, body = self.ledger.next()
            headers = {"content-type": "application/json", "x-request-id": request_id}
            try:
                connection.request("POST", "/members/predict", body, headers)
                response = connection.getresponse()
                said = response.read()
            except (OSError, HTTPException):
                self.ledger.broke(request_id)
                return
            self.ledger.told(request_id, response.status, said)
            self.answers += 1
            if response.will_close:
                return


def below(pid: int) -> Iterator[tuple[int, str]]:
    """Yield pid and title of each process that descends from another."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in map(int, children):
        try:
            yield child, Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        yield from below(child)
