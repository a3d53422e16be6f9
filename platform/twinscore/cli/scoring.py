"""Command of the batch path: score Parquet in bulk, with live progress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from twinscore.batch.report import RunReport
    from twinscore.batch.spec import ScoreSpec

__all__ = ["score_command"]

_SHOWN_RULES = 5
_SHOWN_FILES = 10


def score_command(
    model: Annotated[
        str | None, typer.Option(help="NAME@ALIAS, NAME/VERSION, or NAME for its champion.", show_default=False)
    ] = None,
    input: Annotated[  # noqa: A002 - the option's name
        list[str] | None,
        typer.Option(help="Parquet file, folder, glob or URI such as s3://bucket/prefix; repeat it."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Folder that the run becomes; it appears whole or not at all.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Column that identifies a row; repeat it. Default: the contract's key.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="NAME=COLUMN where the files call a column of the contract otherwise; repeat it."),
    ] = None,
    filter: Annotated[  # noqa: A002 - the option's name
        list[str] | None, typer.Option(help="Condition such as '[country, in, [DE, FR]]'; repeat it: all must hold.")
    ] = None,
    max_quarantine_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Most of the rows that may be refused. Default: 0.1.")
    ] = None,
    max_quarantine_count: Annotated[int | None, typer.Option(min=0, help="Most rows that may be refused.")] = None,
    shard_rows: Annotated[int | None, typer.Option(min=1, help="Rows per shard, and so per output file.")] = None,
    empty: Annotated[
        str | None, typer.Option(help="fail or commit: what becomes of an input without a row. Default: fail.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again, whatever an earlier process left.")] = False,
    spec: Annotated[
        Path | None, typer.Option(help="YAML file; paths in it lie in the lake. Options win over it.")
    ] = None,
    set: Annotated[  # noqa: A002 - the option's name
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Any key of the spec; wins over all; repeat it.")
    ] = None,
    log: Annotated[
        Literal["auto", "json"], typer.Option(help="json: one JSON object a line, for programs. auto: for people.")
    ] = "auto",
) -> None:
    """Score Parquet in bulk: on the stack when it is up, else on a Ray of this command's own."""
    from rich.console import Console

    from twinscore.batch.run import run_batch
    from twinscore.cli.live import show_progress, tell_committed
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    console = Console()
    settings = load_settings()
    given = {
        "model": model,
        "input": [_from_here(one) for one in input] if input else None,
        "output": _from_here(output) if output else None,
        "key": key,
        "columns": column,
        "filter": filter,
        "quarantine": {"share": max_quarantine_share, "count": max_quarantine_count},
        "shard_rows": shard_rows,
        "empty": empty,
        "restart": restart or None,
    }
    lacking = [f"--{name}" for name in ("model", "input", "output") if not given[name]]
    if lacking and spec is None and not set:
        message = f"Missing {', '.join(lacking)}; give them, or a file with --spec."
        raise typer.BadParameter(message)
    asked = _spec(spec, given, set or [])
    with show_progress(console, as_json=log == "json") as show, connect(settings):
        report = run_batch(settings, asked, progress=show)
    if log == "json":
        tell_committed(report)
    else:
        _print_report(console, report)


def _from_here(location: str) -> str:
    """Return an absolute path: in a spec relative ones lie in the lake, at a prompt they lie where the person is."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def _spec(path: Path | None, given: Mapping[str, Any], changes: Sequence[str]) -> ScoreSpec:
    """Make a spec of a file, of the options over it, and of the changes over both."""
    from twinscore.batch.spec import read_score_spec
    from twinscore.document import changed, load_document

    source = str(path) if path else "The command"
    document = load_document(path) if path else {}
    for name, value in given.items():
        if name == "quarantine":
            limits = {limit: most for limit, most in value.items() if most is not None}
            before = document.get(name)
            if limits:
                document[name] = {**before, **limits} if isinstance(before, dict) else limits
        elif name == "columns" and value:
            changed(document, [f"columns.{one}" for one in value], source=source)
        elif name == "filter" and value:
            changed(document, [f"filter=[{', '.join(value)}]"], source=source)
        elif value:
            document[name] = value[0] if name == "input" and len(value) == 1 else value
    return read_score_spec(document, changes=changes, source=source)


def _print_report(console: Console, report: RunReport) -> None:
    from twinscore.batch.report_files import REPORT_PAGE

    if report.already_committed:
        console.print("This very run was committed before; nothing was written now.")
    console.print(
        f"[green]Scored[/] {report.rows_scored:,} of {report.rows_in:,} rows with {report.model} version "
        f"{report.version} ({report.rows_per_s:,.0f} rows/s, {report.rows_quarantined:,} in quarantine)",
        highlight=False,
    )
    filtered = int(report.manifest.get("rows_filtered", 0))
    if filtered:
        console.print(f"  {filtered:,} more rows of the input were left out by the filter", highlight=False)
    if report.files_quarantined:
        listed = report.manifest["input"]["set_aside"]
        what = "1 file was" if len(listed) == 1 else f"{len(listed):,} files were"
        console.print(f"  [yellow]{what} set aside:[/]", highlight=False)
        for file in listed[:_SHOWN_FILES]:
            console.print(f"    {file['name']}: {file['reason']}", markup=False, highlight=False, soft_wrap=True)
        if len(listed) > _SHOWN_FILES:
            console.print(f"    and {len(listed) - _SHOWN_FILES} more files", highlight=False)
    rules = sorted(report.manifest.get("rules", {}).items(), key=lambda item: (-item[1], item[0]))
    for rule, count in rules[:_SHOWN_RULES]:
        console.print(f"  {count:>10,}  {rule}", markup=False, highlight=False)
    if len(rules) > _SHOWN_RULES:
        console.print(f"  and {len(rules) - _SHOWN_RULES} more rules", highlight=False)
    page = report.folder / REPORT_PAGE
    if page.is_file():
        console.print(f"  The report: {page}", markup=False, highlight=False, soft_wrap=True)
    for table in report.published:
        before = ", where they were before" if table.already_there else ""
        console.print(f"  {table.rows:,} rows in {table.where}{before}", markup=False, highlight=False, soft_wrap=True)
    if report.cache is not None:
        console.print(f"  The cache: {report.cache}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"  {report.folder}", markup=False, highlight=False, soft_wrap=True)
