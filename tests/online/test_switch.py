"""What a replica does with one routing after another, without Serve."""

from __future__ import annotations

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest

from twinscore.audit.record import decode_record
from twinscore.online.call import Call
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.hybrid import endpoint_kind
from twinscore.online.request import Limits
from twinscore.online.switch import Switch
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target
from twinscore.settings import Settings

from .shadowing import in_threads, stored
from .test_hybrid import KEY_ONLY, score_in_batch


@pytest.fixture
def bundles(home: Path, binary: Any) -> Path:
    """A content-addressed store that has one bundle."""
    return stored(Settings(home=home), binary.bundle)


def test_the_same_bundle_under_another_number_goes_by_that_number(binary: Any, bundles: Path) -> None:
    """Registered twice and promoted: answers, records, pages and evidence name the version that is live."""
    gateway = Gateway("members")
    gateway.record_with(b"salt", str)
    switch = Switch(gateway, bundles=bundles, limits=Limits())
    first, second = (Target(version=version, digest=binary.bundle.digest) for version in ("1", "4"))
    found = []
    for epoch, (live, previous) in enumerate([(first, None), (second, first), (first, second)], 1):
        switch.apply(Routing(model="members", epoch=epoch, live=live, previous=previous))
        found.append(told(gateway, binary.rows[0]))
    evidence = page(gateway, "/evidence")

    assert ["1", "4", "1"] == [answered for answered, _, _ in found]
    assert ["1", "4", "1"] == [recorded for _, recorded, _ in found]
    assert ["1", "4", "1"] == [shown for _, _, shown in found]
    assert {"1": 2, "4": 1} == {one["evidence"]["version"]: one["evidence"]["rows"] for one in evidence["arms"]}
    assert {"1", "4"} == set(evidence["edges"])
    assert ["1", "4"] == switch.state()["loaded"]


def test_versions_that_are_gone_leave_the_memory(binary: Any, multiclass: Any, regression: Any, home: Path) -> None:
    """After some promotions a replica has the live version and the one before, and nothing of others."""
    folder = stored(Settings(home=home), *(one.bundle for one in (binary, multiclass, regression)))
    made: list[weakref.ref[Endpoint]] = []

    def kind(bundle: Any, **facts: Any) -> Endpoint:
        endpoint = Endpoint(bundle, **facts)
        made.append(weakref.ref(endpoint))
        return endpoint

    gateway = Gateway("members")
    gateway.record_with(b"salt", str)
    switch = Switch(gateway, bundles=folder, limits=Limits(), kind=kind)
    before = None
    for epoch, one in enumerate((binary, multiclass, regression, binary), 1):
        live = Target(version=str(epoch), digest=one.bundle.digest)
        switch.apply(Routing(model="members", epoch=epoch, live=live, previous=before))
        told(gateway, one.rows[0])
        before = live
    gc.collect()

    assert ["3", "4"] == switch.state()["loaded"]
    assert ["3", "4"] == [endpoint.version for ref in made if (endpoint := ref()) is not None]


def test_a_row_that_is_its_key_is_asked_of_no_other_version(binary: Any, home: Path, tmp_path: Path) -> None:
    """Canaries and shadows have no cache: they are not blamed for what they cannot read."""
    settings = Settings(home=home)
    score_in_batch(settings, binary.bundle, binary.table.slice(0, 10), tmp_path / "run")
    folder, digest = stored(settings, binary.bundle), binary.bundle.digest
    asked: list[Any] = []

    def ask(rows: Any) -> Any:
        asked.append(rows)

    gateway = Gateway("members")
    switch = Switch(
        gateway, bundles=folder, limits=Limits(), kind=endpoint_kind(KEY_ONLY, settings.lake),
        ask_of=lambda _: ask, start=in_threads(settings, ask),
    )  # fmt: skip
    canary = Challenger(arm="canary", app="members.canary.2", version="2", digest=digest, mode="canary", share=10_000)
    shadow = Shadow(app="members.shadow.3", version="3", digest=digest)
    live = Target(version="1", digest=digest)
    switch.apply(Routing(model="members", live=live, challengers=(canary,), shadows=(shadow,)))
    body = json.dumps({"row_id": binary.rows[3]["row_id"]}).encode()
    reply = gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, body, "r"))
    assert isinstance(reply, Reply)
    state = switch.state()["shadows"]["members.shadow.3"]
    switch.close()

    assert (200, "live") == (reply.answer.status, json.loads(reply.answer.body)["arm"])
    assert (1, 0) == (state["skipped"], state["compared"])
    assert [] == asked


def told(gateway: Gateway, row: dict[str, Any]) -> tuple[str, str, str]:
    """Return the version that an answer, its record and the page about versions name."""
    call = Call("POST", "/predict", {b"content-type": b"application/json"}, json.dumps(row).encode(), "r")
    reply = gateway.handle(call)
    assert isinstance(reply, Reply)
    (record,) = reply.records
    return json.loads(reply.answer.body)["version"], decode_record(record).version, page(gateway, "/version")["version"]


def page(gateway: Gateway, path: str) -> dict[str, Any]:
    """Return what a page of the gateway says."""
    reply = gateway.handle(Call("GET", path, {}, b"", "r"))
    assert isinstance(reply, Reply)
    found: dict[str, Any] = json.loads(reply.answer.body)
    return found
