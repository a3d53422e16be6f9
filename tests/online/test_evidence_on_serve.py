"""Evidence on a real Ray Serve: a canary that is slow, leaks and crashes, and a gateway replica that is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from twinscore.control.scrape import Scrape
from twinscore.online.asked import Asked, Outcome
from twinscore.online.challenger import ChallengerReplica, deploy_challenger
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.routes import apply_routing, current_routing, replica_states
from twinscore.online.spec import ServeSpec
from twinscore.rollout.assign import arm_of, bucket_of, entity_id
from twinscore.rollout.evidence import ArmEvidence, Evidence
from twinscore.rollout.routing import Challenger
from twinscore.settings import Settings

pytestmark = pytest.mark.cluster

SLEEP_S = 0.1
LEAK_MIB = 8
CALLS_UNTIL_CRASH = 25


@pytest.fixture(scope="module")
def served(members: Any, serve_settings: Settings) -> Iterator[tuple[Settings, str]]:
    """Version 1 of `members` on two replicas."""
    del members
    yield serve_settings, serve_model(serve_settings, "members/1", spec=ServeSpec(model="members", replicas=2))
    stop_model("members")


def ask(url: str, rows: list[dict[str, Any]]) -> set[int]:
    """Ask for each row in turn and return the statuses."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        return {client.post(f"{url}/predict", json=row).status_code for row in rows}


def until(look: Callable[[], Evidence], wanted: Callable[[Evidence], bool], timeout_s: float = 90) -> Evidence:
    """Look until the evidence is as wanted, and return it."""
    deadline = time.monotonic() + timeout_s
    while not wanted(found := look()) and time.monotonic() < deadline:
        time.sleep(0.3)
    assert wanted(found), found
    return found


def arm(evidence: Evidence, version: str, role: Any) -> ArmEvidence:
    found = evidence.arm(version, role)
    assert found is not None
    return found


def test_a_bad_canary_is_seen_and_a_killed_replica_costs_one_look(served: tuple[Settings, str], binary: Any) -> None:
    """Every row is counted for its arm; the canary's delay, leak, failures and crash show, and none on the live one.

    Then a gateway replica is killed: its end is counted, and what the others and its successor count goes on.
    """
    settings, url = served

    class Bad(ChallengerReplica):
        def _outcome(self, asked: Asked) -> Outcome:
            kept = self.__dict__.setdefault("kept", [])
            kept.append(bytearray(os.urandom(1024) * 1024 * LEAK_MIB))
            time.sleep(SLEEP_S)
            if len(kept) > CALLS_UNTIL_CRASH:
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._outcome(asked)

    app = deploy_challenger(settings, "members", "2", "canary", replica=Bad)
    current = current_routing("members")
    assert current is not None
    canary = Challenger(
        arm="canary", app=app.app, version=app.version, digest=app.digest, mode="canary", share=5_000
    )  # fmt: skip
    routing = replace(current, epoch=current.epoch + 1, challengers=(canary,), deadline_ms=3_000)
    scrape = Scrape(settings, "members", baseline="1")
    scrape.look(routing)
    apply_routing(settings, "members", routing)
    rows = binary.rows[: 3 * CALLS_UNTIL_CRASH]
    statuses = ask(url, rows)
    seen = until(lambda: scrape.look(routing), lambda found: arm(found, "2", "canary").restarts > 0)
    live, bad = arm(seen, "1", "live"), arm(seen, "2", "canary")

    assigned = sum(arm_of(bucket_of(entity_id([row["row_id"]]), routing.salt), routing) is not None for row in rows)
    assert {200} == statuses
    assert (assigned, len(rows) - assigned) == (bad.rows, live.rows)
    assert (live.rows, {}, 0) == (live.score.n, live.failed, live.restarts)
    assert bad.rows == bad.score.n + sum(bad.failed.values())
    assert 1 <= sum(bad.failed.values())
    assert 1_000 * SLEEP_S <= (bad.latency_ms.quantile(0.5) or 0) <= (bad.answer_ms.quantile(0.99) or 0)
    assert (bad.memory_mb or 0) > 2 * LEAK_MIB + (live.memory_mb or 0)
    assert (2, ()) == (seen.replicas, seen.stale)

    apply_routing(settings, "members", replace(routing, epoch=routing.epoch + 1, challengers=()))
    routing = replace(routing, epoch=routing.epoch + 1, challengers=())
    os.kill(next(iter(replica_states("members").values()))["pid"], signal.SIGKILL)
    until(lambda: scrape.look(routing), lambda found: arm(found, "1", "live").restarts == 1 and found.replicas == 1)
    until(lambda: scrape.look(routing), lambda found: found.replicas == 2)
    before = arm(scrape.look(routing), "1", "live").rows
    assert {200} == ask(url, rows)
    after = arm(scrape.look(routing), "1", "live")
    scrape.close()

    assert before + len(rows) == after.rows
    assert live.rows == before
