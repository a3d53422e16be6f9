"""Commands of monitoring; each parses, calls and prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["monitor_app"]

monitor_app = typer.Typer(help="What is watched of a model, and what alerts do.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@monitor_app.callback()
def _monitor() -> None:
    """Keep each command one of its own."""


@monitor_app.command("report")
def report_command(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    since: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Windows from then on; UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Windows before then; UTC.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the report. Default: monitoring/MODEL in the lake.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> None:
    """Say whether anything is wrong with a model, and write the page that shows it."""
    import json

    from rich.console import Console

    from twinscore import api

    made = api.monitor_report(model, since=since, until=until, output=output)
    if json_:
        typer.echo(json.dumps(made.report, indent=1, ensure_ascii=False))
    else:
        console = Console()
        console.print(made.report["headline"]["says"], markup=False, highlight=False, soft_wrap=True)
        console.print(f"The page: {made.page}", markup=False, highlight=False, soft_wrap=True)
    if show:
        typer.launch(made.page.as_uri())
