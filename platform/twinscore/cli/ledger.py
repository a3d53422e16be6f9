"""Commands of the ledger: show what was entered, and prove that nothing was changed since."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from twinscore.rollout.ledger import Entry, Head

__all__ = ["ledger_app"]

ledger_app = typer.Typer(
    help="The ledger of what went live: who asked, who decided, on which evidence.", no_args_is_help=True
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


@ledger_app.command("show")
def show_command(
    model: Annotated[str, typer.Argument(help="Name of the model; '*' for holds on every model.", show_default=False)],
    limit: Annotated[int, typer.Option(min=1, help="Most entries to show, the latest.")] = 20,
    json_: _Json = False,
) -> None:
    """Show the latest entries of a model."""
    import json

    from rich.console import Console

    from twinscore.errors import ModelNotFound, near
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        last = store.ledger.head(model).number
        entries = store.ledger.entries(model, after=max(0, last - limit))
        if not entries:
            message = f"The ledger has no entry of {model!r}. {near(model, store.ledger.chains())}"
            raise ModelNotFound(message, model=model)
    if json_:
        for entry in entries:
            typer.echo(json.dumps(entry.to_json()))
        return
    _print(Console(), entries)


@ledger_app.command("verify")
def verify_command(
    model: Annotated[str | None, typer.Argument(help="Name of the model; without it every one.")] = None,
    known: Annotated[
        Path | None, typer.Option(help="What an earlier `verify --json` printed: shows what was made anew since.")
    ] = None,
    json_: _Json = False,
) -> None:
    """Hold every entry against its digest and the one before; name the first that was touched."""
    import json

    from rich.console import Console

    from twinscore.rollout.ledger import EMPTY, verify_chain
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    earlier = {} if known is None else _known(known)
    found = []
    with open_rollout_store(load_settings()) as store:
        for name in [model] if model is not None else sorted({*store.ledger.chains(), *earlier}):
            head = store.ledger.head(name)
            entries = store.ledger.entries(name)
            broken = verify_chain(entries, known=head) or verify_chain(entries, known=earlier.get(name, EMPTY))
            found.append({"model": name, "entries": len(entries), "number": head.number, "digest": head.digest,
                          "broken": None if broken is None else str(broken)})  # fmt: skip
    if json_:
        typer.echo(json.dumps(found, indent=1))
    else:
        console = Console()
        for one in found:
            console.print("[red]damaged[/]" if one["broken"] else "[green]whole[/]", end=" ")
            console.print(f"{one['model']}: {one['entries']:,} entries", markup=False, highlight=False, soft_wrap=True)
            if one["broken"]:
                console.print(f"  {one['broken']}", markup=False, highlight=False, soft_wrap=True)
    if any(one["broken"] for one in found):
        raise typer.Exit(1)


def _known(path: Path) -> dict[str, Head]:
    """Return the heads that an earlier check printed."""
    import json

    from twinscore.errors import SettingsInvalid
    from twinscore.rollout.ledger import Head

    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return {str(one["model"]): Head(int(one["number"]), str(one["digest"])) for one in said}
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{path} is not what `twinscore ledger verify --json` prints: {error}."
        raise SettingsInvalid(message, path=str(path)) from error


def _print(console: Console, entries: Sequence[Entry]) -> None:
    from rich.markup import escape
    from rich.table import Table

    shown = Table()
    for name in ("no.", "at (UTC)", "what", "from", "to", "asked by", "decided by", "why"):
        shown.add_column(name, overflow="fold")
    for entry in entries:
        cells = (
            str(entry.number), f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.kind, entry.from_version or "",
            entry.to_version or "", entry.requested_by, entry.decided_by, entry.reason,
        )  # fmt: skip
        shown.add_row(*(escape(cell) for cell in cells))
    console.print(shown)
