"""Puts a plan into force: starts the applications it needs, routes to them, then ends those nobody asks any more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from twinscore.errors import ModelNotReady
from twinscore.online.challenger import ChallengerOptions, Deployed, app_name, deploy_challenger, remove_challenger
from twinscore.online.routes import Applied, apply_routing, current_routing
from twinscore.rollout.plan import ArmPlan, RoutingPlan
from twinscore.rollout.routing import Challenger, Routing, Shadow

if TYPE_CHECKING:
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

    def beside(version: str, role: Literal["canary", "ab", "shadow"]) -> Deployed:
        found = running.get(app_name(model, role, version))
        return found or deploy_challenger(settings, model, version, role, options=options)

    challengers = []
    modes: tuple[tuple[Literal["canary", "ab"], ArmPlan | None], ...] = (("canary", plan.canary), ("ab", plan.ab))
    for mode, arm in modes:
        if arm is not None:
            one = beside(arm.version, mode)
            challengers.append(
                Challenger(
                    arm=arm.arm or mode, app=one.app, version=one.version, digest=one.digest, mode=mode, share=arm.share
                )
            )
    shadows = []
    for shadow in plan.shadows:
        one = beside(shadow.version, "shadow")
        shadows.append(Shadow(app=one.app, version=one.version, digest=one.digest, sampling=shadow.sampling))
    wanted = replace(
        current,
        epoch=current.epoch + 1,
        challengers=tuple(challengers),
        shadows=tuple(shadows),
        salt=current.salt if plan.salt is None else plan.salt,
        entity=current.entity if plan.entity is None else plan.entity,
        deadline_ms=plan.deadline_ms,
        header_override=plan.header_override,
    )
    applied = apply_routing(settings, model, wanted)
    for app in running.keys() - {one.app for one in challengers} - {one.app for one in shadows}:
        remove_challenger(app)
    return applied


def plan_of(routing: Routing) -> RoutingPlan:
    """Return the plan that a routing follows, so that one part of it can be changed."""
    from twinscore.rollout.plan import ShadowPlan

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
    from ray import serve

    prefixes = tuple([app_name(model, role, "") for role in ("canary", "ab", "shadow")])
    for app in list(serve.status().applications):
        if app.startswith(prefixes):
            remove_challenger(app)
