"""An alias moved in the real registry under load: live through its stages, or back with the reason; kills included."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature
from scipy.stats import binom

from twinscore.control.hints import make_webhook_secret
from twinscore.control.watch_record import read_record
from twinscore.rollout.webhook import DELIVERY, SIGNATURE, TIMESTAMP
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import alias_store, open_rollout_store

from ..postgres import postgresql
from .browser import RegistryPages, chromium
from .standing import MODEL, Standing, control_process, entries, register, settled, standing

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A stack of this module's own, with version 1 live."""
    place = tmp_path_factory.mktemp("promotion")
    server = postgresql() if request.param == "postgresql" else nullcontext(None)
    with server as address, standing(place, address and f"{address}/postgres") as found:
        yield found


def test_a_person_moves_the_alias(stand: Standing, tmp_path: Path) -> None:
    """A good version goes live through shadow and canary; a bad one comes back, with the reason in the pages."""
    # Versions of its own: whichever tests came before, these two go through all stages.
    good, bad = (
        register(stand.settings, make_bundle(tmp_path / name, "binary", trees=trees)).version
        for name, trees in (("good", 22), ("bad", 1))
    )
    with chromium() as browser, stand.load() as heard:
        pages = RegistryPages(browser, f"http://127.0.0.1:{stand.settings.mlflow_port}")

        pages.move_alias(MODEL, "champion", to=good)
        stand.until(lambda status: settled(status, good), "the good version live")
        canary, asked = heard.share("canary")
        stand.until(lambda _: stand.aliases().get("serving") == good, "the alias serving on the good version")
        shown = pages.aliases(MODEL, good)

        pages.move_alias(MODEL, "champion", to=bad)
        stand.until(lambda status: bad in status["refused"], "the bad version refused")
        back = {"champion": good, "serving": good}.items()  # beside them, whatever other tests have left
        stand.until(lambda _: back <= stand.aliases().items(), "the alias back on the good version")
        reason = pages.tags(MODEL, bad)["twinscore.rollout"]
        came_back = pages.aliases(MODEL, good)

    low, high = binom.interval(0.999, asked, 0.2)
    print(f"\n{heard.statuses}; the canary had {canary} of {asked} entities")
    assert {200} == set(heard.statuses)
    assert low <= canary <= high
    assert {"champion", "serving"} == set(shown)
    assert {"champion", "serving"} == set(came_back)
    assert "rolled back" in reason
    assert bad not in {version for _, _, version, arm in heard.answers if arm == "live"}
    assert ["started", "rolled_back"] == [one.kind for one in entries(stand, bad)]
    assert ["started", "live", "started", "rolled_back"] == [one.kind for one in entries(stand, good)]


def test_a_control_that_is_killed_goes_on_where_it_was(stand: Standing) -> None:
    """Killed in the middle of a rollout, it takes the next steps and repeats none."""
    live, before = stand.status()["serving"], len(entries(stand, "3"))
    with stand.load() as heard:
        stand.order(name="promote", actor="anna", version="3", reason="once more")
        stand.until(lambda status: (status["rollout"] or {}).get("status") == "running", "the shadow of version 3")
        os.kill(control_process(stand), signal.SIGKILL)
        stand.until(lambda status: "3" in status["refused"] and status["rollout"] is None, "version 3 refused")
        stand.until(lambda _: stand.aliases().get("champion") == live, "the alias back")

    print(f"\n{heard.statuses}")
    assert {200} == set(heard.statuses)
    assert ["started", "rolled_back"] == [one.kind for one in entries(stand, "3")][before:]
    assert {live} == {version for _, _, version, arm in heard.answers if arm == "live"}


def test_shadow_and_challenger_are_asked_until_their_alias_is_removed(stand: Standing) -> None:
    """Both aliases act without a rollout, and end with their alias; a version without a bundle is refused by name."""
    live = stand.status()["serving"]
    other = "1" if live == "2" else "2"
    registry = alias_store(stand.settings)
    empty = version_without_a_bundle(stand)
    with stand.load() as heard:
        registry.move(MODEL, "challenger", other, expected=None)
        registry.move(MODEL, "shadow", empty, expected=None)
        stand.until(lambda _: any(arm == "ab" for _, _, _, arm in heard.answers), "answers of the challenger")
        stand.until(lambda status: empty in status["refused"], "the refusal of the version without a bundle")
        registry.move(MODEL, "challenger", None, expected=other)
        stand.until(lambda status: status["challenger"] is None, "the end of the challenger")
    refused = stand.status()["refused"][empty]
    registry.move(MODEL, "shadow", None, expected=empty)
    asked, had = heard.share("ab")

    print(f"\n{heard.statuses}; the challenger had {asked} of {had}; {refused}")
    assert {200} == set(heard.statuses)
    assert {other} == {version for _, _, version, arm in heard.answers if arm == "ab"}
    assert "MLmodel is missing" in refused


def test_hints_and_pages(stand: Standing) -> None:
    """A webhook counts when MLflow's own signer signed it; the page and the JSON tell how the model stands."""
    secret = make_webhook_secret(stand.settings)
    body = json.dumps({"entity": "model_version_alias", "action": "created", "data": {"name": MODEL}})

    def send(delivery: str, key: str) -> int:
        now = str(int(time.time()))
        headers = {
            "content-type": "application/json", SIGNATURE: _generate_hmac_signature(key, delivery, now, body),
            TIMESTAMP: now, DELIVERY: delivery,
        }  # fmt: skip
        return httpx.post(f"{stand.control}/webhook", content=body, headers=headers, timeout=10).status_code

    answers = [send("one", secret), send("one", secret), send("two", "another secret")]
    unknown = httpx.get(f"{stand.control}/models/memberz", timeout=10)
    wrong = httpx.post(f"{stand.control}/models/{MODEL}", json={"name": "promot", "actor": "anna"}, timeout=10)
    nobody = httpx.post(f"{stand.control}/models/{MODEL}", json={"name": "pause"}, timeout=10)
    page = httpx.get(f"{stand.control}/", timeout=10)

    assert [202, 200, 401] == answers
    assert (404, True) == (unknown.status_code, "Did you mean 'members'" in unknown.json()["detail"])
    assert (422, True) == (wrong.status_code, "promot" in wrong.json()["detail"])
    assert 422 == nobody.status_code
    assert (200, True) == (page.status_code, f"<h2>{MODEL}</h2>" in page.text)


def test_a_hold_over_http_stops_a_move_and_an_override_lets_it_go(stand: Standing) -> None:
    """Held, nothing goes forward and the status says why; a named person lets the model go on; it is all entered."""
    live = stand.status()["serving"]
    other = "1" if live == "2" else "2"
    before = len(entries(stand, other))
    asked = {"scope": MODEL, "reason": "the books are closed", "owner": "cara"}
    hold = httpx.post(f"{stand.control}/holds", json=asked, timeout=10).raise_for_status().json()
    command = {"name": "promote", "actor": "anna", "version": other, "immediate": True, "reason": "now"}
    sent = httpx.post(f"{stand.control}/models/{MODEL}", json=command, timeout=10).json()
    told = f"{stand.control}/models/{MODEL}/commands/{sent['id']}"
    stand.until(lambda _: httpx.get(told, timeout=10).json()["outcome"] is not None, "an end of the command")
    outcome = httpx.get(told, timeout=10).json()
    waits = stand.until(lambda status: "the books are closed" in json.dumps(status), "word of the hold")
    foreign = httpx.get(f"{stand.control}/models/another/commands/{sent['id']}", timeout=10)
    said = {"model": MODEL, "reason": "fixes a wrong price", "by": "dora"}
    httpx.post(f"{stand.control}/holds/{hold['id']}/override", json=said, timeout=10).raise_for_status()
    stand.until(lambda status: settled(status, other), "the other version live")
    over = {"reason": "closed", "by": "cara"}
    httpx.post(f"{stand.control}/holds/{hold['id']}/release", json=over, timeout=10).raise_for_status()

    assert (live, [hold["id"]]) == (waits["serving"], waits["holds"])
    assert ({"id": sent["id"], "outcome": "taken"}, 422) == (outcome, foreign.status_code)
    assert before < len(entries(stand, other))
    with open_rollout_store(stand.settings) as store:
        kept = [(one.kind, one.requested_by) for one in store.ledger.entries(MODEL) if one.kind.startswith("hold_")]
    assert [("hold_placed", "cara"), ("hold_overridden", "dora"), ("hold_released", "cara")] == kept[-3:]


def test_an_emergency_and_the_way_back_without_the_registry(stand: Standing) -> None:
    """Immediate promotion skips the stages and is recorded as such; going back needs no registry."""
    was = stand.status()["serving"]
    other = "1" if was == "2" else "2"
    with stand.load() as heard:
        began = time.monotonic()
        stand.order(name="promote", actor="anna", version=other, immediate=True, reason="the old one is wrong")
        stand.until(lambda status: settled(status, other), "the other version live at once")
        promoted = time.monotonic()
        with no_registry(stand):
            stand.until(lambda status: "the registry does not answer" in status["waits"], "word of the registry")
            began_back = time.monotonic()
            stand.order(name="rollback", actor="ben", reason="the new one is worse")
            stand.until(lambda status: settled(status, was), "the version before live again")
            back = time.monotonic()
    stand.until(lambda _: stand.aliases().get("champion") == was, "the alias back")

    last = heard.answers[-1]
    print(f"\nimmediate {promoted - began:.2f} s, back {back - began_back:.2f} s; {heard.statuses}")
    assert {200} == set(heard.statuses)
    assert (was, "live") == last[2:]
    started = [one for one in entries(stand, other) if one.to_version == other and one.kind == "started"][-1]
    assert ("immediate", "anna") == (started.evidence["kind"], started.requested_by)


ALERT = """
model: members
monitor:
  playbook: false
  retrain: {{spec: {spec}, jobs: {jobs}}}
  rules:
    - {{name: somebody asks, metric: requests, when: value > 0, cadence: live, cooldown: 1h, do: [{do}]}}
"""


def orders_of(stand: Standing, wanted: set[str]) -> dict[str, Any]:
    """Return the orders of the control's page by their action, the newest of each, once those wanted are done."""
    deadline = time.monotonic() + 150
    while True:
        answer = httpx.get(f"{stand.control}/incidents", headers={"accept": "application/json"}, timeout=10)
        found = {one["action"]: one for one in answer.json()["orders"] if one["verb"] == "open"}
        if wanted <= {action for action, one in found.items() if one["state"] == "done"}:
            return found
        assert time.monotonic() < deadline, answer.json()
        time.sleep(0.2)


@pytest.mark.parametrize("do", ["ticket", pytest.param("ticket, retrain", marks=pytest.mark.slow)])
def test_the_control_watches_the_served_model(stand: Standing, do: str) -> None:
    """A rule on what replicas did in the last seconds opens a ticket; one that retrains has a candidate trained."""
    place = stand.settings.deployments
    data = stand.settings.lake / "history.parquet"
    pq.write_table(make_rows("binary", 400, seed=3), data)
    (place / "train.yaml").write_text(f"model: x\ndata: {data}\nlabel: label\nkey: [row_id]\ntime: opened_at\n")
    jobs = Path(__file__).resolve().parents[2] / "jobs"
    live = stand.status()["serving"]
    (place / f"{MODEL}.yaml").write_text(ALERT.format(do=do, spec=place / "train.yaml", jobs=jobs))
    with stand.load() as heard:
        found = orders_of(stand, set(do.split(", ")))
    page = httpx.get(f"{stand.control}/incidents", timeout=10).text
    (place / f"{MODEL}.yaml").unlink()

    assert {200} == set(heard.statuses)
    assert "somebody asks" in page
    with open_rollout_store(stand.settings) as store:
        assert 1 <= len(store.tickets.tickets(MODEL)) <= 2
        assert "ticket_opened" in {entry.kind for entry in store.ledger.entries(MODEL)}
    if "retrain" in do:
        assert "SUCCEEDED" == found["retrain"]["result"]["status"], found
        assert stand.aliases()["candidate"] not in (live, stand.aliases()["champion"])
    assert live == stand.status()["serving"]


def test_the_control_counts_by_itself(stand: Standing) -> None:
    """What was answered is counted by a round that nobody asked for, and the pages say so."""
    with stand.load():
        time.sleep(1)
    deadline = time.monotonic() + 240  # a round works only while nobody else wants the core
    while True:
        record = read_record(stand.settings.home)
        if record is not None and record.models.get(MODEL) is not None and record.models[MODEL].rows > 0:
            break
        assert time.monotonic() < deadline, record
        time.sleep(0.2)
    answer = httpx.get(f"{stand.control}/incidents", headers={"accept": "application/json"}, timeout=10).json()

    assert "" == record.trouble
    assert "Every 15 s; " in answer["watching"][0]
    assert f"{MODEL}: looked at " in answer["watching"][1]
    assert "What is counted" in httpx.get(f"{stand.control}/incidents", timeout=10).text
    assert (stand.settings.lake / "windows" / MODEL / "parts").is_dir()


@contextmanager
def no_registry(stand: Standing) -> Iterator[None]:
    """Kill the MLflow server, and start another one in its place when the block ends."""
    from twinscore.stack.launch import launch_mlflow
    from twinscore.stack.state import read_state

    state = read_state(stand.settings)
    assert state is not None
    os.killpg(os.getpgid(state.mlflow.pid), signal.SIGKILL)
    try:
        yield
    finally:
        launch_mlflow(stand.settings)


def version_without_a_bundle(stand: Standing) -> str:
    """Register a version whose files are not a model at all, and return its number."""
    from twinscore.adapters.mlflow_client import connect

    client = connect(stand.settings.embedded_registry_uri)  # the server takes no folder of ours
    folder = stand.policies.parent / "no-bundle"
    folder.mkdir(exist_ok=True)
    (folder / "notes.txt").write_text("nothing here")
    return str(client.create_model_version(MODEL, str(folder)).version)
