"""What a replica does with one routing after another, without Serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twinscore.audit.record import decode_record
from twinscore.online.call import Call
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.request import Limits
from twinscore.online.switch import Switch
from twinscore.rollout.routing import Routing, Target
from twinscore.settings import Settings

from .shadowing import stored


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
