"""A disk that is full, and one whose sync fails: nothing is answered that is not recorded, and it goes on by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.verify import verify_model
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .killing import Nursery

PATIENCE_S = 30.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A home on a file system of 8 MiB, of which mounting is allowed here or the test is skipped."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


class Asking:
    """One client that asks without a pause and remembers what it was told."""

    def __init__(self, port: int, row: Any) -> None:
        self.port = port
        self.told: dict[str, tuple[int, str, str | None]] = {}
        self._body = json.dumps(row).encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._over.set()
        self._thread.join()

    def get(self, path: str) -> httpx.Response:
        """Ask for a page beside the load."""
        return httpx.get(f"http://127.0.0.1:{self.port}/members{path}", trust_env=False, timeout=20)

    def wait_for(self, status: int) -> None:
        """Wait until an answer with this status comes from now on."""
        seen, until = len(self.told), time.monotonic() + PATIENCE_S
        while all(told[0] != status for told in list(self.told.values())[seen:]):
            assert time.monotonic() < until, f"no {status} came; so far {Counter(t[0] for t in self.told.values())}"
            time.sleep(0.005)

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self._over.is_set():
            name = f"q-{len(self.told)}"
            headers = {"content-type": "application/json", "x-request-id": name}
            connection.request("POST", "/members/predict", self._body, headers)
            response = connection.getresponse()
            said = json.loads(response.read())
            self.told[name] = response.status, said.get("code", ""), response.headers["retry-after"]
        connection.close()


def recorded(home: Path) -> set[str]:
    return {entry.record.request_id for entry in read_model(model_folder(Settings(home=home).lake, "members"))}


def faults_of(home: Path) -> list[tuple[str, ...]]:
    settings = Settings(home=home)
    return [
        state.faults for state in verify_model(model_folder(settings.lake, "members"), load_secret(audit_key(home)))
    ]


def test_a_full_disk(small_disk: Path, binary: Any) -> None:
    """Answers go on from the reserve, then 503 and not ready; with room again it is ready without a restart."""
    settings = Settings(home=small_disk)
    front = Front(
        Gateway("members", binary.endpoint),
        settings,
        listener_roster(settings),
        replica="r1",
        audit=AuditPolicy(reserve_mb=1),
    )
    try:
        with Asking(front.listener.port, binary.rows[0]) as asking:
            asking.wait_for(200)
            ready = [asking.get("/health/ready").status_code]
            fill(small_disk)
            asking.wait_for(503)
            full = asking.get("/health/ready")
            live, page = asking.get("/health/live").status_code, asking.get("/version").status_code
            (small_disk / "filling").unlink()
            asking.wait_for(200)
            ready += [full.status_code, asking.get("/health/ready").status_code]
    finally:
        front.close()
    refused = {told for told in asking.told.values() if told[0] != 200}

    assert [200, 503, 200] == ready
    assert (200, 200, "audit_unavailable", "1") == (live, page, full.json()["code"], full.headers["retry-after"])
    assert {(503, "audit_unavailable", "1")} == refused
    assert {name for name, told in asking.told.items() if told[0] == 200} <= recorded(small_disk)
    assert [()] == faults_of(small_disk)


def test_the_reserve_is_for_what_was_begun(small_disk: Path, binary: Any) -> None:
    """A request that meets a full disk is still recorded and answered; the next one is refused before any score."""
    settings = Settings(home=small_disk)
    policy = AuditPolicy(reserve_mb=1)
    gateway = Gateway("members", binary.endpoint)
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=policy)
    assert front.writer is not None
    url = f"http://127.0.0.1:{front.listener.port}/members/predict"
    row = {"instances": binary.rows[:60]}
    try:
        with httpx.Client(trust_env=False, timeout=20) as client:
            before = client.post(url, json=row).status_code
            fill(small_disk)
            while front.writer.ready:  # the pages that the segment has still take a few
                begun = client.post(url, json=row, headers={"x-request-id": "begun"}).status_code
            after = client.post(url, json=row, headers={"x-request-id": "after"}).status_code
    finally:
        (small_disk / "filling").unlink()
        front.close()

    assert (200, 200, 503) == (before, begun, after)
    assert "begun" in recorded(small_disk)
    assert "after" not in recorded(small_disk)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace puts the error in")
def test_a_sync_that_fails(binary: Any, tmp_path: Path) -> None:
    """While the kernel answers every sync with EIO nothing is answered 200; then a new segment begins by itself."""
    folder = binary.bundle.folder
    log = model_folder(Settings(home=tmp_path).lake, "members")
    with Nursery(folder, binary.bundle.digest, tmp_path) as nursery:
        pid = nursery.fork("serve")
        with Asking(nursery.port_of(pid), binary.rows[0]) as asking:
            asking.wait_for(200)
            command = ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-p", str(pid)]
            command += ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as failing:
                try:
                    asking.wait_for(503)
                    during = asking.get("/health/ready")
                    n_told = len(asking.told)
                    time.sleep(0.3)
                    meanwhile = {told[0] for told in list(asking.told.values())[n_told:-1]}
                finally:
                    failing.send_signal(signal.SIGINT)
                    failing.communicate(timeout=20)
            asking.wait_for(200)
            after = asking.get("/health/ready").status_code
    segments = sorted(os.listdir(log / STREAMS / next(iter(os.listdir(log / STREAMS)))))  # noqa: PTH208 - names only

    assert "EIO" in (tmp_path / "trace").read_text()
    assert (503, "audit_unavailable", {503}, 200) == (during.status_code, during.json()["code"], meanwhile, after)
    assert {(200, ""), (503, "audit_unavailable")} == {told[:2] for told in asking.told.values()}
    assert {name for name, told in asking.told.items() if told[0] == 200} <= recorded(tmp_path)
    assert [()] == faults_of(tmp_path)
    assert len([name for name in segments if name.endswith(".segment")]) > 1


def fill(place: Path) -> None:
    """Take every byte that is left."""
    with (place / "filling").open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
