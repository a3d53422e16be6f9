"""Commands of the local stack: up, status, env, down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twinscore.stack import StackState

__all__ = ["down_command", "env_command", "status_command", "up_command"]

EXIT_DOWN = 3
EXIT_BROKEN = 4
_EXITS = {"up": 0, "down": EXIT_DOWN, "broken": EXIT_BROKEN}


def up_command() -> None:
    """Start MLflow, Ray and Ray Serve on this machine; a healthy stack is left as it is."""
    from rich.console import Console

    from twinscore.settings import load_settings
    from twinscore.stack import up

    console = Console()
    with console.status("Starting ..."):
        state = up(load_settings(), on_step=lambda text: console.print(text, highlight=False))
    _print_addresses(state)


def down_command() -> None:
    """Stop what `up` started for this home, and nothing else."""
    from rich.console import Console

    from twinscore.settings import load_settings
    from twinscore.stack import down

    console = Console()
    settings = load_settings()
    with console.status("Stopping ..."):
        ran = down(settings, on_step=lambda text: console.print(text, highlight=False))
    console.print(
        "The stack is down." if ran else f"Nothing is running for {settings.home}.", highlight=False, soft_wrap=True
    )


def status_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show each part of the stack; exit code 0 all up, 3 not running, 4 half up."""
    from twinscore.settings import load_settings
    from twinscore.stack import status

    settings = load_settings()
    found = status(settings)
    if as_json:
        import json
        from dataclasses import asdict

        parts = [asdict(part) for part in found.components]
        typer.echo(
            json.dumps({"condition": found.condition, "home": str(settings.home), "components": parts}, indent=2)
        )
        raise typer.Exit(_EXITS[found.condition])

    from rich.console import Console
    from rich.table import Table

    console = Console()
    if found.condition == "down":
        console.print(
            f"Nothing is running for {settings.home}. `twinscore up` starts it.", highlight=False, soft_wrap=True
        )
        raise typer.Exit(EXIT_DOWN)
    table = Table("component", "process", "address", "health")
    for part in found.components:
        colour = "green" if part.ok else "red"
        table.add_row(part.name, str(part.pid or "-"), part.url, f"[{colour}]{part.health}[/]")
    if found.components:
        console.print(table)
    if found.condition == "broken":
        what = "" if found.components else f"Processes of a stack of {settings.home} run, but its state file is gone. "
        console.print(
            f"[red]{what}The stack is half up.[/] `twinscore down` ends what is left of it.",
            highlight=False,
            soft_wrap=True,
        )
    raise typer.Exit(_EXITS[found.condition])


def env_command() -> None:
    r"""Print what a shell needs so that `ray` and `mlflow` speak to this stack: eval "$(twinscore env)"."""
    import shlex

    from twinscore.errors import ModelNotReady
    from twinscore.settings import load_settings
    from twinscore.stack import status
    from twinscore.stack.environment import shell_environment

    settings = load_settings()
    found = status(settings)
    if found.state is None:
        message = f"No stack is up for {settings.home}. Start one with `twinscore up`."
        raise ModelNotReady(message, home=str(settings.home))
    for name, value in shell_environment(found.state).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _print_addresses(state: StackState) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"  MLflow UI      {state.mlflow.url}")
    console.print(
        f"  Ray dashboard  {state.ray.dashboard}  (asks for the token in {state.ray.token_path})", soft_wrap=True
    )
    console.print(f"  Predictions    {state.serve.url}/<model>/predict", markup=False)
    if state.serve.grpc is not None:
        console.print(f"  gRPC           {state.serve.grpc}")
    console.print('For `ray job submit` and `mlflow`: eval "$(twinscore env)"')
