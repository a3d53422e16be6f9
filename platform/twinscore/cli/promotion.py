"""Commands of promotion: what people ask of the control, how it stands, and starting and ending it."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = [
    "abort_command",
    "approve_command",
    "control_app",
    "pause_command",
    "promote_command",
    "resume_command",
    "rollback_command",
    "rollout_app",
]

rollout_app = typer.Typer(help="How promotion stands.", no_args_is_help=True)
control_app = typer.Typer(help="Start and end the part that follows the registry.", no_args_is_help=True)

_TAKEN_S = 30.0
_Model = Annotated[str, typer.Option(help="The registered model.")]
_Reason = Annotated[str, typer.Option(help="Why; it is kept in the ledger.")]
_By = Annotated[str, typer.Option("--by", help="Who asks; default: you, as this machine knows you.")]


def promote_command(
    model: _Model,
    version: Annotated[str, typer.Option(help="Number of the version that shall go live.")],
    reason: _Reason = "",
    by: _By = "",
    immediate: Annotated[
        bool, typer.Option("--immediate", help="Without the stages, for emergencies; recorded as such.")
    ] = False,
) -> None:
    """Ask for a version to go live under the model's policy, as moving @champion in the registry does."""
    _ask(model, "promote", by, reason, version=version, immediate=immediate)


def rollback_command(
    model: _Model,
    version: Annotated[str, typer.Option(help="A version that was live before; default: the one before.")] = "",
    reason: _Reason = "",
    by: _By = "",
) -> None:
    """Go back to a version that was live before, at once; needs no registry."""
    _ask(model, "rollback", by, reason, version=version)


def abort_command(model: _Model, reason: _Reason = "", by: _By = "") -> None:
    """End the rollout that is on its way; what was live answers everything again."""
    _ask(model, "abort", by, reason)


def pause_command(model: _Model, reason: _Reason = "", by: _By = "") -> None:
    """Let nothing of a model go forward until somebody resumes it; gates may still roll back."""
    _ask(model, "pause", by, reason)


def resume_command(model: _Model, reason: _Reason = "", by: _By = "") -> None:
    """Let a paused model go on."""
    _ask(model, "resume", by, reason)


def approve_command(
    model: _Model,
    version: Annotated[str, typer.Option(help="The version that is approved, so that no other one is.")] = "",
    reason: _Reason = "",
    by: _By = "",
) -> None:
    """Say yes to the version that waits for an approval."""
    _ask(model, "approve", by, reason, version=version)


@rollout_app.command("status")
def status_command(
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show stage, share, evidence against each gate, what is next, and why it waits."""
    import json

    from rich.console import Console

    from twinscore.control.status import overview, standing
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        found = overview(store)["models"] if not model else [standing(store, model)]
    if as_json:
        typer.echo(json.dumps(found if not model else found[0], indent=2))
        return
    console = Console()
    if not found:
        console.print("Promotion knows no model yet; one is known once it was served while the control ran.")
    for one in found:
        _show(console, one)


@control_app.command("start")
def start_command() -> None:
    """Start the control on the running stack; one that runs goes on."""
    from rich.console import Console

    from twinscore.control.app import PREFIX, start_control
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    settings = load_settings()
    with connect(settings, need_stack=True):
        start_control(settings, wait=True)
    scheme = "http" if settings.tls_certificate is None else "https"
    Console().print(f"The control follows the registry; see {scheme}://{settings.host}:{settings.serve_port}{PREFIX}/")


@control_app.command("stop")
def stop_command() -> None:
    """End the control; what is live stays as it is, and aliases move nothing any more."""
    from rich.console import Console

    from twinscore.control.app import stop_control
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    with connect(load_settings(), need_stack=True):
        stop_control()
    Console().print("The control has ended; models go on as they are.")


@control_app.command("webhook")
def webhook_command(
    url: Annotated[str, typer.Option(help="Address of the control's webhook, as the registry's server reaches it.")],
) -> None:
    """Let the registry call when an alias moves; the control polls all the same, so nothing depends on it."""
    from rich.console import Console

    from twinscore.control.hints import make_webhook_secret
    from twinscore.settings import load_settings
    from twinscore.wiring import subscribe_to_aliases

    settings = load_settings()
    subscribe_to_aliases(settings, "twinscore", url, make_webhook_secret(settings))
    Console().print(f"The registry calls {url} when an alias moves.")


def _ask(model: str, name: Any, by: str, reason: str, **more: Any) -> None:
    """Leave a command for the control and say what became of it."""
    from rich.console import Console

    from twinscore.control.orders import leave, outcome_of
    from twinscore.rollout.seen import Command
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    command = Command(name=name, actor=by or _who(), reason=reason, **more)
    console = Console()
    with open_rollout_store(load_settings()) as store:
        order = leave(store, model, command)
        with console.status("Waiting for the control ..."):
            said = outcome_of(store, order, timeout_s=_TAKEN_S)
    if said is None:
        console.print(
            "It is kept, and the control has not acted on it yet: is it running? `twinscore control start` starts it."
        )
        raise typer.Exit(1)
    if said != "taken":
        console.print(said)
        raise typer.Exit(1)
    console.print(f"Taken. `twinscore rollout status --model {model}` shows how it goes.")


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this user
        return f"uid {os.getuid()}"


def _show(console: Console, one: Mapping[str, Any]) -> None:
    from rich.markup import escape

    live = f"version [bold]{escape(one['live'])}[/] is live" if one["live"] else "nothing is live"
    console.print(f"[bold]{escape(one['model'])}[/]: {live}")
    for name in ("previous", "challenger", "shadow", "paused_by", "waits", "trouble"):
        if one[name]:
            console.print(f"  {name.replace('_', ' '):11} {escape(str(one[name]))}")
    if one["settling"]:
        console.print(f"  asked for   version {escape(one['settling']['version'])} by {escape(one['settling']['by'])}")
    rollout = one["rollout"]
    if rollout:
        console.print(
            f"  on its way  version {escape(rollout['version'])}, {escape(rollout['stage'])}, {rollout['share']} of the"
            f" entities, {rollout['requests']:,} of {rollout['requests_wanted']:,} requests"
        )
        console.print(f"  waits       {escape(rollout['waits'] or 'for nothing')}")
        console.print(f"  next        {escape(rollout['next'])}")
        for gate in rollout["gates"]:
            sign = {"pass": "[green]pass[/]", "fail": "[red]fail[/]"}.get(gate["outcome"], "[yellow]open[/]")
            console.print(f"    {sign} {escape(gate['gate']):18} {escape(gate['words'])}")
    for version, why in one["refused"].items():
        console.print(f"  refused     version {escape(version)}: {escape(why)}")
