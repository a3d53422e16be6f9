"""Command that copies a committed run into a database or an Iceberg table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["publish_command"]


def publish_command(
    run: Annotated[Path, typer.Argument(help="Folder of a committed run.")],
    to: Annotated[str, typer.Option(help="postgresql://user@host/db, sqlite:////path/file.db or iceberg:")],
    table: Annotated[str | None, typer.Option(help="Where rows go. Default: the model's name.")] = None,
    supersedes: Annotated[
        list[str] | None, typer.Option(help="Run id whose rows this run replaces; repeat it.")
    ] = None,
) -> None:
    """Copy a committed run into PostgreSQL, SQLite or an Iceberg table: once, whole, or not at all."""
    from rich.console import Console

    from twinscore.batch.publish import publish_run
    from twinscore.batch.read import open_run
    from twinscore.settings import load_settings
    from twinscore.wiring import prediction_sink

    console = Console()
    sink = prediction_sink(load_settings(), to, table)
    published = publish_run(open_run(run), sink, supersedes=tuple(supersedes or ()))
    if published.already_there:
        console.print(f"Run {published.run_id} was in {published.where} before; nothing was written.", soft_wrap=True)
        return
    gone = f", {published.replaced:,} rows of earlier runs are gone" if published.replaced else ""
    console.print(f"[green]Published[/] {published.rows:,} rows to {published.where}{gone}", soft_wrap=True)
