"""Commands for contracts: write a first one from data, hold data against one, build Data Docs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from rich.table import Table

    from twinscore.contract.aggregate import Aggregate
    from twinscore.contract.run_rules import RunResult

__all__ = ["check_command", "contract_app", "docs_command", "infer_command"]

contract_app = typer.Typer(help="Write, check and document data contracts.", no_args_is_help=True)

_SHOWN = 5

_Contract = Annotated[Path, typer.Option(help="The contract's YAML file.")]
_Data = Annotated[str, typer.Option(help="Parquet file, folder or glob.")]


@contract_app.command("infer")
def infer_command(
    data: _Data,
    key: Annotated[list[str], typer.Option(help="Column that identifies a row; repeat it for several.")],
    name: Annotated[
        str, typer.Option(help="Name of the contract, usually the model's. Default: the file's name.")
    ] = "",
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out, such as the label; repeat it.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the event time: kept without bounds.")] = None,
    output: Annotated[Path | None, typer.Option(help="YAML file to write. Default: print it.")] = None,
) -> None:
    """Write a first contract from data: conservative, to be read and edited."""
    from twinscore.contract.document import dumps_contract, save_contract
    from twinscore.contract.infer import infer_contract
    from twinscore.errors import SchemaMismatch, near

    table = _whole(data)
    out = set(drop or ())
    for column in sorted(out):
        if column not in table.column_names:
            message = f"{data} has no column {column!r} to drop. {near(column, table.column_names)}"
            raise SchemaMismatch(message, column=column, source=data)
    features = [column for column in table.column_names if column not in out and column not in key and column != time]
    found = infer_contract(table, name=name or Path(data).stem, key=key, features=features, time=time)
    if output is None:
        typer.echo(dumps_contract(found), nl=False)
        return
    save_contract(found, output)
    typer.echo(f"Wrote {output}: {len(found.columns)} columns, {len(found.expectations)} expectations.")


@contract_app.command("check")
def check_command(contract: _Contract, data: _Data) -> None:
    """Hold data against a contract; exit code 1 when a row or the whole breaks it."""
    from rich.console import Console

    from twinscore.contract.compile import compile_contract
    from twinscore.contract.document import load_contract
    from twinscore.errors import InputEmpty

    checker = compile_contract(load_contract(contract))
    whole: Aggregate | None = None
    examples: dict[str, list[str]] = {}
    about: dict[str, tuple[str, str]] = {}
    for path, table in _tables(data):
        conformed = checker.conform(table, source=f"The file {path}")
        verdict = checker.check(conformed)
        part = checker.aggregate(conformed, verdict, columns=table.column_names)
        whole = part if whole is None else whole.merge(part)
        _collect(verdict.faults, path, examples, about)
    if whole is None or whole.n_rows == 0:
        message = f"{data} has no rows; there is nothing to check, and that is not a pass."
        raise InputEmpty(message, source=data)
    answers = checker.judge(whole)
    console = Console()
    if whole.faults:
        console.print(_row_table(whole, examples, about))
    if answers:
        console.print(_run_table(answers))
    failed = [answer for answer in answers if not answer.success and answer.severity == "critical"]
    n_refused = whole.n_rows - whole.n_accepted
    console.print(
        f"{whole.n_rows:,} rows: {whole.n_accepted:,} accepted, {n_refused:,} refused, "
        f"{whole.n_flagged:,} flagged by a warning; {len(failed)} rules about the whole broken."
    )
    if n_refused or failed:
        raise typer.Exit(1)
    console.print("[green]The data keeps the contract.[/]")


@contract_app.command("docs")
def docs_command(
    contract: _Contract,
    data: _Data,
    output: Annotated[Path, typer.Option(help="Folder to write the pages to.")],
) -> None:
    """Build Great Expectations' Data Docs of a contract and data."""
    from rich.console import Console

    from twinscore.contract.compile import compile_contract
    from twinscore.contract.datadocs import build_data_docs
    from twinscore.contract.document import load_contract

    loaded = load_contract(contract)
    table = compile_contract(loaded).conform(_whole(data), source=f"The data {data}")
    console = Console()
    with console.status("Great Expectations is validating ..."):
        index = build_data_docs(loaded, table, output)
    console.print(f"Open {index} in a browser.", highlight=False, soft_wrap=True)


def _tables(data: str) -> Iterator[tuple[Path, pa.Table]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from twinscore.batch.snapshot import find_files, read_footer
    from twinscore.errors import FileUnreadable

    for path in find_files(data):
        read_footer(path)  # says what is wrong with a file that is not Parquet
        try:
            table = pq.ParquetFile(path).read()
        except (pa.ArrowException, OSError) as error:
            message = f"{path} cannot be read: {str(error).splitlines()[0].rstrip('.')}. Write the file again."
            raise FileUnreadable(message, path=str(path)) from error
        yield path, table


def _whole(data: str) -> pa.Table:
    import pyarrow as pa

    from twinscore.errors import SchemaMismatch

    tables = list(_tables(data))
    try:
        return pa.concat_tables([table for _, table in tables])
    except pa.ArrowInvalid as error:
        message = (
            f"The files of {data} have different columns or types: {str(error).splitlines()[0]}. Write them alike."
        )
        raise SchemaMismatch(message, source=data) from error


def _collect(faults: pa.Table, path: Path, examples: dict[str, list[str]], about: dict[str, tuple[str, str]]) -> None:
    """Keep the first few faults of each rule; the counts are the aggregate's."""
    import pyarrow.compute as pc

    for rule in pc.unique(faults["rule"]).to_pylist():
        mine = faults.filter(pc.equal(faults["rule"], rule))
        kept = examples.setdefault(rule, [])
        for row in mine.slice(0, _SHOWN - len(kept)).to_pylist():
            about.setdefault(rule, (row["expected"], row["severity"]))
            kept.append(f"{path.name} row {row['row']}: {row['value']}")


def _row_table(whole: Aggregate, examples: dict[str, list[str]], about: dict[str, tuple[str, str]]) -> Table:
    from rich.markup import escape

    table = _table("Rows", "rule", "expected", "severity", "rows", f"examples (at most {_SHOWN})")
    for rule, count in sorted(whole.faults.items(), key=lambda item: (-item[1], item[0])):
        expected, severity = about.get(rule, ("", ""))
        colour = "red" if severity == "critical" else "yellow"
        shown = escape("\n".join(examples.get(rule, [])))
        table.add_row(escape(rule), escape(expected), f"[{colour}]{severity}[/]", f"{count:,}", shown)
    return table


def _run_table(answers: list[RunResult]) -> Table:
    from rich.markup import escape

    table = _table("The whole", "rule", "expected", "observed", "answer")
    for answer in answers:
        kept = "[green]kept[/]" if answer.success else "[red]broken[/]"
        table.add_row(escape(answer.rule), escape(answer.expected), escape(answer.observed), kept)
    return table


def _table(title: str, *names: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")  # a name that is cut off cannot be looked up
    return table
