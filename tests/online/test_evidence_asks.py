"""What is counted of versions that answer from other processes: canaries by their callers, shadows by mirrors."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twinscore.online.asked import Asked
from twinscore.online.call import Call
from twinscore.online.caller import Caller, ChallengerFailedError, Scored
from twinscore.online.endpoint import Endpoint
from twinscore.online.evidence_arm import ArmBook
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.request import Limits
from twinscore.online.switch import Switch
from twinscore.rollout.assign import entity_id, place_of
from twinscore.rollout.entity_groups import GROUPS
from twinscore.rollout.evidence import ArmEvidence, Histogram, PairEvidence
from twinscore.rollout.memory_trend import BLOCKS, MemoryTrend
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target
from twinscore.settings import Settings

from .counted import predictions, read
from .shadowing import in_threads, stored, until

BATCH = 100
TREND = MemoryTrend(process="p", look=1, floors_mb=(12.5,) * BLOCKS)


class Answering:
    """Stands where an application would: answers at once, late, or not at all, and says how long scoring took."""

    def __init__(self, endpoint: Endpoint, fault: str = "") -> None:
        self.endpoint, self.fault = endpoint, fault

    def __call__(self, rows: Any) -> Answering:
        """Take rows."""
        self.rows = rows
        return self

    def __await__(self) -> Any:
        if self.fault == "late":
            yield from asyncio.sleep(5).__await__()
        return self.result()

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Score."""
        del timeout_s
        if self.fault == "late":
            raise TimeoutError
        if self.fault == "error":
            raise RuntimeError
        asked = Asked(self.rows, at="/rows", partial=True)
        digest = "0" * 64 if self.fault == "other" else self.endpoint.bundle.digest
        return Scored(digest, self.endpoint.predictions(self.endpoint.score(asked)), 5_000_000, 12.5, TREND)

    def cancel(self) -> None:
        """Nothing to give up."""


def test_a_challengers_calls_are_counted_by_what_came_of_them(binary: Any, second: Endpoint) -> None:
    """Answered, refused, late, broken, another bundle: a call each, its reason, and the time that scoring took."""
    book = ArmBook("2", "canary", second.bundle.profile["score"]["edges"])
    good = second.decode([binary.rows[0]])[0]
    bad = second.decode([{**binary.rows[0], "age": -5}])[0]

    async def call(fault: str, rows: Any) -> None:
        caller = Caller(Answering(second, fault), "app", second.bundle.digest, 0.05, book)
        try:
            await caller.score(rows, len(rows))
        except ChallengerFailedError as failed:
            if failed.reason == "refused":  # the live version took the row: only then it is the challenger's fault
                caller.failed("refused", len(rows))

    for fault, rows in (("", good), ("", bad), ("late", good), ("error", good), ("other", good)):
        asyncio.run(call(fault, rows))
    found = book.read()

    assert {"refused": 1, "deadline": 1, "error": 1, "wrong_bundle": 1} == found.failed
    assert (5, 5, 1, 1) == (found.calls, found.rows, found.refused_rows, found.score.n)
    assert (2, 2) == (found.latency_ms.n, found.answer_ms.n)
    assert 4.4 < (found.latency_ms.quantile(0.5) or 0) <= 5.7
    assert (12.5, (TREND,)) == (found.memory_mb, found.memory_trends)


def routing_of(binary: Any, second: Endpoint, **beside: Any) -> Routing:
    live = Target(version="1", digest=binary.bundle.digest)
    return Routing(model="members", live=live, deadline_ms=5_000, **beside)


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """A home of the test's own."""
    return Settings(home=tmp_path)


@pytest.fixture
def bundles(binary: Any, second: Endpoint, home: Settings) -> Path:
    """Both bundles where a replica finds them."""
    return stored(home, binary.bundle, second.bundle)


def test_a_canarys_rows_and_the_live_versions_are_apart(binary: Any, second: Endpoint, bundles: Path) -> None:
    """Of a divided request each arm counts its own rows; a canary that fails costs the live version no count."""
    gateway = Gateway("members")
    asks = {"good": Answering(second), "bad": Answering(second, "error")}
    switch = Switch(gateway, bundles=bundles, limits=Limits(), ask_of=asks.__getitem__)
    body = json.dumps({"instances": binary.rows[:BATCH]}).encode()
    counted = []
    for epoch, app in enumerate(asks, 1):
        canary = Challenger(
            arm="canary", app=app, version="2", digest=second.bundle.digest, mode="canary", share=3_000
        )  # fmt: skip
        switch.apply(replace(routing_of(binary, second), challengers=(canary,), epoch=epoch))
        call = Call("POST", "/predict", {b"content-type": b"application/json"}, body, "r")
        found = gateway.handle(call)
        assert not isinstance(found, Reply)
        assert 200 == asyncio.run(_reply(found)).answer.status
        counted.append(read(gateway.book))
    first, last = counted
    expected = sums_by_hand(binary, switch.routing.salt if switch.routing else "")

    assert BATCH == first["1", "live"].rows + first["2", "canary"].rows
    assert ({}, 1) == (first["2", "canary"].failed, first["2", "canary"].calls)
    assert 2 * first["1", "live"].rows == last["1", "live"].rows
    assert 2 * first["2", "canary"].rows == last["2", "canary"].rows
    assert expected == (first["1", "live"].groups.n, first["2", "canary"].groups.n)
    assert 0 < sum(first["1", "live"].groups.total)
    assert ({"error": 1}, first["2", "canary"].score) == (last["2", "canary"].failed, last["2", "canary"].score)


def sums_by_hand(binary: Any, salt: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how many rows of each group the live version and a canary of 30 % have to count."""
    found = [[0] * GROUPS, [0] * GROUPS]
    for row in binary.rows[:BATCH]:
        bucket, group = place_of(entity_id([row[name] for name in binary.bundle.contract.key]), salt)
        found[bucket < 3_000][group] += 1
    return tuple(found[0]), tuple(found[1])


async def _reply(waiting: Any) -> Reply:
    found: Reply = await waiting
    return found


def test_a_shadow_is_counted_by_itself_and_beside_the_live_version(
    binary: Any, second: Endpoint, bundles: Path, home: Settings
) -> None:
    """What a shadow would have answered is counted as its own, and its differences and flips as a pair's."""
    gateway = Gateway("members")
    switch = Switch(gateway, bundles=bundles, limits=Limits(), start=in_threads(home, Answering(second)))
    shadow = Shadow(app="members.shadow.2", version="2", digest=second.bundle.digest)
    switch.apply(routing_of(binary, second, shadows=(shadow,)))
    rows = binary.rows[:BATCH]
    for row in rows:
        gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, json.dumps(row).encode(), "r"))
    until(lambda: beside(gateway) and sum(one["evidence"]["rows"] for one in beside(gateway)["arms"]) == BATCH)
    document = beside(gateway)
    switch.close()
    arm = ArmEvidence.from_json(document["arms"][0]["evidence"])
    pair = PairEvidence.from_json(document["pairs"][0]["evidence"])

    live, other = predictions(binary.endpoint, rows), predictions(second, rows)
    flipped = [(b.score or 0) > (a.score or 0) for a, b in zip(live, other, strict=True) if a.decision != b.decision]
    differences = [abs((b.score or 0) - (a.score or 0)) for a, b in zip(live, other, strict=True)]
    assert (BATCH, BATCH, "2") == (arm.rows, arm.score.n, arm.version)
    assert (BATCH, len(flipped), sum(flipped)) == (pair.n, pair.flips, pair.flips_up)
    assert 0 < pair.flips == pair.flips_up + pair.flips_down
    assert Histogram.of(pair.diff.edges, differences) == pair.diff
    assert pair.signed.total == pytest.approx(sum(b.score or 0 for b in other) - sum(a.score or 0 for a in live))
    assert (0, 0) == (pair.failed, pair.dropped)


def beside(gateway: Gateway) -> dict[str, Any]:
    """Return what the process of the one shadow has counted, as the control is told; empty before it has."""
    page = gateway.handle(Call("GET", "/evidence", {}, b"", "r"))
    assert isinstance(page, Reply)
    found: list[dict[str, Any]] = json.loads(page.answer.body)["beside"]
    return found[0] if found else {}


def test_a_shadow_that_fails_says_so(binary: Any, second: Endpoint, bundles: Path, home: Settings) -> None:
    """Rows without an answer count as failed calls of the shadow, and as no pair."""
    gateway = Gateway("members")
    switch = Switch(gateway, bundles=bundles, limits=Limits(), start=in_threads(home, Answering(second, "late")))
    shadow = Shadow(app="members.shadow.2", version="2", digest=second.bundle.digest)
    switch.apply(routing_of(binary, second, shadows=(shadow,)))
    row = json.dumps(binary.rows[0]).encode()
    gateway.handle(Call("POST", "/predict", {b"content-type": b"application/json"}, row, "r"))
    until(lambda: beside(gateway).get("arms"))
    document = beside(gateway)
    switch.close()
    found = ArmEvidence.from_json(document["arms"][0]["evidence"])

    assert ({"deadline": 1}, 0) == (found.failed, found.score.n)
    assert 1 == document["pairs"][0]["evidence"]["failed"]
