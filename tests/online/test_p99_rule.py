"""The rule on the 99th percentile, end to end: a real control looks at real replicas and asks Serve for the ladder."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.control.assemble import Assembled
from twinscore.control.incidents import open_incidents
from twinscore.control.live_figures import ReplicaFigures
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.serve_config import read_user_config, running_replicas
from twinscore.online.spec import load_serve_spec
from twinscore.settings import Settings, load_settings

from .conftest import Trained
from .test_autoscaling import comes_true

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*metrics_interval_s:DeprecationWarning"),  # Ray, of a field of its own
]
MODEL = "members"
# Neither Serve's own policy nor a replica's own ladder has a reason to act: what happens is the rule's doing.
SERVED = """model: members@champion
max_replicas: 2
audit: {reserve_mb: 1}
max_wait_ms: 60000
scaling: {p99_ms: 60000, target_ongoing: 1000, target_busy: 1.0, up_delay_s: 0, down_delay_s: 1}
degrade: {version: members/2, p99_ms: 60000, crowded: false, share: all, leave_s: 1}
"""
RULE = """monitor:
  playbook: false
  rules:
    - name: p99 over the SLA
      metric: latency_ms_p99
      when: value > LIMIT
      windows: 2 of 3
      clear: {windows: 2 of 2}
      do: [scale, {degrade: {after: 2s}}]
"""
HEAVY_CLIENTS = 4


@dataclass
class Load:
    """Clients that ask without a pause until they are ended."""

    url: str
    body: bytes
    clients: int = 1
    statuses: set[int] = field(default_factory=set)
    labels: list[str | None] = field(default_factory=list)
    """Whether each answer was in the cheaper way: `true`, `some`, or None for full service."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._ask) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def comes(self, label: str | None, of: int) -> bool:
        """Wait until so many answers in a row are labelled so."""
        return comes_true(lambda: len(self.labels) >= of and {label} == set(self.labels[-of:]))

    def _ask(self) -> None:
        with httpx.Client(timeout=60, trust_env=False, headers={"content-type": "application/json"}) as client:
            while not self._stop.is_set():
                answer = client.post(f"{self.url}/predict", content=self.body)
                self.statuses.add(answer.status_code)
                self.labels.append(answer.headers.get("x-degraded"))
                time.sleep(0.01)


@pytest.fixture
def settings(members: Any, serve_settings: Settings, tmp_path: Path) -> Settings:
    """Those of the Serve at hand, with a folder of deployment files and a control that looks every second."""
    del members
    found = load_settings(
        home=serve_settings.home, serve_port=serve_settings.serve_port, deployments=tmp_path, policies=tmp_path / "p",
        alerts_poll_s=1, control_poll_s=0.5, watch_every_s=0,
    )  # fmt: skip
    (tmp_path / f"{MODEL}.yaml").write_text(SERVED)
    return found


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    """Version 1, for which version 2 may answer."""
    yield serve_model(settings, f"{MODEL}@champion", spec=load_serve_spec(settings.deployments / f"{MODEL}.yaml"))
    stop_model(MODEL)


@pytest.fixture
def control(url: str, settings: Settings) -> Iterator[Assembled]:
    """The control, in this process."""
    del url
    made = Assembled(settings)
    yield made
    made.close()


def p99_of(settings: Settings) -> float:
    """Return the 99th percentile of some seconds from now, as the control sees it."""
    figures = ReplicaFigures(settings, MODEL, lambda: "1")
    figures.look()
    time.sleep(2)
    (found,) = [one.value for one in figures.look() if one.metric == "latency_ms_p99"]
    figures.close()
    assert found is not None
    return found


def test_a_breach_asks_for_replicas_and_the_cheaper_way_and_takes_both_back(
    control: Assembled, url: str, settings: Settings, binary: Trained
) -> None:
    """Slow answers start a second replica and are labelled; quick ones bring back full service and one replica."""
    heavy = json.dumps({"instances": binary.rows * 5}).encode()
    light = json.dumps(binary.rows[0]).encode()
    with Load(url, light) as load:
        quick_ms = p99_of(settings)
        with Load(url, heavy, HEAVY_CLIENTS) as crowd:
            slow_ms = p99_of(settings)
            began = len(load.labels)
            rule = RULE.replace("LIMIT", f"{math.sqrt(quick_ms * slow_ms):.3f}")  # between what this machine can do
            (settings.deployments / f"{MODEL}.yaml").write_text(SERVED + rule)
            scaled = comes_true(lambda: running_replicas(MODEL, "endpoint") == 2)
            labelled = load.comes("true", 3)
            (incident,) = open_incidents(control.store, MODEL)
        over = comes_true(lambda: not open_incidents(control.store, MODEL))
        full = load.comes(None, 20)
        down = comes_true(lambda: running_replicas(MODEL, "endpoint") == 1)
        asked = comes_true(lambda: "degrade" not in (read_user_config(MODEL, "endpoint") or {}))
    kinds = [entry.kind for entry in control.store.ledger.entries(MODEL)]

    came = [scaled, labelled, over, full, down, asked]
    assert [True] * 6 == came, (quick_ms, slow_ms, control.alerting.trouble, kinds)
    assert {None} == set(load.labels[:began])
    assert "p99 over the SLA" == incident["rule"]
    assert {200} == load.statuses | crowd.statuses
    wanted = ["incident_opened", "scale_asked", "degrade_asked", "incident_closed", "degrade_ended", "scale_ended"]
    assert sorted(wanted) == sorted(kind for kind in kinds if kind in wanted)
    assert kinds.index("scale_asked") < kinds.index("degrade_asked") < kinds.index("degrade_ended")
