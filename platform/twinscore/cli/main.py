"""The `twinscore` command: the table of commands, and how errors are shown; each command is in its group's file."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from twinscore.errors import TwinscoreError

__all__ = ["app", "main"]

EXIT_FAILED = 1

# Panel of the help page, command, module, function.
_COMMANDS = (
    ("The stack", "up", "stack", "up_command"),
    ("The stack", "status", "stack", "status_command"),
    ("The stack", "env", "stack", "env_command"),
    ("The stack", "down", "stack", "down_command"),
    ("Models", "train", "models", "train_command"),
    ("Models", "adopt", "models", "adopt_command"),
    ("Contracts", "contract", "contract", "contract_app"),
    ("Both paths", "score", "scoring", "score_command"),
    ("Both paths", "publish", "publishing", "publish_command"),
    ("Both paths", "report", "report", "report_command"),
    ("Both paths", "serve", "serving", "serve_command"),
    ("Both paths", "route", "routing", "route_command"),
    ("Both paths", "parity", "parity", "parity_app"),
    ("Going live", "promote", "promotion", "promote_command"),
    ("Going live", "rollback", "promotion", "rollback_command"),
    ("Going live", "abort", "promotion", "abort_command"),
    ("Going live", "pause", "promotion", "pause_command"),
    ("Going live", "resume", "promotion", "resume_command"),
    ("Going live", "approve", "promotion", "approve_command"),
    ("Going live", "rollout", "promotion", "rollout_app"),
    ("Going live", "control", "promotion", "control_app"),
    ("Going live", "hold", "holds", "hold_app"),
    ("Going live", "ledger", "ledger", "ledger_app"),
    ("Access", "keys", "keys", "keys_app"),
    ("After a run", "cache", "cache", "cache_app"),
    ("After a run", "quarantine", "quarantine", "quarantine_app"),
    ("After a run", "labels", "outcomes", "labels_command"),
    ("After a run", "freshness", "outcomes", "freshness_command"),
    ("After a request", "audit", "audit", "audit_app"),
    ("After a request", "shadow", "shadow", "shadow_app"),
    ("Watching", "monitor", "monitor", "monitor_app"),
    ("Try it", "demo", "demo", "demo_command"),
)


class _Commands(TyperGroup):
    """Shows an error raised on purpose as one message on stderr, without a traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        del ctx
        return [name for _, name, _, _ in _COMMANDS]

    def invoke(self, ctx: Any) -> object:  # typer's own kind of context is private
        try:
            return super().invoke(ctx)
        except TwinscoreError as error:
            if ctx.params.get("debug"):
                raise
            _show(error)
            raise typer.Exit(EXIT_FAILED) from None


app = typer.Typer(
    cls=_Commands,
    name="twinscore",
    help="One model version, two paths, one score: train, check, score Parquet in bulk, serve over HTTP, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # it would print the values of local variables, rows among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("twinscore"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and warnings.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if not debug and not sys.warnoptions:
        # Foreign packages speak to their own authors; errors still come through.
        warnings.simplefilter("ignore")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")


def _register() -> None:
    for panel, name, group, attribute in _COMMANDS:
        command = getattr(import_module(f"twinscore.cli.{group}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(command)


def _show(error: TwinscoreError) -> None:
    from rich.console import Console
    from rich.text import Text

    # What crossed Ray is wrapped: the message of the cause is the one for people.
    cause = getattr(error, "cause", None)
    shown = cause if isinstance(cause, TwinscoreError) else error
    text = Text.assemble((f"error[{shown.code}]", "bold red"), ": ", (shown.message, "red"))
    Console(stderr=True).print(text, soft_wrap=True)


def main() -> None:
    """Run the command line; the entry point of the `twinscore` script."""
    app()


_register()
