"""Commands of alerts: incidents, what was done about them, audits by people; each parses, calls and prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "audits_command",
    "dismiss_command",
    "export_command",
    "incidents_command",
    "orders_command",
    "retry_command",
    "tickets_command",
]

_Model = Annotated[str | None, typer.Option(help="Only of this model.", show_default=False)]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def incidents_command(
    model: _Model = None,
    dismissed: Annotated[
        bool, typer.Option("--dismissed", help="Those that a person dismissed and that have not recovered.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Show the incidents that are not over."""
    from twinscore.control.incidents import dismissed_incidents, open_incidents
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        found = dismissed_incidents(store, model) if dismissed else open_incidents(store, model)
    columns = ("model", "severity", "since", "says", *(("by", "because", "until") if dismissed else ("phase",)), "id")
    _shown(found, columns, json_=json_, nothing="None is dismissed." if dismissed else "No incident is open.")


def dismiss_command(
    incident: Annotated[str, typer.Argument(metavar="INCIDENT", help="Its id; see incidents.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Why, in words that ticket and ledger keep.", show_default=False)],
    by: Annotated[str, typer.Option(help="The person who decides this.", show_default=False)],
    for_: Annotated[
        str, typer.Option("--for", help="What still breaks the rule then is told again; at most 90d.")
    ] = "30d",
) -> None:
    """End an incident: ticket closed, hold lifted, and what broke the rule opens nothing until it has recovered."""
    from twinscore.control.dismiss import dismiss_incident
    from twinscore.monitoring.spec import period
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        ended = dismiss_incident(store, incident, by=by, reason=reason, lasting=period(for_, "--for"))
    assert ended.dismissed_until is not None
    until = f"{ended.dismissed_until:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"Dismissed {ended.id}: {ended.says}")
    typer.echo(f"What broke the rule opens nothing until it has recovered, and until {until} at the latest.", err=True)


def orders_command(
    model: _Model = None,
    state: Annotated[str | None, typer.Option(help="Only waiting, done or failed ones.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the newest.", min=1)] = 50,
    json_: _Json = False,
) -> None:
    """Show what was to be done about incidents, how often it was tried, and what came of it."""
    from twinscore.control.incidents import order_document
    from twinscore.errors import SettingsInvalid, near
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    states = ("waiting", "done", "failed")
    if state is not None and state not in states:
        message = f"Orders have no state {state!r}. {near(state, states)}"
        raise SettingsInvalid(message, state=state)
    wanted: Any = () if state is None else (state,)
    with open_rollout_store(load_settings()) as store:
        found = [order_document(one) for one in store.orders.orders(model, states=wanted, limit=limit)]
    if not json_:
        for one in found:
            one["came"] = one["trouble"] or "; ".join([f"{name}: {value}" for name, value in one["result"].items()])
    columns = ("put_at", "state", "attempts", "next_try", "id", "came")
    _shown(found, columns, json_=json_, nothing="Nothing was to be done.")


def retry_command(
    order_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the order; see orders.", show_default=False)],
) -> None:
    """Have an order that waits or was given up tried at once, such as after a token was set."""
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        one = store.orders.again(order_id)
    typer.echo(f"{one.order.id} is tried again; it was tried {one.attempts} times so far.")


def tickets_command(model: _Model = None, json_: _Json = False) -> None:
    """Show the tickets of the embedded tracker."""
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        found: list[dict[str, Any]] = [dict(one) for one in store.tickets.tickets(model)]
    if not json_:
        for one in found:
            one["notes"] = len(one["notes"])
    columns = ("number", "model", "severity", "title", "opened_at", "closed_at", "notes")
    _shown(found, columns, json_=json_, nothing="There is no ticket.")


def audits_command(model: _Model = None, json_: _Json = False) -> None:
    """Show the audits by people that alerts have started."""
    from twinscore.control.incidents import audit_document
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        found = [audit_document(one) for one in store.cases.audits(model)]
    if not json_:
        for one in found:
            one["cases"] = sum(drawn for _, drawn in one["facts"].get("strata", {}).values())
    columns = ("id", "model", "title", "cases", "started_at", "over_at")
    _shown(found, columns, json_=json_, nothing="No audit was started.")


def export_command(
    audit_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the audit; see audits.", show_default=False)],
    unblind: Annotated[bool, typer.Option("--unblind", help="Also what the model made of each case.")] = False,
) -> None:
    """Print the cases of an audit as JSON lines; a blind audit says nothing of what the model made of them."""
    from twinscore.settings import load_settings
    from twinscore.wiring import open_rollout_store

    with open_rollout_store(load_settings()) as store:
        cases = store.cases.cases(audit_id)
        audit = store.cases.find(audit_id)
    blind = audit is not None and audit.blind and not unblind
    for one in cases:
        typer.echo(json.dumps(one.to_json(blind=blind), default=str))


def _shown(found: Sequence[dict[str, Any]], columns: Iterable[str], *, json_: bool, nothing: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if json_:
        typer.echo(json.dumps(found, indent=1, default=str))
        return
    console = Console()
    if not found:
        console.print(nothing, highlight=False)
        return
    names = tuple(columns)
    shown = Table()
    for name in names:
        shown.add_column(name.replace("_", " ").replace(" at", " (UTC)"), overflow="fold")
    for one in found:
        shown.add_row(*[escape(_cell(one.get(name))) for name in names])
    console.print(shown)


def _cell(value: Any) -> str:
    text = "" if value is None else str(value)
    return text[:16].replace("T", " ") if len(text) > 18 and text[4:5] == "-" and text[10:11] == "T" else text
