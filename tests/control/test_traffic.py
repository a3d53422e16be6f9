"""From what is wanted to the routing that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from twinscore.control.traffic import _apps, routing_wanted
from twinscore.rollout.plan import ArmPlan, RoutingPlan, ShadowPlan
from twinscore.rollout.routing import Challenger, Routing, Shadow, Target
from twinscore.rollout.wanted import WantedRouting

from .serve_world import ServeWorld, traffic_of

A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
NOW = Routing(model="m", live=Target(version="1", digest=A), epoch=7, term=2, salt="s")
PLAN = RoutingPlan(
    canary=ArmPlan(version="2", share=500), ab=ArmPlan(version="3", share=1_000),
    shadows=(ShadowPlan(version="4", sampling=2_500),), salt="t", deadline_ms=90,
)  # fmt: skip
WANTED = WantedRouting(live="1", digest=A, plan=PLAN)


def test_everything_that_is_wanted_and_up_is_asked() -> None:
    """Arms, shares, shadows, salt and deadline come from the plan; epoch and term rise."""
    apps = _apps("m", WANTED, {"2": B, "3": C, "4": D})
    found = routing_wanted(NOW, WANTED, apps, term=5)

    canary = Challenger(arm="canary", app="m.canary.2", version="2", digest=B, mode="canary", share=500)
    ab = Challenger(arm="ab", app="m.ab.3", version="3", digest=C, mode="ab", share=1_000)
    shadow = Shadow(app="m.shadow.4", version="4", digest=D, sampling=2_500)
    expected = replace(
        NOW, epoch=8, term=5, salt="t", deadline_ms=90, challengers=(canary, ab), shadows=(shadow,)
    )  # fmt: skip
    assert expected == found


def test_what_is_not_up_or_not_known_is_left_out() -> None:
    """A version whose bundle is not known yet gets no application, one that is not up no entity."""
    known = _apps("m", WANTED, {"2": B})

    assert ["m.canary.2"] == [app.app for app in known]
    assert () == routing_wanted(NOW, WANTED, [], term=2).challengers


def test_the_version_that_was_live_stays_loaded() -> None:
    """A swap keeps what it replaces as the previous version, and nothing wanted changes nothing."""
    swapped = routing_wanted(NOW, WantedRouting(live="2", digest=B, plan=RoutingPlan()), [], term=2)
    same = routing_wanted(NOW, WantedRouting(live="1", digest=A, plan=RoutingPlan()), [], term=2)

    assert (Target(version="2", digest=B), NOW.live) == (swapped.live, swapped.previous)
    assert (NOW.live, None) == (same.live, same.previous)


def test_what_was_written_and_not_confirmed_is_not_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """When asking the replicas fails, the next turn asks again; what they have confirmed is not written again."""
    serve = ServeWorld(monkeypatch, Target(version="1", digest=A))
    traffic = traffic_of(tmp_path)
    wanted = WantedRouting(live="2", digest=B, plan=RoutingPlan())
    serve.controller_away = True
    for _ in range(2):
        with pytest.raises(RuntimeError, match="controller is away"):
            traffic.converge(wanted, {}, term=1)
    serve.controller_away = False
    ready = traffic.converge(wanted, {}, term=1).ready
    confirmed = serve.confirmed

    assert ("2", True) == (confirmed.live.version, ready)
    assert traffic.converge(wanted, {}, term=1).ready
    assert confirmed == serve.routing
