"""Arms on a real Ray Serve: shares over HTTP, canaries that fail, swaps and rollbacks under load, replicas that die."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from twinscore.audit.operate import replay_request
from twinscore.audit.places import model_folder
from twinscore.audit.reader import read_model
from twinscore.errors import ModelNotReady, StoreConflict
from twinscore.online.asked import Asked
from twinscore.online.beside import apply_plan
from twinscore.online.caller import Scored
from twinscore.online.challenger import ChallengerReplica, Deployed, deploy_challenger, remove_challenger
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.endpoint import Endpoint
from twinscore.online.gateway import Gateway
from twinscore.online.listener import HttpListener
from twinscore.online.request import Limits
from twinscore.online.routes import apply_routing, current_routing, make_live, replica_states, roll_back
from twinscore.online.spec import ServeSpec
from twinscore.online.switch import Switch
from twinscore.rollout.assign import arm_of, bucket_of, entity_id
from twinscore.rollout.plan import ArmPlan, RoutingPlan
from twinscore.rollout.routing import Challenger, Routing, Target
from twinscore.settings import Settings
from twinscore.wiring import bundle_store

from .steady import Load

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def served(members: Any, serve_settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Version 1 of `members` on two replicas."""
    del members
    yield serve_settings, serve_model(serve_settings, "members/1", spec=ServeSpec(model="members", replicas=2))
    stop_model("members")


@pytest.fixture
def plain(served: tuple[Settings, str]) -> Iterator[tuple[Settings, str]]:
    """Version 1 answers alone, before and after a test; a canary that a test has had is there, with no share."""
    settings, _ = served
    yield served
    routing = current_routing("members")
    idle = ArmPlan(version="2", share=0) if routing is not None and routing.challengers else None
    apply_plan(settings, "members", RoutingPlan(canary=idle))
    serve_model(settings, "members/1", spec=ServeSpec(model="members", replicas=2))


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    # Without `verify`, each request of plain HTTP would read the certificates first.
    return httpx.post(f"{url}/predict", json=body, headers=headers, trust_env=False, verify=False, timeout=30)


def expected_arms(rows: list[dict[str, Any]], routing: Routing) -> list[str]:
    found = [arm_of(bucket_of(entity_id([row["row_id"]]), routing.salt), routing) for row in rows]
    return ["live" if one is None else one.arm for one in found]


def scores(endpoint: Endpoint, rows: list[dict[str, Any]]) -> list[float | None]:
    decoded, faults = endpoint.decode(rows)
    assert not faults
    return [endpoint.predictions(endpoint.score(Asked([row])))[0].score for row in decoded]


def with_canary(app: Deployed, share: int = 10_000, deadline_ms: int = 250) -> Routing:
    """Return the routing that follows, with a canary in the given application."""
    current = current_routing("members")
    assert current is not None
    canary = Challenger(
        arm="canary", app=app.app, version=app.version, digest=app.digest, mode="canary", share=share
    )  # fmt: skip
    return replace(current, epoch=current.epoch + 1, challengers=(canary,), deadline_ms=deadline_ms)


def failures(of: str = "members") -> Counter[str]:
    """Return the rows that the canary failed, by reason, over all replicas."""
    found: Counter[str] = Counter()
    for state in replica_states(of).values():
        found.update(state["challengers"]["canary"]["rows_failed"])
    return found


def test_shares_over_http_and_an_entity_sticks(plain: Any, binary: Any, second: Endpoint) -> None:
    """One row or many, on either replica: the same rows go to the canary, and get the bits of its version."""
    settings, url = plain
    applied = apply_plan(settings, "members", RoutingPlan(canary=ArmPlan(version="2", share=2_000), deadline_ms=5_000))
    rows = binary.rows[:200]
    wanted = expected_arms(rows, applied.routing)
    alone = [post(url, row).json() for row in rows]
    batch = post(url, {"instances": rows}).json()
    large = post(url, {"instances": rows * 20}).json()  # the canary's rows are more than go straight to its process
    by_arm = {"live": scores(binary.endpoint, rows), "canary": scores(second, rows)}

    assert 2 == applied.replicas
    assert wanted == [answer["arm"] for answer in alone]
    assert wanted == [row["arm"] for row in batch["predictions"]]
    assert ("mixed", list(range(200))) == (batch["arm"], [row["row"] for row in batch["predictions"]])
    assert {"live": "1", "canary": "2"} == {row["arm"]: row["version"] for row in batch["predictions"]}
    assert {"live": "1", "canary": "2"} == {answer["arm"]: answer["version"] for answer in alone}
    right = [by_arm[arm][position] for position, arm in enumerate(wanted)]
    assert right == [row["score"] for row in batch["predictions"]]
    assert right == [answer["predictions"][0]["score"] for answer in alone]
    assert [*zip(wanted, right, strict=True)] * 20 == [(row["arm"], row["score"]) for row in large["predictions"]]
    share = wanted.count("canary") / len(wanted)
    assert abs(share - 0.2) <= 3.2905 * math.sqrt(0.2 * 0.8 / len(wanted))


def test_each_arms_rows_are_in_the_log_and_replay(plain: Any, binary: Any) -> None:
    """A divided request has a record for each arm, under its version, and its rows score to the same bits again."""
    settings, url = plain
    apply_plan(settings, "members", RoutingPlan(canary=ArmPlan(version="2", share=3_000), deadline_ms=5_000))
    answer = post(url, {"instances": binary.rows[:60]}, **{"x-request-id": "divided"}).json()
    by_arm = Counter(row["arm"] for row in answer["predictions"])
    folder = model_folder(settings.lake, "members")
    store = bundle_store(settings)
    replayed = replay_request(folder, "divided", store.path)
    records = [entry.record for entry in read_model(folder) if entry.record.request_id == "divided"]

    assert {"live", "canary"} == set(by_arm)
    assert by_arm == {record.arm: len(record.rows) for record in records}
    assert {("live", "1", "live"), ("canary", "2", "canary")} == {(one.arm, one.version, one.role) for one in records}
    assert list(range(60)) == sorted(place for record in records for place in record.places)
    assert (60, ()) == (sum(one.rows for one in replayed), sum((one.differences for one in replayed), ()))


def test_rows_that_live_refuses_are_refused_with_their_places(plain: Any, binary: Any) -> None:
    """With a canary for everybody, a broken row is a 422 that names its place in the whole request."""
    settings, url = plain
    apply_plan(settings, "members", RoutingPlan(canary=ArmPlan(version="2", share=5_000), deadline_ms=5_000))
    rows = [*binary.rows[:40], {**binary.rows[40], "age": -5}]
    answer = post(url, {"instances": rows})

    assert 422 == answer.status_code
    assert ["/instances/40/age"] == [fault["path"] for fault in answer.json()["faults"]]


def test_a_header_names_an_arm_where_it_may(plain: Any, binary: Any) -> None:
    """With `header_override`, `x-arm` decides; without it, or with a name that is no arm, the hash does."""
    settings, url = plain
    plan = RoutingPlan(canary=ArmPlan(version="2", share=0, arm="blue"), deadline_ms=5_000)
    apply_plan(settings, "members", plan)
    without = post(url, binary.rows[0], **{"x-arm": "blue"}).json()["arm"]
    apply_plan(settings, "members", replace(plan, header_override=True))
    named = [post(url, binary.rows[0], **{"x-arm": name}).json()["arm"] for name in ("blue", "live", "green")]

    assert ("live", ["blue", "live", "live"]) == (without, named)


def test_a_canary_that_fails_is_stood_in_for(plain: Any, binary: Any, tmp_path: Path) -> None:
    """Raising, sleeping, killed and another bundle: each answer is a 200 of the live version with its bits."""
    settings, url = plain
    rows = binary.rows[:40]
    right = scores(binary.endpoint, rows)
    word = tmp_path / "word"

    class Failing(ChallengerReplica):
        """Fails as the file says; a process for each way would take its time to start."""

        async def score(self, payload: Any) -> Scored:  # type: ignore[override]
            import asyncio

            way = word.read_text()
            if way == "raising":
                message = "out of luck"
                raise RuntimeError(message)
            if way == "sleeping":
                await asyncio.sleep(1e9)
            if way == "crashing":
                os.kill(os.getpid(), signal.SIGKILL)
            return Scored("0" * 64, super().score(payload).predictions)

    deadlines_ms = {"sleeping": 200, "crashing": 500}  # nobody answers, so each row waits as long
    app = deploy_challenger(settings, "members", "2", "canary", replica=Failing)
    try:
        for way, reason in {
            "raising": "error",
            "sleeping": "deadline",
            "other": "wrong_bundle",
            "crashing": "",
        }.items():
            word.write_text(way)
            apply_routing(settings, "members", with_canary(app, deadline_ms=deadlines_ms.get(way, 2_000)))
            answers = [post(url, row) for row in rows]

            assert {200} == {answer.status_code for answer in answers}
            assert {("live", "1")} == {(answer.json()["arm"], answer.json()["version"]) for answer in answers}
            assert right == [answer.json()["predictions"][0]["score"] for answer in answers]
            found = failures()
            print(f"{way}: {dict(found)}")
            assert len(rows) == found.total()
            assert not reason or reason in found
            current = current_routing("members")
            assert current is not None
            apply_routing(settings, "members", replace(current, epoch=current.epoch + 1, challengers=()))
    finally:
        remove_challenger(app.app)


def test_a_canary_that_cannot_start_is_refused(plain: Any, binary: Any) -> None:
    """Serve gives up after three tries; nobody was sent to it, and the live version goes on."""
    settings, url = plain

    class Broken(ChallengerReplica):
        def __init__(self, *given: Any) -> None:
            os._exit(1)

    before = current_routing("members")
    # In a role that no other test has: the canary of another one may be there still.
    with pytest.raises(ModelNotReady):
        deploy_challenger(settings, "members", "2", "ab", replica=Broken)
    remove_challenger("members.ab.2")

    assert before == current_routing("members")
    assert 200 == post(url, binary.rows[0]).status_code


def test_versions_swap_and_roll_back_under_load(plain: Any, binary: Any, second: Endpoint) -> None:
    """No request fails, no replica restarts, the new version's bits follow at once, and so do the old one's."""
    settings, url = plain
    before = {state["pid"] for state in replica_states("members").values()}
    rows = binary.rows[:50]
    with Load(url, rows) as load:
        started = time.monotonic()
        serve_model(settings, "members/2", spec=ServeSpec(model="members", replicas=2))
        served_s = time.monotonic() - started
        forward = [post(url, row).json() for row in rows]
        back = roll_back(settings, "members")
        after_back = [post(url, row).json() for row in rows]
        again = make_live(settings, "members", Target(version="2", digest=second.bundle.digest))
        back_again = roll_back(settings, "members")
    print(f"serve_model of another version {served_s:.2f} s on 2 replicas, {len(load.seen)} requests meanwhile")
    print(f"rollback {back.seconds:.2f} s and {back_again.seconds:.2f} s, forward to a warm one {again.seconds:.2f} s")

    assert [] == load.failed
    assert scores(second, rows) == [answer["predictions"][0]["score"] for answer in forward]
    assert scores(binary.endpoint, rows) == [answer["predictions"][0]["score"] for answer in after_back]
    assert {"2"} == {answer["version"] for answer in forward}
    assert before == {state["pid"] for state in replica_states("members").values()}
    assert {"1", "2"} == {answer["version"] for _, answer in load.seen}


def test_a_replica_that_dies_comes_back_with_the_routing(plain: Any, binary: Any) -> None:
    """Killed by SIGKILL, its successor has the epoch, the live version and the canary in force."""
    settings, url = plain
    plan = RoutingPlan(canary=ArmPlan(version="2", share=3_000), deadline_ms=5_000)
    serve_model(settings, "members/2", spec=ServeSpec(model="members", replicas=2, routing=RoutingPlan()))
    roll_back(settings, "members")
    epoch = apply_plan(settings, "members", plan).routing.epoch
    before = replica_states("members")
    victim = next(iter(before.values()))["pid"]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 60
    after: dict[str, Any] = {}
    while time.monotonic() < deadline:
        after = replica_states("members")
        if len(after) == 2 and victim not in {state["pid"] for state in after.values()}:
            break
        time.sleep(0.5)

    assert {epoch} == {state["routing"]["epoch"] for state in after.values()}
    assert 2 == len(after)
    wanted = current_routing("members")
    assert wanted is not None
    assert expected_arms(binary.rows[:30], wanted) == [post(url, row).json()["arm"] for row in binary.rows[:30]]


def test_a_routing_that_replicas_refuse_is_taken_back(plain: Any, binary: Any) -> None:
    """An entity that is no column: nothing changes, requests go on, and Serve's configuration is whole again."""
    settings, url = plain
    current = current_routing("members")
    assert current is not None
    with pytest.raises(ModelNotReady, match="no such column"):
        apply_routing(settings, "members", replace(current, epoch=current.epoch + 1, entity=("nobody",)))
    after = current_routing("members")

    assert replace(current, epoch=current.epoch + 2) == after
    assert 200 == post(url, binary.rows[0]).status_code


def test_what_cannot_work_is_refused_first(plain: Any) -> None:
    """A stale epoch, an application that does not run, and a model that nobody serves."""
    settings, _ = plain
    current = current_routing("members")
    assert current is not None
    with pytest.raises(StoreConflict, match="is in force"):
        apply_routing(settings, "members", replace(current, salt="other"))
    gone = Deployed("members.canary.9", "9", "9" * 64)
    with pytest.raises(ModelNotReady, match=r"members\.canary\.9 is not there"):
        apply_routing(settings, "members", with_canary(gone))
    with pytest.raises(ModelNotReady, match="twinscore serve --model absent"):
        apply_routing(settings, "absent", current)
    assert current == current_routing("members")


def test_the_listeners_loop_awaits_a_canary_too(plain: Any, binary: Any, second: Endpoint) -> None:
    """A gateway behind our own uvloop thread asks the canary by the same handle, and stands in when it is gone."""
    settings, _ = plain
    canary = RoutingPlan(canary=ArmPlan(version="2", share=0))
    (running,) = apply_plan(settings, "members", canary).routing.challengers
    app = Deployed(running.app, running.version, running.digest)
    gateway = Gateway("members")
    switch = Switch(gateway, bundles=settings.lake / "bundles", limits=Limits())
    switch.apply(replace(with_canary(app, deadline_ms=5_000), epoch=1))
    listener = HttpListener(gateway)
    url = f"http://127.0.0.1:{listener.port}/members"
    try:
        rows = binary.rows[:20]
        answers = [post(url, row).json() for row in rows]
        batch = post(url, {"instances": rows * 20}).json()  # large enough for a thread
    finally:
        listener.close()
        switch.close()

    assert ({"canary"}, {"2"}) == ({one["arm"] for one in answers}, {one["version"] for one in answers})
    assert scores(second, rows) == [one["predictions"][0]["score"] for one in answers]
    assert scores(second, rows) * 20 == [row["score"] for row in batch["predictions"]]


def test_the_price_of_a_canary_call(plain: Any, binary: Any) -> None:
    """Printed, side by side: one row answered by the live version and by the canary, over HTTP."""
    settings, url = plain
    apply_plan(settings, "members", RoutingPlan(canary=ArmPlan(version="2", share=5_000), deadline_ms=5_000))
    took: dict[str, list[float]] = {"live": [], "canary": []}
    with httpx.Client(trust_env=False) as client:
        for position in range(400):
            started = time.perf_counter()
            answer = client.post(f"{url}/predict", json=binary.rows[position % len(binary.rows)])
            took[answer.json()["arm"]].append(time.perf_counter() - started)
    medians = {arm: sorted(times)[len(times) // 2] * 1000 for arm, times in took.items()}
    print("median milliseconds by arm:", json.dumps(medians))

    assert all(len(times) > 100 for times in took.values())
