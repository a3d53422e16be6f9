"""Commands of the online path: serve a version, compare both paths; parses, calls and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["parity_command", "serve_command"]


def serve_command(
    model: Annotated[str, typer.Option(help="What to serve: NAME (its champion), NAME@ALIAS or NAME/VERSION.")] = "",
    replicas: Annotated[int, typer.Option(min=1, help="Processes that answer.")] = 1,
    spec: Annotated[
        Path | None, typer.Option(help="YAML with every serving option, such as deployments/loans.yaml.")
    ] = None,
    follow: Annotated[
        bool, typer.Option(help="Start the control, so that moving @champion in the registry changes what is live.")
    ] = True,
) -> None:
    """Serve a model version over HTTP on the running stack."""
    from rich.console import Console
    from rich.markup import escape

    from twinscore.access.local import local_key
    from twinscore.clock import SystemClock
    from twinscore.control.app import start_control
    from twinscore.control.orders import ref_to_serve
    from twinscore.online.client import PredictClient
    from twinscore.online.deploy import serve_model
    from twinscore.online.spec import ServeSpec, load_serve_spec
    from twinscore.settings import load_settings
    from twinscore.stack import connect

    console = Console()
    if not model and spec is None:
        raise typer.BadParameter("Name a model, such as --model loans, or give --spec.")  # noqa: EM101 - typer prints it
    options = load_serve_spec(spec) if spec is not None else ServeSpec(model=model, replicas=replicas)
    settings = load_settings()
    with console.status(f"Starting {escape(options.model)} ..."):
        with connect(settings, need_stack=True):
            url = serve_model(settings, ref_to_serve(settings, model or options.model), spec=options)
            if follow:
                start_control(settings)
        api_key = local_key(settings.home, now=SystemClock().now())
        with PredictClient(url, api_key=api_key) as client:
            facts = client.version()
            example = json.dumps(client.example()).replace("'", "\\u0027")  # safe inside the single quotes below
    console.print(f"[green]Serving[/] {escape(facts['model'])} version {facts['version']} at [bold]{url}[/]")
    console.print(f"  scorer    {facts['scorer']}")
    console.print(f"  bundle    {facts['bundle_digest']}")
    console.print(f"  API docs  {url}/docs")
    console.print("Try it:")
    key = "" if api_key is None else "-H 'x-api-key: YOUR KEY' "
    print(f"  curl -s {url}/predict {key}-H 'content-type: application/json' -d '{example}'")  # noqa: T201 - must not wrap


def parity_command(
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
