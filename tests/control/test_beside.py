"""What is asked beside the live version and fails: it holds up no rollout and no way back, and people are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from twinscore.online import challenger, routes
from twinscore.rollout.plan import ArmPlan, RoutingPlan
from twinscore.rollout.routing import Target
from twinscore.rollout.wanted import WantedRouting, wanted_plan
from twinscore.testing.promotion import SHORT_POLICY, PromotionWorld, digest_for

from .serve_world import ServeWorld, found_app, traffic_of

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
ARM = ArmPlan(version="5", share=1_000)


def test_a_challenger_that_does_not_start_holds_no_candidate_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The canary of version 2 is up and waits for itself alone; the challenger is named with its reason."""
    serve = ServeWorld(monkeypatch, Target(version="1", digest=A))
    serve.statuses["m.ab.5"] = "DEPLOY_FAILED"
    traffic = traffic_of(tmp_path)
    plan = RoutingPlan(canary=ArmPlan(version="2", share=500), ab=ARM)
    wanted = WantedRouting(live="1", digest=A, plan=plan, coming="2")
    first, *_, last = [traffic.converge(wanted, {"2": B, "5": C}, term=1) for _ in range(3)]

    assert (False, True) == (first.ready, last.ready)
    assert ["2"] == [one.version for one in serve.routing.challengers]
    assert {"5": "Serve could not start it: it dies"} == last.failed


def test_a_version_on_its_way_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As long as its own application starts nothing is ready, whoever else is up."""
    serve = ServeWorld(monkeypatch, Target(version="1", digest=A))
    serve.statuses["m.canary.2"] = "DEPLOYING"
    traffic = traffic_of(tmp_path)
    plan = RoutingPlan(canary=ArmPlan(version="2", share=500), ab=ARM)
    wanted = WantedRouting(live="1", digest=A, plan=plan, coming="2")
    starting = [traffic.converge(wanted, {"2": B, "5": C}, term=1).ready for _ in range(3)]
    del serve.statuses["m.canary.2"]

    assert [False, False, False] == starting
    assert traffic.converge(wanted, {"2": B, "5": C}, term=1).ready


def test_going_back_is_over_with_a_challenger_of_other_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The routing is written without it."""
    serve = ServeWorld(monkeypatch, Target(version="2", digest=B))
    serve.other_columns = {"5"}
    traffic = traffic_of(tmp_path)
    wanted = WantedRouting(live="1", digest=A, plan=RoutingPlan(ab=ARM))
    *_, last = [traffic.converge(wanted, {"5": C}, term=1) for _ in range(3)]

    assert ("1", True) == (serve.routing.live.version, last.ready)
    assert {"5": "Version 5 reads other columns."} == last.failed


@pytest.mark.parametrize("how", ["dies", "reads other columns"])
def test_a_good_version_goes_live_whatever_becomes_of_a_challenger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    """The whole chain: each step is taken on what Serve came to, and Serve is asked for what the step wants."""
    world = PromotionWorld(policy=SHORT_POLICY, aliases={"champion": "1", "challenger": "5"})
    serve = ServeWorld(monkeypatch, Target(version="1", digest=digest_for("1")))
    traffic = traffic_of(tmp_path)

    def run(ticks: int) -> None:
        for _ in range(ticks):
            world.tick()
            wanted = wanted_plan(world.state, world.policy)
            found = traffic.converge(wanted, {version: digest_for(version) for version in "25"}, term=1)
            world.apps_up, world.given_up = found.ready, dict(found.failed or {})

    run(5)
    answered = [one.version for one in serve.routing.challengers]
    if how == "dies":
        serve.statuses["m.ab.5"] = "DEPLOY_FAILED"
    else:
        serve.other_columns = {"5"}
    world.aliases["champion"] = "2"
    run(60)

    ended = [kind for kind in world.kinds() if kind in ("challenger_given_up", "live", "rolled_back")]
    assert (["5"], ["challenger_given_up", "live"]) == (answered, ended)
    assert ("2", []) == (serve.routing.live.version, list(serve.routing.challengers))


def test_a_challenger_that_serve_repairs_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One replica that dies is replaced within seconds; only what stays away for a minute is given up."""
    serve = ServeWorld(monkeypatch, Target(version="1", digest=A))
    now_s = 0.0
    traffic = traffic_of(tmp_path, clock_s=lambda: now_s)
    wanted = WantedRouting(live="1", digest=A, plan=RoutingPlan(ab=ARM))

    def look() -> tuple[int, bool]:
        found = traffic.converge(wanted, {"5": C}, term=1)
        return len(serve.routing.challengers), found.failed is not None

    for _ in range(2):
        look()
    serve.statuses["m.ab.5"] = "UNHEALTHY"
    repaired = look()
    del serve.statuses["m.ab.5"]
    running = look()
    serve.statuses["m.ab.5"] = "UNHEALTHY"
    look()
    now_s = 61.0
    gone = look()

    assert [(1, False), (1, False), (0, True)] == [repaired, running, gone]


def test_the_apps_beside_are_those_of_this_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another model may be called as this one and a role, and a gateway as a challenger's application would be."""
    ours = dict.fromkeys(["loans.canary.2", "loans.ab.3", "loans.shadow.10"], challenger.DEPLOYMENT)
    others = dict.fromkeys(["loans.shadow.canary.7", "loansXshadow.3", "loans.shadow.eu"], challenger.DEPLOYMENT)
    gateways = dict.fromkeys(["loans", "loans.shadow", "loans.shadow.3"], routes.DEPLOYMENT)
    apps = {name: found_app("RUNNING", deployment) for name, deployment in {**ours, **others, **gateways}.items()}
    monkeypatch.setattr(challenger, "applications", lambda: apps)

    assert list(ours) == challenger.challenger_apps("loans")
    assert ["loans.shadow.canary.7"] == challenger.challenger_apps("loans.shadow")
    assert ("failed", "loans.shadow.3 is the name of another application") == challenger.app_state("loans.shadow.3")
