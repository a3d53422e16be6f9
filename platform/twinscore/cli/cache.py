"""Commands for what batch leaves to the online path: scores and features by key; parses, calls and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["build_command", "cache_app", "features_command", "list_command"]

cache_app = typer.Typer(help="Let batch answer online: scores and features by key.", no_args_is_help=True)


@cache_app.command("build")
def build_command(
    run: Annotated[Path, typer.Option(help="Folder of a committed run.", show_default=False)],
) -> None:
    """Make the file of scores that replicas of the run's version answer from; again after a retry."""
    from rich.console import Console

    from twinscore.batch.cache_files import build_score_cache
    from twinscore.cache.keyed_file import read_facts
    from twinscore.settings import load_settings

    path = build_score_cache(load_settings(), run.expanduser().absolute())
    facts = read_facts(path)
    console = Console()
    console.print(
        f"[green]Built[/] {facts['rows']:,} scores of {facts['model']} version {facts['version']}, "
        f"run {facts['run_id']} ({path.stat().st_size / 1e6:,.1f} MB)",
        highlight=False,
    )
    if facts["rows_without_key"]:
        console.print(f"  {facts['rows_without_key']:,} rows have no whole key and are left out", highlight=False)
    console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


@cache_app.command("list")
def list_command(
    model: Annotated[str, typer.Option(help="Name of the model.", show_default=False)],
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show the files of scores of a model, version by version, the one that answers first."""
    import json

    from rich.console import Console

    from twinscore.cache.catalog import all_score_files
    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings

    found = all_score_files(load_settings().lake.resolve(), model)
    now = SystemClock().now()
    lines = [
        {**one.facts, "path": str(one.path), "age_s": round((now - one.scored_at).total_seconds(), 1)} for one in found
    ]
    if json_:
        typer.echo(json.dumps(lines, indent=1))
        return
    console = Console()
    if not lines:
        console.print(f"There is no file of scores of {model}.", markup=False, highlight=False, soft_wrap=True)
    for line in lines:
        console.print(
            f"version {line['version']}  run {line['run_id']}  {line['rows']:>12,} rows  "
            f"{line['age_s'] / 3600:,.1f} h old  {line['path']}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


@cache_app.command("features")
def features_command(
    model: Annotated[str, typer.Option(help="NAME@ALIAS, NAME/VERSION, or NAME for its champion.", show_default=False)],
    table: Annotated[str, typer.Option(help="Parquet file or folder; a relative path lies in the lake.")],
    column: Annotated[list[str], typer.Option(help="Column that is taken; repeat it.")],
    key: Annotated[
        list[str] | None,
        typer.Option(help="Column that identifies the entity; repeat it. Default: the contract's key."),
    ] = None,
    as_of: Annotated[str | None, typer.Option(help="Column with the time that a row's values are of.")] = None,
) -> None:
    """Make the file of features that requests are filled from; again when the table changes."""
    from rich.console import Console

    from twinscore.batch.cache_files import build_feature_cache
    from twinscore.cache.keyed_file import read_facts
    from twinscore.cache.spec import FeaturesSpec
    from twinscore.settings import load_settings
    from twinscore.wiring import load_version

    settings = load_settings()
    version, bundle = load_version(settings, model)
    spec = FeaturesSpec(table=table, columns=tuple(column), key=tuple(key or ()), as_of=as_of)
    path = build_feature_cache(settings, version.model, bundle.contract, spec)
    facts = read_facts(path)
    console = Console()
    console.print(f"[green]Built[/] features from {facts['rows']:,} rows of {facts['table']}", highlight=False)
    console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)
