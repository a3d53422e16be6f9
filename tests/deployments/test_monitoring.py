"""Dashboard, scrape configuration and alerts: what they ask for is exposed, and a real Prometheus takes them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from twinscore.monitoring.dashboard import dashboard
from twinscore.monitoring.exposition import exposed_names, exposition
from twinscore.monitoring.metric import METRICS
from twinscore.testing.figures import Watched, watched_story

from ..queries import DEPLOYMENTS, alert_expressions, dashboard_expressions, names_in, wanted_names

OWN = ("twinscore_", "haproxy_", "ray_", "up")
KEY = "tsk_a-key-of-the-test"
# What replicas of this model would say; the names are held against real ones in tests/online/test_metrics.py.
LISTENER = """\
twinscore_responses_total{path="predict",status="200",code="",arm="live"} 1000
twinscore_request_seconds_bucket{le="0.01"} 900
twinscore_request_seconds_bucket{le="+Inf"} 1000
twinscore_audit_ready 0
"""


def test_dashboard_is_what_the_product_makes() -> None:
    """The file is written by the program that its docstring names."""
    assert json.loads((DEPLOYMENTS / "grafana" / "twinscore.json").read_text()) == dashboard()


def test_dashboard_has_its_panels_side_by_side() -> None:
    """Every panel has a number of its own, lies inside the width, and on no other; each asks for something."""
    panels = dashboard()["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        covered = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                   for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not covered & cells
        assert max(x for x, _ in covered) < 24
        cells |= covered

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["targets"] for panel in panels if panel["type"] != "row")


def test_figures_that_are_asked_for_are_in_the_catalogue() -> None:
    """Dashboard and alerts name no figure that nothing exposes, and nothing of another origin."""
    asked = {name for one in (*dashboard_expressions(), *alert_expressions().values()) for name in names_in(one)}

    assert wanted_names("twinscore_watch_") <= exposed_names()
    assert {name for name in asked if not name.startswith(OWN)} == set()


def test_rays_metrics_are_rays() -> None:
    """What is asked of Ray's nodes is what their reporter defines."""
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert wanted_names("ray_") <= {f"ray_{name}" for name in METRICS_GAUGES}


def test_every_topic_is_on_the_dashboard() -> None:
    """Of each topic of the catalogue something is shown."""
    shown = {name.removeprefix("twinscore_watch_") for name in wanted_names("twinscore_watch_")}

    assert {metric.topic for name, metric in METRICS.items() if name in shown} == {
        one.topic for one in METRICS.values()
    }


def test_no_secret_is_written_down() -> None:
    """Keys are named by their file."""
    text = (DEPLOYMENTS / "prometheus" / "prometheus.yml").read_text()

    assert "credentials:" not in text
    assert "password" not in text
    assert text.count("credentials_file: twinscore.key") == 5


class Control(BaseHTTPRequestHandler):
    """A control and a replica: a story's figures, and what is to be scraped; without the key nothing is said."""

    text = ""

    def do_GET(self) -> None:
        """Answer what the configuration asks for."""
        assert isinstance(self.server, ThreadingHTTPServer)
        here = f"127.0.0.1:{self.server.server_port}"
        replica = [{"targets": [here], "labels": {"__metrics_path__": "/loans/metrics", "model": "loans"}}]
        pages: dict[str, tuple[str, str]] = {
            "/-control/metrics": ("text/plain; version=0.0.4", type(self).text),
            "/loans/metrics": ("text/plain; version=0.0.4", LISTENER),
            "/-control/targets/listeners": ("application/json", json.dumps(replica)),
            "/-control/targets/edge": ("application/json", "[]"),
            "/-control/targets/ray": ("application/json", "[]"),
        }
        known = self.headers.get("authorization") == f"Bearer {KEY}"
        kind, body = pages.get(self.path, ("text/plain", "")) if known else ("text/plain", "")
        self.send_response(200 if body else 404 if known else 401)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def free_port() -> int:
    """Return a port of loopback that nobody holds."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def control(story: Watched) -> Iterator[str]:
    """Run the control of a story; yield its address."""
    Control.text = exposition({"loans": story.figures}, {"loans": story.incidents})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Control)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def prometheus(folder: Path, address: str) -> Iterator[httpx.Client]:
    """Run a Prometheus on our files, with another address, key and pace; yield a client of it."""
    program, checker = shutil.which("prometheus"), shutil.which("promtool")
    if program is None or checker is None:
        pytest.skip("no Prometheus is installed (on Debian: the package prometheus)")
    for name in ("prometheus.yml", "alerts.yml"):
        text = (DEPLOYMENTS / "prometheus" / name).read_text().replace("127.0.0.1:8000", address)
        text = text.replace("15s", "1s").replace("refresh_interval: 10s", "refresh_interval: 1s")
        (folder / name).write_text(text.replace("for: 5m", "for: 0s").replace("for: 1m", "for: 0s"))
    (folder / "twinscore.key").write_text(KEY)
    checked = subprocess.run(
        [checker, "check", "config", folder / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    port = free_port()
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            [program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log, cwd=folder, env={**os.environ, "GOMAXPROCS": "1"},
        )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
            yield client
    finally:
        started.terminate()
        started.wait(30)


def asked(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """Return what an expression gives now; nothing while the server starts."""
    try:
        answer = client.get("/api/v1/query", params={"query": expression}).json()
    except (httpx.TransportError, ValueError):
        return []
    assert answer["status"] == "success", (expression, answer)
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_a_real_prometheus_scrapes_and_warns(tmp_path: Path) -> None:
    """Series arrive by our configuration and discovery, each query is sound, and the alerts of the story fire."""
    story = watched_story()
    with control(story) as address, prometheus(tmp_path, address) as client:
        wanted = {"TwinscoreFeatureDrift", "TwinscoreGroupGap", "TwinscoreAuditStuck"}
        alive = 'ALERTS{alertstate="firing"}'
        patience = time.monotonic() + 60
        while not wanted <= {one["metric"]["alertname"] for one in asked(client, alive)}:
            assert time.monotonic() < patience, (tmp_path / "log").read_text()[-2_000:]
            time.sleep(0.3)
        psi = asked(client, 'twinscore_watch_psi{subject="income",path="online",segment=""}')
        answers = asked(client, 'twinscore_responses_total{model="loans"}')
        for expression in dashboard_expressions():
            asked(client, expression)
        shown = {one for one in dashboard_expressions() if "twinscore_watch" in one and asked(client, one)}
        firing = {one["metric"]["alertname"] for one in asked(client, alive)}
    newest = [one for one in story.figures
              if (one.metric, one.subject, one.path, one.segment) == ("psi", "income", "online", "")][-1]  # fmt: skip

    assert [float(one["value"][1]) for one in psi] == [newest.value]
    assert [one["metric"]["job"] for one in answers] == ["twinscore-listeners"]
    assert len(shown) >= 35
    assert "TwinscoreParityBroken" not in firing
    assert "TwinscoreRunFailed" not in firing


def test_alerts_have_what_a_person_needs() -> None:
    """Each says what is wrong, what to do first, and how bad it is."""
    found = yaml.safe_load((DEPLOYMENTS / "prometheus" / "alerts.yml").read_text())
    for group in found["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"info", "warning", "critical"}
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["action"]
