"""Command of the online path: serve a version; parses, calls and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve_command"]


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
    if settings.grpc_target is not None:
        console.print(f"  gRPC      {settings.grpc_target}", highlight=False)
    console.print("Try it:")
    key = "" if api_key is None else "-H 'x-api-key: YOUR KEY' "
    print(f"  curl -s {url}/predict {key}-H 'content-type: application/json' -d '{example}'")  # noqa: T201 - must not wrap
