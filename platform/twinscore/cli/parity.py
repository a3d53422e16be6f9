"""Commands that compare both paths: on rows of yours, and on samples of what they did; parses, calls and prints."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from twinscore.monitoring.parity_report import CheckedPart, JoinedFeature

__all__ = ["parity_app"]

parity_app = typer.Typer(help="Compare both paths on the same rows.")

NOTHING_COMPARED = 5
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


@parity_app.callback(invoke_without_command=True)
def parity_command(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Option(help="The served model: NAME, NAME@ALIAS or NAME/VERSION.", show_default=False)
    ] = None,
    input: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="Parquet file, folder or glob.", show_default=False)
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Folder of a committed run: compare what it has on disk. Needs no model and no input."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to compare, from the start.")] = 10_000,
    url: Annotated[str | None, typer.Option(help="Address of the endpoint, when it is not this stack's.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the API key for that address.")] = None,
) -> None:
    """Compare both paths on the same rows; exit code 1 on any differing bit or verdict."""
    from rich.console import Console
    from rich.progress import Progress

    from twinscore import api

    if context.invoked_subcommand is not None:
        return
    if run is None and (model is None or input is None):
        raise typer.BadParameter("Give --model and --input, or --run FOLDER.")  # noqa: EM101 - typer prints it
    console = Console()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("Comparing rows", total=None)
        found = api.parity(
            model, input, rows, run=run, url=url, api_key=_key_in(key_file),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    report = found.report
    console.print(f"{found.model} version {found.version}, bundle {found.bundle_digest[:12]}")
    console.print(f"  rows           {found.n_rows:,} ({found.n_refused:,} refused by the batch path)")
    if found.n_by_key:
        console.print(f"  not asked      {found.n_by_key:,} more rows, which the run refused for their key alone")
    console.print(f"  requests       {found.n_requests:,} ({found.n_single:,} with one row) in {found.seconds:.1f} s")
    console.print(f"  differing bits {report.differing_bits:,} in {report.differing_rows:,} rows")
    console.print(f"  verdicts       {len(found.verdicts_differ):,} differ")
    if found.equal:
        console.print("[green]Both paths give the same bits.[/]")
        return
    if report.differing_rows:
        console.print(f"First difference: {report.first}", markup=False)
    if found.verdicts_differ:
        shown = ", ".join(str(position) for position in found.verdicts_differ[:5])
        console.print(f"Rows that only one path refused: {shown}")
    raise typer.Exit(1)


@parity_app.command("check")
def check_command(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    sample: Annotated[int, typer.Option(min=1, help="Rows of each direction, at most.")] = 1_000,
    since: Annotated[
        datetime | None, typer.Option(formats=_FORMATS, help="Answers from then on; UTC. Default: a day ago.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Answers before then; UTC.")] = None,
    direction: Annotated[
        Literal["online", "batch", "both"],
        typer.Option(help="Score answers again in batch, ask the endpoint for rows of the newest run, or both."),
    ] = "both",
    spec: Annotated[
        Path | None, typer.Option(help="The deployment file, such as deployments/loans.yaml, for joined features.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the endpoint, when it is not this stack's.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="File with the API key for that address.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print what was found as JSON and nothing else.")] = False,
) -> None:
    """Check both paths on samples of what they did; exit code 1 on a difference, 5 when nothing could be compared."""
    import json

    from rich.console import Console

    from twinscore import api

    found = api.check_parity(
        model, sample, since=since, until=until, direction=direction, spec=spec, url=url, api_key=_key_in(key_file)
    )
    if json_:
        typer.echo(json.dumps(found.to_plain(), indent=1, ensure_ascii=False, default=str))
    else:
        console = Console()
        for part in found.parts:
            _print_part(console, part)
        for feature in found.features:
            _print_feature(console, feature)
        for reason, count in found.left_out.items():
            console.print(f"Left out: {reason} ({count:,})", markup=False, highlight=False, soft_wrap=True)
        if found.checked and found.equal:
            console.print(f"[green]{found.checked:,} rows, and not a bit differs.[/]", highlight=False)
        elif not found.checked:
            console.print("Nothing could be compared.", style="yellow")
    if not found.equal:
        raise typer.Exit(1)
    if not found.checked:
        raise typer.Exit(NOTHING_COMPARED)


def _print_part(console: Console, part: CheckedPart) -> None:
    way = "answers scored again in batch" if part.direction == "online" else "rows of a run asked of the endpoint"
    told = f"Version {part.version} ({part.role}), {way}: {part.checked:,} rows, {part.differing:,} differ"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    if part.differing:
        columns = ", ".join(f"{name} in {rows:,}" for name, rows in part.columns.items())
        console.print(f"  {columns}; scores by up to {part.ulps:,} units", markup=False, highlight=False)
    if part.first is not None:
        console.print(f"  First: {part.first.words}", markup=False, highlight=False, soft_wrap=True)
    for reason, rows in part.left_out.items():
        console.print(f"  not compared: {reason} ({rows:,} rows)", markup=False, highlight=False, soft_wrap=True)


def _print_feature(console: Console, one: JoinedFeature) -> None:
    where = "as requests had it" if one.direction == "online" else "as requests would have it now"
    kinds = ", ".join(f"{kind} {rows:,}" for kind, rows in one.kinds.items()) or "none differs"
    console.print(f"Feature {one.feature}, {where}: {one.checked:,} rows, {kinds}", markup=False, highlight=False)
    if one.first:
        console.print(f"  First: {one.first}", markup=False, highlight=False, soft_wrap=True)


def _key_in(path: Path | None) -> str | None:
    if path is None:
        return None
    from twinscore.errors import SettingsInvalid

    try:
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key or not key.isprintable() or " " in key:
        message = f"The file {path} cannot be read, or holds no API key on its one line."
        raise SettingsInvalid(message, path=str(path))
    return key
