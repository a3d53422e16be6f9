"""A replica under more load than full service can answer: degraded in time, labelled, recorded, and back afterwards."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.online.answer import Prediction
from twinscore.online.cheaper import CheapEndpoint
from twinscore.online.degrade_spec import DegradeSpec
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.ladder_watch import LadderWatch
from twinscore.online.listener import ListenerLimits
from twinscore.online.spec import AuditPolicy
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .conftest import Trained
from .test_degrading import cheap, no_edge, small

__all__ = ["cheap", "no_edge", "small"]

COSTS_S = 0.008
CLIENTS = 12
SPEC = DegradeSpec(version="2", p99_ms=60, after_s=1, share="all", leave_s=2)


class Costly(Endpoint):
    """A version whose score takes some milliseconds of the processor, on any machine."""

    def _score_row(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        until = time.perf_counter() + COSTS_S
        while time.perf_counter() < until:
            pass
        return super()._score_row(position, row, flagged=flagged)


def test_a_load_step_degrades_and_its_end_takes_it_back(binary: Trained, cheap: CheapEndpoint, tmp_path: Path) -> None:
    """Twelve clients at 8 ms an answer are over the bound; nobody fails, and the log agrees with every label."""
    settings = Settings(home=tmp_path)
    live = Costly(binary.bundle, model="members", version="1")
    gateway = Gateway("members", live)
    front = Front(
        gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1),
        limits=ListenerLimits(max_wait_s=5),
    )  # fmt: skip
    watch = LadderWatch(gateway, SPEC, SPEC.rules(None), front, lake=settings.lake, cheap=cheap)
    few, many = Load(front, binary.rows[0], 1, pause_s=0.05), Load(front, binary.rows[0], CLIENTS)
    try:
        few.start()
        time.sleep(1.5)
        before = watch.facts()
        many.start()
        began = time.monotonic()
        degraded = comes_true(lambda: bool(watch.state.share))
        took_s = time.monotonic() - began
        over = front.listener.load.state(2)
        time.sleep(4)  # as long as the figures need to be those of the new share
        during = front.listener.load.state(2)
        many.stop()
        back = comes_true(lambda: not watch.state.share)
        time.sleep(0.5)
        few.stop()
    finally:
        few.stop()
        many.stop()
        watch.close()
        front.close()
    facts = watch.facts()
    labels = {**few.labels, **many.labels}
    kept = {entry.record.request_id: entry.record for entry in read_model(model_folder(settings.lake, "members"))}
    print(f"degraded after {took_s:.1f} s at p99 {over.p99_ms} ms, then {during.p99_ms} ms, {few.seen + many.seen}")

    assert ("normal", 0, 0) == (before["level"], before["share"], before["changes"])
    assert degraded
    assert back
    assert during.p99_ms < over.p99_ms
    assert during.answered_s > over.answered_s
    assert {200} == {*few.seen, *many.seen}
    assert {True, False} == {*labels.values()}
    assert labels == {request: kept[request].degraded for request in labels}
    assert facts["rows"] == sum(labels.values())
    assert 2 == facts["changes"]
    assert {(True, "2"), (False, "1")} == {(one.degraded, one.version) for one in kept.values()}


def test_a_promotion_to_the_cheap_version_leaves_full_service_only(
    binary: Trained, cheap: CheapEndpoint, tmp_path: Path
) -> None:
    """What would stand in is looked at anew for each version that becomes live; the reason is there to be seen."""
    settings = Settings(home=tmp_path)
    gateway = Gateway("members", binary.endpoint)
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1))
    watch = LadderWatch(gateway, SPEC, SPEC.rules(None), front, lake=settings.lake, cheap=cheap, tick=False)
    try:
        watch.order(time.time() + 60, "test")
        watch.look()
        ordered = gateway.degrading
        gateway.swap(Endpoint(cheap.bundle, model="members", version="2"))
        watch.look()
        promoted, problem = gateway.degrading, watch.facts()["problem"]
        gateway.swap(binary.endpoint)
        watch.look()
        again = gateway.degrading
        watch.order(None)
        text = gateway.metrics.render()
    finally:
        watch.close()
        front.close()

    assert ordered is not None
    assert again is not None
    assert promoted is None
    assert "is the live one" in problem
    assert "twinscore_degrade_ready 1.0" in text
    assert "twinscore_degraded_share 1.0" in text
    assert gateway.degrading is None


def comes_true(what: Callable[[], bool], within_s: float = 60) -> bool:
    until = time.monotonic() + within_s
    while not what():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


class Load:
    """Clients that ask again as soon as they have an answer, or after a pause; they note what each answer says."""

    def __init__(self, front: Front, row: dict[str, Any], clients: int, *, pause_s: float = 0.0) -> None:
        self.seen: Counter[int] = Counter()
        self.labels: dict[str, bool] = {}
        self._port = front.listener.port
        self._body = json.dumps(row).encode()
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(f"{clients}-{name}",)) for name in range(clients)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once each client has its answer."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(30)

    def _ask(self, name: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._stop.is_set():
            number += 1
            headers = {"content-type": "application/json", "x-request-id": f"{name}-{number}"}
            connection.request("POST", "/members/predict", self._body, headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
            self.seen[answer.status] += 1
            if answer.status == 200:
                degraded = said["predictions"][0].get("degraded", False)
                assert degraded == (answer.headers.get("x-degraded") == "true")
                self.labels[f"{name}-{number}"] = degraded
            time.sleep(self._pause_s)
        connection.close()


def test_what_a_file_names_and_cannot_be_loaded_is_shown(binary: Trained, tmp_path: Path) -> None:
    """The replica answers in full, and says why it could not do otherwise."""
    settings = Settings(home=tmp_path)
    gateway = Gateway("members", binary.endpoint)
    front = Front(gateway, settings, listener_roster(settings), replica="r1", audit=AuditPolicy(reserve_mb=1))
    watch = LadderWatch(gateway, SPEC, SPEC.rules(None), front, lake=settings.lake, problem="no bundle", tick=False)
    try:
        watch.order(time.time() + 60, "test")
        watch.look()
    finally:
        watch.close()
        front.close()

    assert gateway.degrading is None
    assert ("no bundle", None, 0) == tuple(watch.facts()[name] for name in ("problem", "way", "share"))
