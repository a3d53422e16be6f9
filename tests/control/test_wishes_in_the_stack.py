"""Wishes of people in a whole stack under load: flapping, freezes, approvals, and a second thought during a rollout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from twinscore.online.routes import current_routing
from twinscore.wiring import alias_store, open_rollout_store

from ..postgres import postgresql
from .standing import MODEL, POLICY, Standing, entries, settled, standing

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

FLIPS = 100
FLAPPING_S = 10.0
MOST_BEGUN = 3
"""Rollouts: that of the last version, and where the machine is so busy that an alias rests between moves, two more."""
HANDFUL = 8
"""Routings that are written: three for a rollout through shadow and canary, and what others began."""
GENTLE = """
model: members
settle: {settle}
rollback_window: 0
stages: [{stages}]
gates: [{{metric: error_rate, worse_by: 0.2, samples: 20}}]
{more}
"""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A stack of this module's own, with version 1 live."""
    server = postgresql() if request.param == "postgresql" else nullcontext(None)
    with server as address, standing(tmp_path_factory.mktemp("wishes"), address and f"{address}/postgres") as found:
        yield found


@pytest.fixture(autouse=True)
def policy(stand: Standing) -> Iterator[None]:
    """Every test begins and ends with the usual policy, and nothing on its way."""
    yield
    (stand.policies / f"{MODEL}.yaml").write_text(POLICY)
    stand.until(lambda status: status["rollout"] is None and status["settling"] is None, "the end of the rollout")


def follow(stand: Standing, stages: str, more: str = "", settle: str = "1s") -> None:
    """Let the next rollout go through these stages, held to failures alone."""
    (stand.policies / f"{MODEL}.yaml").write_text(GENTLE.format(stages=stages, more=more, settle=settle))


def others(stand: Standing) -> tuple[str, str, str]:
    """Return the live version, and the two that are not."""
    live = stand.status()["serving"]
    one, other = [version for version in ("1", "2", "3") if version != live]
    return live, one, other


def epoch() -> int:
    """Return the number of the routing in force."""
    found = current_routing(MODEL)
    assert found is not None
    return found.epoch


def kinds(stand: Standing) -> list[tuple[str, str | None]]:
    """Return what the ledger has of the model, oldest first: what, and of which version."""
    with open_rollout_store(stand.settings) as store:
        return [(one.kind, one.to_version) for one in store.ledger.entries(MODEL)]


def test_a_flapping_alias_ends_on_the_last_version(stand: Standing) -> None:
    """A hundred moves in ten seconds: the last one goes live, after a handful of routings, and nobody is refused."""
    live, one, other = others(stand)
    follow(
        stand, "{kind: shadow, requests: 20, at_least: 1s}, {kind: canary, share: 20%, requests: 20, at_least: 1s}",
        settle="3s",
    )  # fmt: skip
    registry, before, entered = alias_store(stand.settings), epoch(), len(kinds(stand))
    with stand.load() as heard:
        began, at = time.monotonic(), live
        for flip in range(FLIPS):
            to = one if flip == FLIPS - 1 else (other, live, one)[flip % 3]
            if to != at:
                registry.move(MODEL, "champion", to, expected=at)
            at = to
            time.sleep(max(0.0, began + (flip + 1) * FLAPPING_S / FLIPS - time.monotonic()))
        took = time.monotonic() - began
        stand.until(lambda status: settled(status, one), "the last version live")
        stand.until(lambda _: stand.aliases() == {"champion": one, "serving": one}, "both aliases on the last version")
        stand.until(lambda _: heard.answers[-1][2] == one, "answers of the last version")
    written, began_versions = epoch() - before, [of for kind, of in kinds(stand)[entered:] if kind == "started"]

    print(f"\n{FLIPS} flips in {took:.1f} s: {written} routings, started {began_versions}; {heard.statuses}")
    assert {200} == set(heard.statuses)
    assert one == began_versions[-1]
    assert len(began_versions) <= MOST_BEGUN
    assert written <= HANDFUL
    assert {live, one, other} >= {version for _, _, version, _ in heard.answers}


def test_a_freeze_holds_until_it_is_over(stand: Standing) -> None:
    """Frozen, a wish waits and says for what; a rollback is not stopped; after the thaw the wish goes live."""
    live, one, _ = others(stand)
    thaw = datetime.now(UTC) + timedelta(seconds=60)
    frozen = f"freeze: [{{name: books, from: {thaw - timedelta(days=1):%Y-%m-%d}, until: '{thaw:%Y-%m-%dT%H:%M:%S}'}}]"
    follow(stand, "{kind: shadow, requests: 20, at_least: 1s}", frozen)
    with stand.load() as heard:
        alias_store(stand.settings).move(MODEL, "champion", one, expected=live)
        told = stand.until(lambda status: "frozen: books" in str(status), "word of the freeze")
        waited = stand.until(lambda _: datetime.now(UTC) > thaw - timedelta(seconds=1), "the last second")
        stand.until(lambda status: settled(status, one), "the wish live")
        thawed = datetime.now(UTC)
        stand.until(lambda _: heard.answers[-1][2] == one, "answers of the wish")

    assert {200} == set(heard.statuses)
    assert (live, live) == (told["serving"], waited["serving"])
    assert thawed >= thaw
    assert "shadow" not in {arm for _, _, _, arm in heard.answers}


def test_an_approval_is_waited_for_and_expires(stand: Standing) -> None:
    """Somebody who may not is refused; the named one lets it go live; without a yes it goes back at the deadline."""
    live, one, other = others(stand)
    asked = "{kind: canary, share: 20%, requests: 20, at_least: 1s}, {kind: approve, approvers: [alice], at_most: "
    follow(stand, asked + "2m}")
    with stand.load() as heard:
        stand.order(name="promote", actor="anna", version=one)
        stand.until(lambda status: "approve" in ((status["rollout"] or {}).get("stage") or ""), "the stage of approval")
        stand.order(name="approve", actor="bob", version=one)
        stand.until(lambda _: ("command_refused", one) in kinds(stand)[-3:], "the refusal of bob")
        still = stand.status()
        stand.order(name="approve", actor="alice", version=one, reason="looks right")
        stand.until(lambda status: settled(status, one), "the approved version live")

        follow(stand, asked + "4s}")
        before = len(entries(stand, other))
        stand.order(name="promote", actor="anna", version=other)
        stand.until(lambda status: other in status["refused"], "the end without an approval")
        stand.until(lambda _: stand.aliases()["champion"] == one, "the alias back")

    assert {200} == set(heard.statuses)
    assert (live, "approve") == (still["serving"], still["rollout"]["stage"][:7])
    approved = [entry for entry in entries(stand, one) if entry.kind == "approved"][-1]
    assert ("alice", "looks right") == (approved.requested_by, approved.reason)
    assert ["started", "rolled_back"] == [entry.kind for entry in entries(stand, other)][before:]
    assert one == stand.status()["serving"]


def test_a_second_thought_wins(stand: Standing) -> None:
    """Another version wished for during a rollout ends it, goes live itself, and the alias is never moved back."""
    live, one, other = others(stand)
    follow(stand, "{kind: canary, share: 20%, requests: 20, at_least: 10m, at_most: 1h}")
    registry, seen = alias_store(stand.settings), set()
    entered = len(kinds(stand))
    with stand.load() as heard:
        registry.move(MODEL, "champion", one, expected=live)
        stand.until(lambda _: any(arm == "canary" for _, _, _, arm in heard.answers), "the canary of the first wish")
        follow(stand, "{kind: canary, share: 20%, requests: 20, at_least: 1s}")
        registry.move(MODEL, "champion", other, expected=one)

        def live_now(status: dict[str, object]) -> bool:
            seen.add(stand.aliases()["champion"])
            return settled(status, other)

        stand.until(live_now, "the second wish live")
        stand.until(lambda _: heard.answers[-1][2:] == (other, "live"), "answers of the second wish")
    found = [entry for entry in kinds(stand)[entered:] if entry[0] in ("started", "superseded", "live")]

    assert {200} == set(heard.statuses)
    assert {other} == seen
    assert [("started", one), ("superseded", live), ("started", other), ("live", other)] == found
    assert one not in stand.status()["refused"]
