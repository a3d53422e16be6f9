"""Commands for API keys: make, list, replace and revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from twinscore.access.keys import NewKey

__all__ = ["create_command", "keys_app", "list_command", "revoke_command", "rotate_command"]

keys_app = typer.Typer(help="Make, list, replace and revoke API keys of the endpoints.", no_args_is_help=True)

_Days = Annotated[float, typer.Option(help="Days that the new key is good.")]
_Grace = Annotated[float, typer.Option("--grace-days", help="Days that the old key goes on being good.")]


@keys_app.command("create")
def create_command(
    label: Annotated[str, typer.Option(help="Who the key is for: letters, digits and . _ -")],
    model: Annotated[list[str], typer.Option(help="Model that it opens, or '*' for every one; repeat it.")],
    verb: Annotated[
        list[str] | None,
        typer.Option(help="predict, read or operate; repeat it. Default: predict and read."),
    ] = None,
    days: _Days = 90,
) -> None:
    """Make a key and print it on standard output, this once; from the first one on, the endpoints ask for keys."""
    from twinscore.access.grant import USUAL_VERBS
    from twinscore.access.keys import create_key
    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings

    home = load_settings().home
    made = create_key(home, label=label, models=model, verbs=verb or USUAL_VERBS, days=days, now=SystemClock().now())
    _hand_over(made)


@keys_app.command("list")
def list_command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Show each key with what it opens and its state, never its secret."""
    from twinscore.access.keys import load_keys
    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings

    settings = load_settings()
    now = SystemClock().now()
    keys = load_keys(settings.home)
    if as_json:
        import msgspec

        shown = [{**msgspec.to_builtins(key), "state": key.state(now)} for key in keys or ()]
        for one in shown:
            del one["sha256"]
        typer.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if keys is None:
        console.print(f"No key was ever made for {settings.home}.", highlight=False, soft_wrap=True)
        return
    table = Table("id", "label", "models", "verbs", "expires (UTC)", "state")
    for key in sorted(keys, key=lambda key: (key.label, key.created)):
        state = key.state(now)
        models = key.models if isinstance(key.models, str) else ", ".join(key.models)
        colour = "green" if state == "valid" else "red"
        table.add_row(
            key.id, escape(key.label), escape(models), ", ".join(key.verbs), f"{key.expires:%Y-%m-%d %H:%M}",
            f"[{colour}]{state}[/]",
        )  # fmt: skip
    console.print(table)


@keys_app.command("rotate")
def rotate_command(
    label: Annotated[str, typer.Argument(help="Label of the key.")],
    days: _Days = 90,
    grace_days: _Grace = 7,
) -> None:
    """Make the successor of a label's key, print it this once, and let the old one expire after the grace."""
    from twinscore.access.keys import rotate_key
    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings

    home = load_settings().home
    _hand_over(rotate_key(home, label, days=days, grace_days=grace_days, now=SystemClock().now()))


@keys_app.command("revoke")
def revoke_command(key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key; see the list.")]) -> None:
    """Revoke a key for good; endpoints refuse it within a second."""
    from twinscore.access.keys import revoke_key
    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings

    gone = revoke_key(load_settings().home, key_id, now=SystemClock().now())
    typer.echo(f"Revoked {gone.id} ({gone.label}).")


def _hand_over(made: NewKey) -> None:
    """Print the key alone on standard output, so that a script can take it, and the words beside it."""
    key = made.key
    models = "every model" if key.models == "*" else ", ".join(key.models)
    typer.echo(
        f"Key {key.id} ({key.label}) may {' and '.join(key.verbs)} on {models} until {key.expires:%Y-%m-%d %H:%M} UTC. "
        "It is not shown again:",
        err=True,
    )
    typer.echo(made.text)
