"""Commands for what comes after a run: its outcomes, and its age; parses, calls and prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import timedelta

    from rich.console import Console

    from twinscore.batch.labels import Coverage

__all__ = ["freshness_command", "labels_command"]

_Run = Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def labels_command(
    run: _Run,
    labels: Annotated[str, typer.Option(help="Parquet with the outcomes: file, folder, glob or URI.")],
    column: Annotated[str, typer.Option(help="Column of the outcome.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help="Key column of the labels, in the run's order; repeat it. Default: its own."),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Column that says when each outcome was known.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Leave out outcomes that were known later; UTC.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Time column of the run that delays count from.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Join outcomes to a run: how many rows have one, and how good the scores were."""
    import json
    from dataclasses import asdict

    from rich.console import Console

    from twinscore import api

    coverage, metrics = api.labels(run, labels, column, key=key or (), at=at, as_of=as_of, since=since)
    if json_:
        typer.echo(json.dumps({**asdict(coverage), "share": coverage.share, "metrics": metrics}))
        return
    console = Console()
    _print_coverage(console, coverage)
    for name, value in metrics.items():
        if name != "n":
            console.print(f"  {name:<18} {value:.4g}", highlight=False)


def freshness_command(
    run: _Run,
    max_age: Annotated[str | None, typer.Option(help="Largest age: a number and s, m, h or d, such as 26h.")] = None,
    input: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="Where the input is now. Default: where the run read it.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(help="Column of the event time. Default: the model's, else modification times count.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Say whether a dataset is fresh against its input; exit code 1 when it is stale."""
    import json

    from rich.console import Console
    from rich.markup import escape

    from twinscore import api

    found = api.freshness(run, max_age, source=input, time=time)
    if json_:
        typer.echo(json.dumps(found.to_plain()))
    else:
        console = Console()
        colour = {"fresh": "green", "stale": "red"}.get(found.verdict, "yellow")
        console.print(f"[{colour}]{found.verdict}[/]: {escape(found.reason)}", highlight=False, soft_wrap=True)
        console.print(f"  run {found.run_id} looked at its input {_shown(found.run_age)} ago", highlight=False)
        if found.rows_now is not None:
            console.print(f"  {found.rows_then:,} rows in the input then, {found.rows_now:,} now", highlight=False)
        if found.newest_in_input is not None:
            then = found.newest_in_run.isoformat() if found.newest_in_run else "not known"
            there = found.newest_in_input.isoformat()
            console.print(f"  newest {found.newest_by}: {there} in the input, {then} in the run", highlight=False)
    if found.verdict == "stale":
        raise typer.Exit(1)


def _print_coverage(console: Console, coverage: Coverage) -> None:
    def show(line: str) -> None:
        console.print(line, highlight=False)

    show(f"{coverage.labelled:,} of {coverage.rows:,} scored rows have an outcome ({coverage.share:.1%})")
    for age, (reached, known) in coverage.by_age.items():
        show(f"  {known:>10,} of {reached:,} rows that are {age} old had theirs by then ({known / reached:.1%})")


def _shown(age: timedelta) -> str:
    return str(age).partition(".")[0]
