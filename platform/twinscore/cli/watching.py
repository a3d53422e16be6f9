"""Commands that count what is new of a model, and show what was counted; each parses, calls and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twinscore.batch.watch import Look

__all__ = ["run_command", "status_command"]


def run_command(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    spec: Annotated[
        Path | None, typer.Option(help="Deployment file that says what is watched. Default: deployments/MODEL.yaml.")
    ] = None,
    every: Annotated[
        str | None, typer.Option(help="Look again after so long, such as 5m, until stopped.", show_default=False)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON lines and nothing else.")] = False,
) -> None:
    """Count what is new of a model's audit log and runs, and make the figures of closed windows."""
    import json

    from twinscore import api
    from twinscore.monitoring.spec import period

    def told(look: Look) -> None:
        typer.echo(json.dumps(look.to_plain()) if json_ else _shown(look))
        for reason in () if json_ else look.waiting:
            typer.echo(f"  waiting: {reason}", err=True)

    beside = Path("deployments") / f"{model}.yaml"
    chosen = spec or (beside if beside.is_file() else None)
    api.watch(model, chosen, every=None if every is None else period(every, "--every"), on_look=told)


def status_command(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show what was counted of a model so far, and its newest figures."""
    import json

    from twinscore.batch.watch_status import watch_status
    from twinscore.settings import load_settings

    found = watch_status(load_settings(), model)
    if json_:
        typer.echo(json.dumps(found.to_plain()))
        return
    typer.echo(f"{found.sources} sources, {found.rows:,} scored rows, {found.windows} closed windows")
    for one in found.newest:
        value = "not known" if one.value is None else f"{one.value:.6g}"
        subject = f" {one.subject}" if one.subject else ""
        note = f"  ({one.note})" if one.note else ""
        typer.echo(f"  {one.model}/{one.version} {one.role}  {one.metric}{subject}: {value}{note}")


def _shown(look: Look) -> str:
    windows = "no window changed" if not look.windows else f"{len(look.windows)} windows have new figures"
    return f"{look.counted} of {look.sources} sources counted, {look.rows:,} rows; {windows}"
