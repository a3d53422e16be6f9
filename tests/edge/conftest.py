"""A real edge in a folder of its own, real small listeners behind it, and bounded load over loopback."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twinscore.edge.runtime_api import RuntimeApi, ask
from twinscore.errors import StackError
from twinscore.settings import Settings, load_settings

if TYPE_CHECKING:
    from twinscore.edge.slots import Slot

PROGRAM = Path(__file__).with_name("backend.py")
BODY = b'{"income": 52000.0}'
JSON = {"content-type": "application/json"}


def own_port() -> int:
    """A port of loopback that nobody held a moment ago, below those that the kernel gives to clients."""
    while True:
        port = 20_000 + int.from_bytes(os.urandom(2)) % 9_000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


@dataclass
class Edge:
    """One edge: a keeper as a process of its own, and what it keeps."""

    settings: Settings
    folder: Path
    ingress_port: int
    metrics_port: int
    keeper: subprocess.Popen[bytes] | None = None
    replicas: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Where users call."""
        return self.settings.serve_port

    @property
    def roster(self) -> Path:
        """Folder of the roster."""
        return self.settings.home / "run" / "listeners"

    def keep(self) -> None:
        """Start a keeper and wait until the edge answers."""
        variables = {f"TWINSCORE_{name.upper()}": str(value) for name, value in self.settings if value is not None}
        with (self.settings.home / "edge.log").open("ab") as log:
            self.keeper = subprocess.Popen(
                [sys.executable, "-m", "twinscore.edge.keeper", "--ingress", f"127.0.0.1:{self.ingress_port}",
                 "--folder", str(self.folder), "--metrics-port", str(self.metrics_port)],
                env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self.answers)

    def answers(self) -> bool:
        """Say whether it answers at all."""
        with suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/-/healthz")[0] in {200, 503}
        return False

    def replica(self, model: str, name: str, *, limit: int = 64, delay_ms: float = 0) -> None:
        """Start a replica as a process, and wait until the edge sends to it."""
        self.replicas[name] = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.roster), model, name, "0", str(limit), str(delay_ms)],
            env=dict(os.environ),
        )
        wait_until(lambda: name in self.reached(model))

    def reached(self, model: str) -> set[str]:
        """Names of the replicas that a few requests meet."""
        names = set()
        for _ in range(6):
            with suppress(OSError, http.client.HTTPException):
                names.add(self.ask("POST", f"/{model}/predict", BODY, JSON)[1].get("x-served-by", ""))
        return names

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request on a connection of its own."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is opened by its first request."""
        if self.settings.tls_certificate is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        context = ssl.create_default_context(cafile=str(self.settings.tls_certificate))
        return http.client.HTTPSConnection("localhost", self.port, timeout=10, context=context)

    def raw(self, data: bytes, *, patience_s: float = 6) -> bytes:
        """Send bytes as they are and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience_s) as connection:
            connection.sendall(data)
            said = b""
            with suppress(OSError):
                while part := connection.recv(65_536):
                    said += part
                    if b"\r\n\r\n" in said and said.count(b"}") >= 1:
                        break
            return said

    def slots(self) -> dict[str, tuple[Slot, ...]]:
        """The slots of each backend, as HAProxy has them; one that is just being reloaded needs a moment to say it."""
        found: list[dict[str, tuple[Slot, ...]]] = []

        def says_it() -> bool:
            with suppress(StackError):
                found.append(RuntimeApi(self.folder / "admin.sock").slots())
            return bool(found)

        wait_until(says_it)
        return found[0]

    def haproxy(self) -> int:
        """Process id of HAProxy's master; one that has just been started needs a moment to say it."""
        found: list[int] = []

        def says_it() -> bool:
            found.extend(self._masters())
            return bool(found)

        wait_until(says_it)
        return found[0]

    def _masters(self) -> list[int]:
        """What HAProxy's own socket says now: nobody where no proxy runs."""
        with suppress(StackError):
            lines = ask(self.folder / "master.sock", "show proc").splitlines()
            return [int(line.split()[0]) for line in lines if "master" in line]
        return []

    def end(self) -> None:
        """End keeper, proxy and replicas."""
        for replica in self.replicas.values():
            replica.terminate()
        if self.keeper is not None:
            self.keeper.terminate()
            self.keeper.wait(15)
        for replica in self.replicas.values():
            replica.wait(10)
        for left in self._masters():  # a keeper that was killed leaves its proxy behind
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGTERM)


@contextmanager
def edge(home: Path, **options: object) -> Iterator[Edge]:
    """An edge that is ended after the block."""
    home.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ts-e-"))
    made = Edge(load_settings(home=home, serve_port=own_port(), **options), folder, own_port(), own_port())
    try:
        made.keep()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def own_edge(tmp_path: Path) -> Iterator[Edge]:
    """An edge for one test that breaks things."""
    with edge(tmp_path / "home") as made:
        yield made


def wait_until(true: Callable[[], object], *, patience_s: float = 20.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def load(made: Edge, path: str, *, clients: int = 8) -> Iterator[Counter[str]]:
    """POST from a few clients with kept connections until the block ends; count what each request came to.

    A client that is cut off before an answer counts as a failure, and connects again.
    """
    counts: Counter[str] = Counter()
    over = threading.Event()
    lock = threading.Lock()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", made.port, timeout=10)
        while not over.is_set():
            try:
                connection.request("POST", path, BODY, JSON)
                answer = connection.getresponse()
                answer.read()
                what = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                what = type(error).__name__
                connection.close()
                time.sleep(0.02)
            with lock:
                counts[what] += 1
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join(15)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one PEM file."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "edge.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path
