"""Commands of shadows: how a candidate compares with the live version; parses, calls and prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["shadow_app"]

shadow_app = typer.Typer(help="How a candidate compares with the live version.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@shadow_app.callback()
def _shadow() -> None:
    """Keep `report` a command of its own."""


@shadow_app.command("report")
def report_command(
    model: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="The candidate: a version, or @ALIAS.")],
    since: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Answers from then on; UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Answers before then; UTC.")] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Score the window with the candidate now, instead of reading its shadow.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="The live version to compare with. Default: who answered most.")
    ] = None,
    segment: Annotated[
        list[str] | None, typer.Option(help="Column to divide the rows by, beside the groups; repeat it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the report. Default: comparisons/ in the lake.")
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> None:
    """Compare scores, decisions, latency and cost of a candidate and the live version on the same requests."""
    import json

    from rich.console import Console

    from twinscore import api

    made = api.shadow_report(
        model, version, since=since, until=until, replay=replay, against=against, segments=segment or (), output=output
    )
    if json_:
        typer.echo(json.dumps(made.report, indent=1, ensure_ascii=False, default=str))
    else:
        _print(Console(), made.report)
        Console().print(f"The page: {made.page}", markup=False, highlight=False, soft_wrap=True)
    if show:
        typer.launch(made.page.as_uri())


def _print(console: Console, report: dict[str, Any]) -> None:
    from rich.markup import escape

    from twinscore.comparison.page import in_words
    from twinscore.page.words import count, percent

    live, candidate = report["live"], report["candidate"]
    console.print(
        f"[bold]{escape(str(report['facts']['model']))}[/]: version {escape(candidate['version'])} beside "
        f"{escape(live['version'])}",
        highlight=False,
    )
    console.print(escape(in_words(report)), highlight=False, soft_wrap=True)
    for one in (report["decisions"] or {}).get("matrix", ()):
        console.print(
            f"  {escape(one['live'])} -> {escape(one['candidate'])}: {count(one['rows'])} rows, "
            f"{percent(one['share']['value'])}",
            highlight=False,
        )
    for what, why in report["facts"]["left_out"].items():
        console.print(f"Left out: {what}: {why}", markup=False, highlight=False, soft_wrap=True, style="yellow")
