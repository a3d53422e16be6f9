"""What a replica counts: answers and records agree once nothing waits, whoever went away and whatever was refused."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.disk import Disk
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.online.app import GatewayApp
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.metrics import Metrics, Noted
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from ..queries import wanted_names


def open_front(binary: Any, home: Path, **policy: Any) -> Front:
    settings = Settings(home=home)
    gateway = Gateway("members", binary.endpoint)
    return Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1, **policy))


def url_of(front: Front, path: str) -> str:
    return f"http://127.0.0.1:{front.listener.port}/members{path}"


def scrape(front: Front) -> dict[str, float]:
    """Return every number of the replica by its name, without the common prefix."""
    text = httpx.get(url_of(front, "/metrics"), trust_env=False).raise_for_status().text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("twinscore_"): float(value) for name, value in lines}


def answered(seen: dict[str, float]) -> float:
    return seen["responses_2xx_total"] + seen["refusals_recorded_total"] + seen["clients_gone_total"]


def test_answers_and_records_agree(binary: Any, tmp_path: Path) -> None:
    """After scores alone the two counts are equal; with refusals and pages each is counted under what it was."""
    front = open_front(binary, tmp_path)
    try:
        with httpx.Client(trust_env=False) as client:
            for number in range(30):
                client.post(url_of(front, "/predict"), json={"instances": binary.rows[: 1 + number % 3]})
            scored = scrape(front)
            client.post(url_of(front, "/predict"), json={**binary.rows[0], "age": -5})
            client.post(url_of(front, "/predict"), content=b"{", headers={"content-type": "application/json"})
            client.get(url_of(front, "/version"))
            client.get(url_of(front, "/nothing"))
        seen = scrape(front)
    finally:
        front.close()
    recorded = list(read_model(model_folder(Settings(home=tmp_path).lake, "members")))

    assert (30, 0) == (scored["responses_2xx_total"], scored["responses_2xx_total"] - scored["audit_durable_total"])
    assert (60, 30, 30) == (scored["rows_total"], scored["request_seconds_count"], scored["audit_lag_seconds_count"])
    assert (2, 32, 32) == (seen["refusals_recorded_total"], answered(seen), seen["audit_durable_total"])
    assert 32 == len(recorded)
    assert {
        'responses_total{arm="live",code="",path="predict",status="200"}': 30,
        'responses_total{arm="",code="contract_broken",path="predict",status="422"}': 1,
        'responses_total{arm="",code="bad_json",path="predict",status="400"}': 1,
        'responses_total{arm="",code="",path="page",status="200"}': 2,
        'responses_total{arm="",code="",path="page",status="404"}': 1,
    } == {name: count for name, count in seen.items() if name.startswith("responses_total")}
    assert (1, 0, 0) == (seen["audit_ready"], seen["waiting"], seen["audit_unrecorded_total"])


def test_a_client_that_goes_while_its_record_is_synced(binary: Any, tmp_path: Path) -> None:
    """The score was computed, so its record is there as it was answered; that nobody heard it is counted."""
    front = open_front(binary, tmp_path)
    assert front.writer is not None
    syncing, may_sync = threading.Event(), threading.Event()

    class Slow(Disk):
        def fdatasync(self, handle: int) -> None:
            syncing.set()
            may_sync.wait(20)
            super().fdatasync(handle)

    front.writer._disk = Slow()
    body = json.dumps(binary.rows[0]).encode()
    head = b"POST /members/predict HTTP/1.1\r\nhost: x\r\nx-request-id: gone\r\ncontent-type: application/json\r\n"
    try:
        with socket.create_connection(("127.0.0.1", front.listener.port), timeout=5) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
            peer.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            assert syncing.wait(20)
        until = time.monotonic() + 20
        while front.listener._connections and time.monotonic() < until:
            time.sleep(0.01)
        may_sync.set()
        while front.listener.waiting and time.monotonic() < until:
            time.sleep(0.01)
        seen = scrape(front)
    finally:
        may_sync.set()
        front.close()
    (entry,) = read_model(model_folder(Settings(home=tmp_path).lake, "members"))

    assert ("gone", 200) == (entry.record.request_id, entry.record.status)
    assert (1, 0, 1) == (seen["clients_gone_total"], seen["responses_2xx_total"], seen["audit_durable_total"])


@pytest.mark.parametrize("on_failure", ["refuse", "answer"])
def test_what_cannot_be_recorded_is_counted(binary: Any, tmp_path: Path, on_failure: str) -> None:
    """With either policy the counts say what happened: 503s without a record, or answers without one."""
    front = open_front(binary, tmp_path, on_failure=on_failure)
    assert front.writer is not None
    try:
        httpx.post(url_of(front, "/predict"), json=binary.rows[0], trust_env=False)
        front.writer.close()
        httpx.post(url_of(front, "/predict"), json=binary.rows[0], trust_env=False)
        seen = scrape(front)
    finally:
        front.close()
    refused = 'responses_total{arm="",code="audit_unavailable",path="predict",status="503"}'

    assert answered(seen) == seen["audit_durable_total"] + seen["audit_unrecorded_total"]
    assert (1, 0) == (seen["audit_durable_total"], seen["audit_ready"])
    assert ((1, 0, 1) if on_failure == "refuse" else (2, 1, 0)) == (
        seen["responses_2xx_total"],
        seen["audit_unrecorded_total"],
        seen.get(refused, 0),
    )


def test_both_ways_in_are_counted_together(binary: Any, tmp_path: Path) -> None:
    """What comes through Serve's own ingress is in the same numbers."""
    front = open_front(binary, tmp_path)
    transport = httpx.ASGITransport(GatewayApp(front._gateway, commit=front.commit))

    async def ask_twice() -> None:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.post("/members/predict", json=binary.rows[0])
            await client.post("/members/predict", content=b" " * (front._gateway.limits.max_body_bytes + 1))

    try:
        asyncio.run(ask_twice())
        seen = scrape(front)
    finally:
        front.close()

    assert (1, 1) == (seen["responses_2xx_total"], seen["audit_durable_total"])
    assert 1 == seen['responses_total{arm="",code="too_large",path="other",status="413"}']


def test_dashboard_and_alerts_ask_for_what_is_counted(binary: Any, tmp_path: Path) -> None:
    """Every live figure of the deployments is one that a replica shows, with the labels that are asked for."""
    front = open_front(binary, tmp_path)
    try:
        httpx.post(url_of(front, "/predict"), json=binary.rows[0], trust_env=False).raise_for_status()
        text = httpx.get(url_of(front, "/metrics"), trust_env=False).text
    finally:
        front.close()
    names = {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}
    live = {name for name in wanted_names("twinscore_") if not name.startswith("twinscore_watch_")}

    assert len(live) >= 6
    assert live <= names
    assert 'twinscore_responses_total{arm="' in text
    assert all(f'{label}="' in text for label in ("code", "status", "le"))


def test_histograms_add_up() -> None:
    """Buckets are cumulative over all tallies, and the last one has everything."""
    metrics = Metrics()
    for tally in (metrics.tally(), metrics.tally()):
        for took_ms in (0.5, 0.6, 40, 60_000):
            tally.left(Noted("predict", "", "live", 1), 200, int(took_ms * 1e6))
    lines = dict(line.rsplit(" ", 1) for line in metrics.render().splitlines())
    buckets = [
        lines[f'twinscore_request_seconds_bucket{{le="{bound}"}}'] for bound in ("0.0005", "0.001", "10.0", "+Inf")
    ]

    assert ["2.0", "4.0", "6.0", "8.0"] == buckets
    assert 120.0822 == pytest.approx(float(lines["twinscore_request_seconds_sum"]))
