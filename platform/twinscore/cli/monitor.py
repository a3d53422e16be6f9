"""Commands of monitoring."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinscore.cli.incidents import (
    audits_command,
    export_command,
    incidents_command,
    orders_command,
    retry_command,
    tickets_command,
)

__all__ = ["monitor_app"]

monitor_app = typer.Typer(help="What is watched of a model, and what alerts do.", no_args_is_help=True)


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


monitor_app.command("incidents")(incidents_command)
monitor_app.command("orders")(orders_command)
monitor_app.command("retry")(retry_command)
monitor_app.command("tickets")(tickets_command)
monitor_app.command("audits")(audits_command)
monitor_app.command("export")(export_command)
