"""Commands of holds: place one, end it, go on in spite of it, list them; each parses, calls and prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from twinscore.rollout.hold import Hold

__all__ = ["hold_app"]

hold_app = typer.Typer(
    help="Holds: why no automated step is taken for a model, or for any; going back is never held.",
    no_args_is_help=True,
)

_Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the hold; see the list.", show_default=False)]
_Reason = Annotated[str, typer.Option(help="Why, in words that the ledger keeps.", show_default=False)]
_By = Annotated[str, typer.Option(help="Who you are; without it the name of the account.", show_default=False)]


@hold_app.command("place")
def place_command(
    model: Annotated[str, typer.Argument(help="Name of the model, or '*' for every one.", show_default=False)],
    reason: _Reason,
    hours: Annotated[float | None, typer.Option(help="Hours until it ends by itself; without it never.")] = None,
    source: Annotated[str, typer.Option(help="What noticed it: person, or the name of an alert.")] = "person",
    by: _By = "",
) -> None:
    """Stop every automated step of a model until the hold is released or ends; print its id."""
    from datetime import timedelta

    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    expires = None if hours is None else SystemClock().now() + timedelta(hours=hours)
    with open_rollout_store(load_settings()) as store:
        hold = store.holds.place(model, reason=reason, owner=by or _account(), source=source, expires=expires)
    typer.echo(hold.id)
    typer.echo(f"{_covered(hold.scope)} is held{_until(hold.expires)}.", err=True)


@hold_app.command("release")
def release_command(hold_id: _Id, reason: _Reason, by: _By = "") -> None:
    """End a hold."""
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        hold = store.holds.release(hold_id, by=by or _account(), reason=reason)
    typer.echo(f"Released {hold.id}, which held {_covered(hold.scope, lower=True)} because: {hold.reason}")


@hold_app.command("override")
def override_command(
    hold_id: _Id,
    model: Annotated[str, typer.Option(help="The model that goes on, or '*' for every one.", show_default=False)],
    reason: _Reason,
    by: Annotated[str, typer.Option(help="The person who decides this.", show_default=False)],
) -> None:
    """Let one model go on in spite of a hold, which goes on holding the others; the ledger names who decided."""
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        hold = store.holds.override(hold_id, model=model, by=by, reason=reason)
    typer.echo(f"{_covered(model)} goes on in spite of {hold.id}, on the word of {by}.")


@hold_app.command("list")
def list_command(
    over: Annotated[bool, typer.Option("--all", help="Also those that ended.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show the holds in force, the oldest first."""
    import json

    from rich.console import Console

    from twinscore.clock import SystemClock
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        holds = store.holds.held(over=over)
    now = SystemClock().now()
    if json_:
        typer.echo(json.dumps([{**hold.to_json(), "state": hold.state(now)} for hold in holds], indent=1))
        return
    console = Console()
    if not holds:
        console.print("Nothing is held.", highlight=False)
        return
    _print(console, holds, now)


def _print(console: Console, holds: tuple[Hold, ...], now: datetime) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for name in ("id", "scope", "state", "reason", "owner", "source", "since (UTC)", "until (UTC)", "goes on"):
        shown.add_column(name, overflow="fold")
    for hold in holds:
        ends = hold.released_at or hold.expires
        shown.add_row(
            hold.id, escape(hold.scope), hold.state(now), escape(hold.reason), escape(hold.owner), escape(hold.source),
            f"{hold.created_at:%Y-%m-%d %H:%M}", "" if ends is None else f"{ends:%Y-%m-%d %H:%M}",
            escape(", ".join(f"{one.model} ({one.by})" for one in hold.overrides)),
        )  # fmt: skip
    console.print(shown)


def _account() -> str:
    import getpass

    return getpass.getuser()


def _covered(scope: str, *, lower: bool = False) -> str:
    if scope != "*":
        return scope
    return "every model" if lower else "Every model"


def _until(expires: datetime | None) -> str:
    return "" if expires is None else f" until {expires:%Y-%m-%d %H:%M} UTC"
