"""Command of the batch path: score Parquet in bulk, with live progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich.console import Console

    from twinscore.batch.progress import ProgressCallback
    from twinscore.batch.report import RunReport

__all__ = ["score_command"]

_STEPS = {
    "resolve": "Resolving the version",
    "snapshot": "Reading footers",
    "keys": "Looking for repeated keys",
    "start": "Starting workers",
    "score": "Scoring",
    "commit": "Committing",
    "done": "Done",
}
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
) -> None:
    """Score Parquet in bulk: on the stack when it is up, else on a Ray of this command's own."""
    from rich.console import Console

    from twinscore.batch.run import run_batch
    from twinscore.batch.spec import QuarantineLimit, ScoreSpec
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
    with _progress(console) as show, connect(settings):
        report = run_batch(settings, spec, progress=show)
    _print_report(console, report)


def _progress(console: Console) -> AbstractContextManager[ProgressCallback]:
    """Show a run: as a live bar at a terminal, else as one line per step."""
    from contextlib import contextmanager

    from twinscore.batch.progress import Progress

    @contextmanager
    def lines() -> Iterator[ProgressCallback]:
        seen: set[str] = set()

        def show(event: Progress) -> None:
            if event.step not in seen:
                seen.add(event.step)
                console.print(f"{_STEPS.get(event.step, event.step)} {event.detail}".rstrip(), highlight=False)

        yield show

    @contextmanager
    def live() -> Iterator[ProgressCallback]:
        from rich import progress

        bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[counts]}"),
            progress.TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        with bar:
            task = bar.add_task("Connecting to Ray", total=None, counts="")

            def show(event: Progress) -> None:
                counts = f"{event.rows_done:,} of {event.rows_total:,} rows" if event.rows_total else event.detail
                if event.rows_per_s:
                    counts += f", {event.rows_per_s:,.0f} rows/s"
                if event.rows_quarantined:
                    counts += f", {event.rows_quarantined:,} in quarantine"
                bar.update(
                    task,
                    description=_STEPS.get(event.step, event.step),
                    completed=event.rows_done,
                    total=event.rows_total or None,
                    counts=counts,
                )

            yield show

    return live() if console.is_terminal else lines()


def _print_report(console: Console, report: RunReport) -> None:
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
    console.print(f"  {report.folder}", markup=False, highlight=False, soft_wrap=True)
