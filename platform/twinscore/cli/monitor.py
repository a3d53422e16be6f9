"""Commands of monitoring."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from twinscore.cli.incidents import (
    audits_command,
    dismiss_command,
    export_command,
    incidents_command,
    orders_command,
    retry_command,
    tickets_command,
)
from twinscore.cli.watching import run_command, status_command

__all__ = ["monitor_app"]

monitor_app = typer.Typer(help="What is watched of a model, and what alerts do.", no_args_is_help=True)
monitor_app.command("run")(run_command)
monitor_app.command("status")(status_command)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@monitor_app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(help="A deployment file, such as deployments/loans.yaml.")],
) -> None:
    """Read the alert rules of a deployment file strictly, and show them as they will be judged."""
    from twinscore.monitoring.playbook import rules_of
    from twinscore.online.spec import load_serve_spec

    rules = rules_of(load_serve_spec(file).monitor)
    for rule in rules:
        does = "nothing (dry run)" if rule.dry_run else ", ".join([wish.action for wish in rule.do]) or "nothing"
        typer.echo(f"{rule.name}: {rule.says}; {rule.severity}; does {does}")
    typer.echo(f"{len(rules)} rules are sound.", err=True)


@monitor_app.command("playbook")
def playbook_command() -> None:
    """Print the playbook: what each metric is for, what to do first, and its default rule (Markdown)."""
    from twinscore.monitoring.playbook_page import playbook_page

    typer.echo(playbook_page(), nl=False)


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


monitor_app.command("incidents")(incidents_command)
monitor_app.command("dismiss")(dismiss_command)
monitor_app.command("orders")(orders_command)
monitor_app.command("retry")(retry_command)
monitor_app.command("tickets")(tickets_command)
monitor_app.command("audits")(audits_command)
monitor_app.command("export")(export_command)
