"""The command of arms and shadows: who is asked beside the live version, and going back; parses, calls and prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from twinscore.rollout.plan import RoutingPlan
    from twinscore.settings import Settings

__all__ = ["route_command"]


def route_command(
    model: Annotated[str, typer.Option(help="A served model.")],
    file: Annotated[Path | None, typer.Option(help="YAML with a whole plan, as under `routing:` of a spec.")] = None,
    canary: Annotated[str, typer.Option(help="Version, or @ALIAS, that answers a share of the entities.")] = "",
    ab: Annotated[str, typer.Option(help="Version, or @ALIAS, of the A/B arm.")] = "",
    share: Annotated[str, typer.Option(help="Share of --canary or --ab, such as 5%.")] = "",
    shadow: Annotated[str, typer.Option(help="Version, or @ALIAS, that is asked beside, answering nobody.")] = "",
    sampling: Annotated[str, typer.Option(help="For how many of the entities --shadow is asked.")] = "100%",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="End every challenger and shadow.")] = False,
) -> None:
    """Show or change who is asked beside a model's live version."""
    from rich.console import Console

    from twinscore.control.orders import controlled
    from twinscore.online.beside import apply_plan
    from twinscore.online.routes import roll_back
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    asked_for = [name for name, given in (("--file", file), ("--rollback", rollback), ("--clear", clear)) if given]
    asked_for += ["--canary, --ab or --shadow"] if canary or ab or shadow else []
    if len(asked_for) > 1:
        message = f"{' and '.join(asked_for)} cannot be asked for together."
        raise typer.BadParameter(message)
    console = Console()
    settings = load_settings()
    with connect(settings, need_stack=True):
        if rollback:
            applied = roll_back(settings, model)
        elif asked_for:
            plan = _plan(model, file, clear=clear, canary=canary, ab=ab, share=share, shadow=shadow, sampling=sampling)
            applied = apply_plan(settings, model, plan)
        if asked_for and controlled(model):
            console.print("The control follows this model and makes its routing what promotion wants, within seconds.")
        if asked_for:
            console.print(f"In force on {applied.replicas} replicas after {applied.seconds:.1f} s.")
        _show(console, settings, model)


def _plan(
    model: str, file: Path | None, *, clear: bool, canary: str, ab: str, share: str, shadow: str, sampling: str
) -> RoutingPlan:
    from twinscore.online.beside import plan_of
    from twinscore.online.routes import current_routing
    from twinscore.rollout.plan import ArmPlan, RoutingPlan, ShadowPlan, as_share, load_plan

    if file is not None:
        return load_plan(file)
    if clear:
        return RoutingPlan()
    current = current_routing(model)
    plan = RoutingPlan() if current is None else plan_of(current)
    if (canary or ab) and not share:
        raise typer.BadParameter("Say the share, such as --share 5%.")  # noqa: EM101 - typer prints it
    if canary:
        plan = replace(plan, canary=ArmPlan(version=canary, share=as_share(share)))
    if ab:
        plan = replace(plan, ab=ArmPlan(version=ab, share=as_share(share)))
    if shadow:
        others = tuple([one for one in plan.shadows if one.version != shadow])
        plan = replace(plan, shadows=(*others, ShadowPlan(version=shadow, sampling=as_share(sampling))))
    return plan


def _show(console: Console, settings: Settings, model: str) -> None:
    from rich.markup import escape

    from twinscore.errors import ModelNotReady
    from twinscore.online.deploy import endpoint_url
    from twinscore.online.routes import current_routing, replica_states
    from twinscore.rollout.plan import show_share

    routing = current_routing(model)
    if routing is None:
        message = f"{model} is not served; run `twinscore serve --model {model}`."
        raise ModelNotReady(message, model=model)
    states = list(replica_states(model).values())
    console.print(f"{escape(model)}: version [bold]{escape(routing.live.version)}[/] is live, epoch {routing.epoch}")
    over_grpc = "" if settings.grpc_target is None else f", and over gRPC at {settings.grpc_target}"
    console.print(f"  asked at   {escape(endpoint_url(settings, model))}{over_grpc}", highlight=False, soft_wrap=True)
    if routing.previous is not None:
        console.print(f"  kept warm  version {escape(routing.previous.version)}")
    for arm in routing.challengers:
        counts = [state["challengers"].get(arm.arm, {}) for state in states]
        failed = sum(sum(one.get("rows_failed", {}).values()) for one in counts)
        answered = sum(one.get("rows_answered", 0) for one in counts)
        console.print(
            f"  {escape(arm.arm):10} version {escape(arm.version)}, {show_share(arm.share)} of the entities,"
            f" {answered:,} rows answered, {failed:,} stood in for"
        )
    for shadow in routing.shadows:
        counts = [state["shadows"].get(shadow.app, {}) for state in states]
        total = {
            name: sum(one.get(name, 0) for one in counts)
            for name in ("compared", "decisions_differ", "dropped", "failed")
        }
        console.print(
            f"  shadow     version {escape(shadow.version)}, {show_share(shadow.sampling)} of the entities,"
            f" {total['compared']:,} rows compared, {total['decisions_differ']:,} decisions differ,"
            f" {total['dropped']:,} dropped, {total['failed']:,} failed"
        )
