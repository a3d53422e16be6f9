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
    model: Annotated[
        str | None, typer.Option(help="Name of a model: what was counted of it, and its newest figures.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show when models were looked at, when they will be next, or why not; and what was counted of one so far."""
    import json
    from dataclasses import asdict

    from twinscore.batch.watch_status import watch_status
    from twinscore.clock import SystemClock
    from twinscore.control.watch_record import read_record, told
    from twinscore.settings import load_settings

    settings = load_settings()
    record = read_record(settings.home)
    if json_:
        found = {} if model is None else watch_status(settings, model).to_plain()
        typer.echo(json.dumps({**found, "watching": None if record is None else asdict(record)}))
        return
    for line in told(record, SystemClock().now(), model):
        typer.echo(line)
    if model is None:
        return
    counted = watch_status(settings, model)
    typer.echo(f"{counted.sources} sources, {counted.rows:,} scored rows, {counted.windows} closed windows")
    for one in counted.newest:
        value = "not known" if one.value is None else f"{one.value:.6g}"
        subject = f" {one.subject}" if one.subject else ""
        note = f"  ({one.note})" if one.note else ""
        typer.echo(f"  {one.model}/{one.version} {one.role}  {one.metric}{subject}: {value}{note}")


def _shown(look: Look) -> str:
    windows = "no window changed" if not look.windows else f"{len(look.windows)} windows have new figures"
    return f"{look.counted} of {look.sources} sources counted, {look.rows:,} rows; {windows}"
