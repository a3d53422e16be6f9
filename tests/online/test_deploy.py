"""On a real Ray Serve: three clients, both paths, a replacement under load, refusals over the wire."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from twinscore import api
from twinscore.batch.run import run_batch
from twinscore.batch.spec import ScoreSpec
from twinscore.cli.main import app
from twinscore.control.parity_check import watched_parity
from twinscore.errors import BundleInvalid, ModelNotFound, ModelNotReady, SettingsInvalid
from twinscore.monitoring.spec import MonitorSpec
from twinscore.online.check import parity
from twinscore.online.client import PredictClient
from twinscore.online.deploy import endpoint_url, serve_model, stop_model
from twinscore.online.request import Limits
from twinscore.online.spec import ServeSpec
from twinscore.online.switch import load_endpoint
from twinscore.settings import Settings

from .conftest import ask

pytestmark = pytest.mark.cluster
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(members: Any, serve_settings: Settings) -> Iterator[tuple[Settings, str]]:
    """The champion of `members` behind HTTP: the settings of its stack and its address."""
    del members
    yield serve_settings, serve_model(serve_settings, "members")
    stop_model("members")


def test_the_endpoint_serves_the_resolved_version(served: tuple[Settings, str], binary: Any) -> None:
    """A bare name is the champion; the endpoint names its version and digests."""
    settings, url = served

    assert endpoint_url(settings, "members") == url
    assert binary.endpoint.facts() == httpx.get(f"{url}/version").json()
    assert {200} == {httpx.get(f"{url}/{page}").status_code for page in ("health/live", "health/ready", "docs")}


def test_three_clients_get_the_same_bytes(served: tuple[Settings, str], binary: Any, tmp_path: Path) -> None:
    """httpx, urllib and curl send the same row and read the same body."""
    _, url = served
    body = json.dumps(binary.rows[0]).encode()
    headers = {**JSON, "x-request-id": "same"}
    by_httpx = httpx.post(f"{url}/predict", content=body, headers=headers).content
    request = urllib.request.Request(f"{url}/predict", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        by_urllib = response.read()

    assert ask(binary.endpoint, body, request_id="same").body == by_httpx == by_urllib
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed; the other two clients agree")
    (tmp_path / "row.json").write_bytes(body)
    command = ["curl", "-s", f"{url}/predict", "-H", "content-type: application/json", "-H", "x-request-id: same"]
    by_curl = subprocess.run([*command, "-d", f"@{tmp_path}/row.json"], capture_output=True, check=True).stdout
    assert by_httpx == by_curl


def test_one_row_and_many_rows_get_the_same_bits(served: tuple[Settings, str], binary: Any) -> None:
    """Over HTTP too, a row's answer does not depend on its company."""
    _, url = served
    with PredictClient(url) as client:
        many = client.predict(binary.rows[:60])["predictions"]
        alone = [client.predict(row)["predictions"][0] for row in binary.rows[:60]]

    assert many == [{**prediction, "row": row} for row, prediction in enumerate(alone)]


def test_parity_over_http(served: tuple[Settings, str], binary: Any, tmp_path: Path) -> None:
    """The product's own check finds no differing bit and counts every row."""
    settings, _ = served
    pq.write_table(binary.table, tmp_path / "fresh.parquet")

    found = parity(settings, "members", tmp_path / "fresh.parquet", 300)

    assert (True, 300, 300) == (found.equal, found.n_rows, found.report.rows)
    with pytest.raises(ModelNotFound):
        parity(settings, "members/99", tmp_path / "fresh.parquet", 5)


def test_parity_of_a_committed_run_over_http(served: tuple[Settings, str], binary: Any, tmp_path: Path) -> None:
    """What a run has on disk and what the endpoint answers for the same rows are the same bits."""
    settings, _ = served
    pq.write_table(binary.table, tmp_path / "fresh.parquet")
    spec = ScoreSpec(model="members/1", input=str(tmp_path / "fresh.parquet"), output=str(tmp_path / "run"))
    run_batch(settings, spec)

    found = api.parity(run=tmp_path / "run", settings=settings)

    assert (True, binary.table.num_rows) == (found.equal, found.report.rows)
    with pytest.raises(SettingsInvalid, match="names its own model"):
        api.parity("members", run=tmp_path / "run", settings=settings)


def test_both_paths_are_checked_on_what_they_did(
    served: tuple[Settings, str], binary: Any, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Answers scored again and rows of a run asked in bulk calls, by API, command and job: not a bit differs."""
    settings, url = served
    with PredictClient(url) as client:
        client.predict(binary.rows[:200])
    monkeypatch.setenv("TWINSCORE_HOME", str(settings.home))
    monkeypatch.setenv("TWINSCORE_SERVE_PORT", str(settings.serve_port))
    pq.write_table(binary.table, settings.lake / "fresh.parquet")
    run_batch(settings, ScoreSpec(model="members/1", input="fresh.parquet", output="predictions/members/checked"))
    found = api.check_parity("members", 300, settings=settings)
    now = datetime.now(UTC)
    spec = ServeSpec(model="members", monitor=MonitorSpec(parity_rows=40))
    figures = watched_parity(settings, "members", spec, since=now - timedelta(hours=1), until=now)
    checked: Counter[str] = Counter()
    for one in figures:  # one for each version that answered
        if one.metric == "parity_checked":
            checked[one.path] += int(one.value or 0)
    plain = CliRunner().invoke(app, ["parity", "check", "members", "--sample", "300"], env={"COLUMNS": "300"})
    by_run = CliRunner().invoke(app, ["parity", "--run", str(settings.lake / "predictions/members/checked")])
    nothing = CliRunner().invoke(app, ["parity", "check", "members", "--until", "2020-01-01", "--direction", "online"])
    script = repository / "jobs" / "check_parity.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--model", "members", "--sample", "50"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if '"event": "checked"' in line]

    assert (True, {"online", "batch"}) == (found.equal, {part.direction for part in found.parts})
    assert {"online": 40, "batch": 40} == checked
    assert {0.0} == {one.value for one in figures if one.metric == "parity_differing"}
    assert [300] == [part.checked for part in found.parts if part.direction == "batch"]
    assert sum(part.checked for part in found.parts if part.direction == "online") >= 200
    assert (0, 0, 5, 0) == (plain.exit_code, by_run.exit_code, nothing.exit_code, ended.value.code)
    assert "and not a bit differs" in plain.stdout
    assert "Nothing could be compared" in nothing.stdout
    assert (0, True) == (json.loads(line)["differing"], json.loads(line)["equal"])


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "bad_json"),
        (b'{"a": 1e999}', JSON, 400, "bad_json"),
        (b"[" * 100_000, JSON, 400, "bad_json"),
        (b" " * (1024 * 1024 + 1), JSON, 413, "too_large"),
        (b"{}", {"content-type": "text/csv"}, 415, "unsupported_media_type"),
        (b"{}", JSON, 422, "contract_broken"),
    ],
    ids=["cut", "1e999", "bomb", "long", "csv", "no columns"],
)
def test_refusals_over_the_wire(
    served: tuple[Settings, str], body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    """Serve passes the problem documents on as they are."""
    _, url = served
    response = httpx.post(f"{url}/predict", content=body, headers=headers)

    assert (status, code) == (response.status_code, response.json()["code"])
    assert "application/problem+json" == response.headers["content-type"]


@pytest.mark.parametrize("sent", [None, "order-17"])
def test_the_request_id_comes_back_once(served: tuple[Settings, str], binary: Any, sent: str | None) -> None:
    """Serve and the endpoint agree on one id, in one header and in the body."""
    _, url = served
    headers = {} if sent is None else {"x-request-id": sent}
    response = httpx.post(f"{url}/predict", json=binary.rows[0], headers=headers)

    assert [response.json()["request_id"]] == response.headers.get_list("x-request-id")
    assert sent is None or sent == response.json()["request_id"]


def test_other_paths_of_the_model(served: tuple[Settings, str]) -> None:
    """Unknown paths and methods under the model are the endpoint's own problems."""
    _, url = served

    unknown = httpx.get(f"{url}/nope")

    assert (404, "not_found") == (unknown.status_code, unknown.json()["code"])
    assert "POST" == httpx.get(f"{url}/predict").headers["allow"]


def test_versions_change_without_a_failed_request(served: tuple[Settings, str], binary: Any) -> None:
    """While requests go on, version 2 replaces version 1 and 1 comes back: every answer is a 200 of one of them."""
    settings, url = served
    stop = threading.Event()
    seen: list[tuple[int, str]] = []

    def load() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                answer = client.post(f"{url}/predict", json=binary.rows[0])
                seen.append((answer.status_code, answer.text))

    def version() -> str:
        return str(httpx.post(f"{url}/predict", json=binary.rows[0]).json()["version"])

    thread = threading.Thread(target=load)
    thread.start()
    try:
        serve_model(settings, "members/2", spec=ServeSpec(model="members", max_replicas=2))
        forward = version()
        serve_model(settings, "members/1")
        back = version()
    finally:
        stop.set()
        thread.join()

    assert [] == [(status, text) for status, text in seen if status != 200]
    assert {"1", "2"} == {json.loads(text)["version"] for _, text in seen}
    assert ("2", "1") == (forward, back)


def test_what_is_not_served_says_how_to_serve_it(served: tuple[Settings, str], tmp_path: Path) -> None:
    """Parity with a model that nobody serves names the command."""
    settings, _ = served

    with pytest.raises(ModelNotReady, match="twinscore serve --model absent"):
        parity(settings, "absent", tmp_path, 10)


def test_an_unknown_model_is_refused_before_anything_starts(served: tuple[Settings, str]) -> None:
    """The registry's answer reaches the caller."""
    with pytest.raises(ModelNotFound):
        serve_model(served[0], "absent")


@pytest.mark.parametrize("whose", ["serve_port", "grpc_port"])
def test_a_port_of_the_edge_is_refused_for_replicas(tmp_path: Path, whose: str) -> None:
    """Both would bind it, and the kernel would deal calls out to either."""
    settings = Settings(home=tmp_path, **{"serve_port": 8100, "grpc_port": 8101, whose: 8102})

    with pytest.raises(SettingsInvalid, match=f"TWINSCORE_{whose.upper()}"):
        serve_model(settings, "members", spec=ServeSpec(model="members", grpc_port=8102))


def test_a_replica_refuses_another_bundle(binary: Any) -> None:
    """The folder must hold the digest that was deployed."""
    with pytest.raises(BundleInvalid, match="deployed with 000"):
        load_endpoint(binary.bundle.folder, "0" * 64, model="members", version="1", limits=Limits())


def test_options_of_a_replica_are_checked() -> None:
    """A spec that cannot be served is refused when it is made."""
    with pytest.raises(SettingsInvalid, match="replicas"):
        ServeSpec(model="members", replicas=0)
