"""Commands for refused rows: look at them, bring them home; parses, calls and prints."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from rich.console import Console

    from twinscore.batch.quarantined import Look

__all__ = ["quarantine_app", "retry_command", "show_command"]

quarantine_app = typer.Typer(help="Look at the rows that a run refused, and bring them home.", no_args_is_help=True)

_Run = Annotated[Path, typer.Argument(help="Folder of the run.", show_default=False)]
_HIDDEN = {"shard", "severity"}
"""Columns that a terminal has no room for."""


class Format(StrEnum):
    """How lines are written."""

    table = "table"
    json = "json"
    csv = "csv"


@quarantine_app.command("show")
def show_command(
    run: _Run,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule: its id, or a part of it.")] = None,
    column: Annotated[str | None, typer.Option(help="Only rows with a fault in this column.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Most lines to show; 0 is all.")] = 20,
    format: Annotated[Format, typer.Option(help="How to write.")] = Format.table,  # noqa: A002 - the option's name
    all_: Annotated[bool, typer.Option("--all", help="Show rows that a retry brought home as well.")] = False,
) -> None:
    """Show which rows a run refused, and why: counts by rule, then lines."""
    from twinscore.batch.quarantined import look, quarantine_lines, refused_or_committed

    opened = refused_or_committed(run.expanduser().absolute())
    seen = look(opened, rule=rule, column=column, home=all_)
    lines = quarantine_lines(opened, rule=rule, column=column, home=all_, limit=limit)
    if format is Format.csv:
        _print_csv(lines)
    elif format is Format.json:
        _print_json(seen, lines)
    else:
        _print_table(seen, lines, refused=opened.manifest.get("refused"), folder=opened.folder)


@quarantine_app.command("retry")
def retry_command(
    run: _Run,
    input: Annotated[str, typer.Option(help="Parquet with the repaired rows: file, folder or glob.")],  # noqa: A002 - the option's name
    limit: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Most of the repaired rows that may be refused again.")
    ] = 1.0,
) -> None:
    """Score repaired rows with the run's own version, and add them to its dataset."""
    from rich.console import Console

    from twinscore import api

    report = api.retry(run, input, limit=limit)
    console = Console()
    if report.already_committed:
        console.print("These very rows were brought home before; nothing was written now.")
    console.print(
        f"[green]Brought home[/] {report.rows_scored:,} of {report.rows_in:,} rows with {report.model} version "
        f"{report.version} ({report.rows_quarantined:,} refused again)",
        highlight=False,
    )
    _print_counts(console, report.manifest["rules"])
    console.print(f"  linked run {report.run_id} in {report.folder}", markup=False, highlight=False, soft_wrap=True)


def _print_csv(lines: Iterator[pa.Table]) -> None:
    import io

    from pyarrow import csv

    for number, table in enumerate(lines):
        text = io.BytesIO()
        csv.write_csv(_plain(table), text, csv.WriteOptions(include_header=not number))
        typer.echo(text.getvalue().decode(), nl=False)


def _print_json(seen: Look, lines: Iterator[pa.Table]) -> None:
    import json
    from dataclasses import asdict

    rows: list[dict[str, Any]] = [row for table in lines for row in table.to_pylist()]
    typer.echo(json.dumps({**asdict(seen), "lines": rows}, default=str, ensure_ascii=False, indent=1))


def _print_table(seen: Look, lines: Iterator[pa.Table], *, refused: str | None, folder: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if refused:
        console.print(f"This run was refused: {refused}", markup=False, highlight=False, soft_wrap=True)
    home = f"; {seen.rows_home:,} came home" if seen.rows_home else ""
    console.print(f"{seen.rows:,} rows in the quarantine of run {seen.run_id}{home}", highlight=False, soft_wrap=True)
    _print_counts(console, seen.rules)
    if seen.files:
        what = "1 file was" if len(seen.files) == 1 else f"{len(seen.files):,} files were"
        console.print(f"{what} set aside whole; the rows are in no count", highlight=False)
    for file in seen.files:
        rows = "rows unknown" if file["rows"] is None else f"{file['rows']:,} rows"
        told = f"  {file['path']} ({file['bytes']:,} bytes, {rows}): {file['reason']}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    shown: Table | None = None
    count = 0
    for table in lines:
        names = [name for name in table.column_names if name not in _HIDDEN]
        if shown is None:
            shown = Table()
            for name in names:
                shown.add_column(name, overflow="fold")  # a name that is cut off cannot be looked up
        for row in _plain(table).select(names).to_pylist():
            shown.add_row(*("" if value is None else escape(str(value)) for value in row.values()))
        count += table.num_rows
    if shown is not None:
        console.print(shown)
        console.print(f"{count:,} lines, one per reason; {folder}", markup=False, highlight=False, soft_wrap=True)


def _print_counts(console: Console, rules: dict[str, int]) -> None:
    for rule, count in rules.items():
        console.print(f"  {count:>10,}  {rule}", markup=False, highlight=False)


def _plain(table: pa.Table) -> pa.Table:
    """Return the table with dictionaries written out: CSV knows none."""
    import pyarrow as pa

    fields = [
        pa.field(item.name, item.type.value_type if pa.types.is_dictionary(item.type) else item.type)
        for item in table.schema
    ]
    return table.cast(pa.schema(fields))
