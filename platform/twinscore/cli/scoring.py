"""Command of the batch path: score Parquet in bulk, with live progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from twinscore.batch.report import RunReport

__all__ = ["score_command"]

_SHOWN_RULES = 5


def score_command(
    model: Annotated[str, typer.Option(help="NAME@ALIAS, NAME/VERSION, or NAME for its champion.")],
    input: Annotated[str, typer.Option(help="Parquet file, folder or glob.")],  # noqa: A002 - the option's name
    output: Annotated[Path, typer.Option(help="Folder that the run becomes; it appears whole or not at all.")],
    key: Annotated[
        list[str] | None, typer.Option(help="Column that identifies a row; repeat it. Default: the contract's key.")
    ] = None,
    max_quarantine_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Most of the rows that may be refused.")
    ] = 0.1,
    log: Annotated[
        Literal["auto", "json"], typer.Option(help="json: one JSON object a line, for programs. auto: for people.")
    ] = "auto",
) -> None:
    """Score Parquet in bulk: on the stack when it is up, else on a Ray of this command's own."""
    from rich.console import Console

    from twinscore.batch.run import run_batch
    from twinscore.batch.spec import QuarantineLimit, ScoreSpec
    from twinscore.cli.live import show_progress, tell_committed
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    console = Console()
    settings = load_settings()
    # In a spec, relative paths lie in the lake; at a prompt they lie where the person is.
    spec = ScoreSpec(
        model=model,
        input=str(Path(input).expanduser().absolute()),
        output=str(output.expanduser().absolute()),
        key=tuple(key or ()),
        quarantine=QuarantineLimit(share=max_quarantine_share),
    )
    with show_progress(console, as_json=log == "json") as show, connect(settings):
        report = run_batch(settings, spec, progress=show)
    if log == "json":
        tell_committed(report)
    else:
        _print_report(console, report)


def _print_report(console: Console, report: RunReport) -> None:
    from twinscore.batch.report_files import REPORT_PAGE

    if report.already_committed:
        console.print("This very run was committed before; nothing was written now.")
    console.print(
        f"[green]Scored[/] {report.rows_scored:,} of {report.rows_in:,} rows with {report.model} version "
        f"{report.version} ({report.rows_per_s:,.0f} rows/s, {report.rows_quarantined:,} in quarantine)",
        highlight=False,
    )
    rules = sorted(report.manifest.get("rules", {}).items(), key=lambda item: (-item[1], item[0]))
    for rule, count in rules[:_SHOWN_RULES]:
        console.print(f"  {count:>10,}  {rule}", markup=False, highlight=False)
    if len(rules) > _SHOWN_RULES:
        console.print(f"  and {len(rules) - _SHOWN_RULES} more rules", highlight=False)
    page = report.folder / REPORT_PAGE
    if page.is_file():
        console.print(f"  The report: {page}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {report.folder}", markup=False, highlight=False, soft_wrap=True)
