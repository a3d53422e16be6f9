"""Puts a plan into force: starts the applications it needs, routes to them, then ends those nobody asks any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.errors import ModelNotReady
from twinscore.online.challenger import (
    ChallengerOptions,
    Deployed,
    app_name,
    challenger_apps,
    deploy_challenger,
    remove_challenger,
)
from twinscore.online.routes import Applied, apply_routing, current_routing
from twinscore.rollout.plan import ArmPlan, RoutingPlan, ShadowPlan, routed

if TYPE_CHECKING:
    from twinscore.rollout.plan import Role
    from twinscore.rollout.routing import Routing
    from twinscore.settings import Settings

__all__ = ["apply_plan", "plan_of", "remove_all_beside"]


def apply_plan(
    settings: Settings, model: str, plan: RoutingPlan, *, options: ChallengerOptions | None = None
) -> Applied:
    """Ask the versions of a plan beside the live one, and no others; returns once every replica does.

    Args:
        settings: where the registry, the bundle store and Serve are.
        model: a served model.
        plan: who shall be asked; an empty plan ends every challenger and shadow.
        options: how applications that are started are run.

    Raises:
        ModelNotReady: the model is not served, or a version does not start.
        ModelNotFound: the registry knows no such version.
        SchemaMismatch: a version reads other columns than the live one.
    """
    current = current_routing(model)
    if current is None:
        message = f"{model} is not served; run `twinscore serve --model {model}`."
        raise ModelNotReady(message, model=model)
    running = {one.app: Deployed(one.app, one.version, one.digest) for one in current.beside}

    def up(role: Role, version: str) -> Deployed:
        found = running.get(app_name(model, role, version))
        return found or deploy_challenger(settings, model, version, role, options=options)

    wanted = routed(current, plan, up)
    applied = apply_routing(settings, model, wanted)
    for app in running.keys() - {one.app for one in wanted.beside}:
        remove_challenger(app)
    return applied


def plan_of(routing: Routing) -> RoutingPlan:
    """Return the plan that a routing follows, so that one part of it can be changed."""
    arms = {one.mode: ArmPlan(version=one.version, share=one.share, arm=one.arm) for one in routing.challengers}
    return RoutingPlan(
        canary=arms.get("canary"),
        ab=arms.get("ab"),
        shadows=tuple([ShadowPlan(version=one.version, sampling=one.sampling) for one in routing.shadows]),
        deadline_ms=routing.deadline_ms,
        header_override=routing.header_override,
    )


def remove_all_beside(model: str) -> None:
    """End every challenger and shadow of a model that is no longer served."""
    for app in challenger_apps(model):
        remove_challenger(app)
