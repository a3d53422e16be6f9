"""The page of promotion: where each model stands, as HTML that needs no script; draws, decides nothing."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["page"]

_SIGNS = {"pass": "passes", "fail": "fails", "inconclusive": "not known yet"}
_NUMBER = "{:.4g}"


def page(overview: Mapping[str, Any]) -> str:
    """Return the page of what `status.overview` found."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    models = "".join([_model(one) for one in overview["models"]])
    return template.substitute(
        at=_text(overview["at"][:19].replace("T", " ")),
        holds=_holds(overview["holds"]),
        models=models or "<p>No model is served yet: <code>twinscore serve --model NAME</code>.</p>",
    )


def _model(one: Mapping[str, Any]) -> str:
    facts = [
        ("live", one["live"] and f"version {one['live']}"),
        ("before", one["previous"] and f"version {one['previous']}"),
        ("challenger", one["challenger"] and f"version {one['challenger']}"),
        ("shadow", one["shadow"] and f"version {one['shadow']}"),
        ("asked for", one["settling"] and f"version {one['settling']['version']}, by {one['settling']['by']}"),
        ("paused by", one["paused_by"]),
        ("waits", one["waits"]),
        ("trouble", one["trouble"]),
    ]
    known = "".join([f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts if value])
    refused = "".join([f"<li>version {_text(version)}: {_text(why)}</li>" for version, why in one["refused"].items()])
    return (
        f"<section><h2>{_text(one['model'])}</h2><dl>{known}</dl>"
        f"{_rollout(one['rollout']) if one['rollout'] else ''}"
        f"{f'<h3>Refused</h3><ul>{refused}</ul>' if refused else ''}"
        f"{_ledger(one['ledger'])}</section>"
    )


def _rollout(one: Mapping[str, Any]) -> str:
    steps = "".join(
        [f'<li class="{_step_class(place, one)}">{_text(title)}</li>' for place, title in enumerate(one["stages"])]
    )
    asked = f"{one['requests']:,} of {one['requests_wanted']:,} requests"
    deadline = ""
    if one["deadline_s"] is not None:
        deadline = f"; {one['deadline_s']:,.0f} s after {one['stage_at'][11:19]} it is {_ends(one['on_deadline'])}"
    return (
        f"<h3>Version {_text(one['version'])} on its way, asked for by {_text(one['requested_by'])}</h3>"
        f'<ol class="stages">{steps}</ol>'
        f"<p><b>{_text(one['stage'])}</b>, {_text(one['share'])} of the entities, {asked}.</p>"
        f"<p>It waits: {_text(one['waits'] or 'for nothing')}. Next: {_text(one['next'])}{_text(deadline)}.</p>"
        f"{_gates(one['gates'])}"
    )


def _ends(on_deadline: str) -> str:
    return "rolled back" if on_deadline == "roll_back" else "paused for a person"


def _step_class(place: int, one: Mapping[str, Any]) -> str:
    if one["status"] == "checking":
        return "ahead"
    return "done" if place < one["place"] else "now" if place == one["place"] else "ahead"


def _gates(gates: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        [
            f'<tr class="{_text(one["outcome"])}"><td>{_text(one["gate"])}</td>'
            f"<td>{_SIGNS.get(one['outcome'], _text(one['outcome']))}{' (dry run)' if one['dry_run'] else ''}</td>"
            f"<td>{_number(one['value'])}</td><td>{_number(one['live_value'])}</td>"
            f"<td>{one['samples']:,}</td><td>{_text(one['words'])}</td></tr>"
            for one in gates
        ]
    )
    if not rows:
        return ""
    head = "<tr><th>gate</th><th></th><th>candidate</th><th>live</th><th>samples</th><th>what was found</th></tr>"
    return f"<table>{head}{rows}</table>"


def _ledger(entries: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        [
            f"<tr><td>{one['number']}</td><td>{_text(one['at'][:19].replace('T', ' '))}</td>"
            f"<td>{_text(one['kind'].replace('_', ' '))}</td>"
            f"<td>{_text(one['from_version'] or '-')} to {_text(one['to_version'] or '-')}</td>"
            f"<td>{_text(one['requested_by'] or '-')}</td><td>{_text(one['reason'])}</td></tr>"
            for one in reversed(list(entries))
        ]
    )
    head = "<tr><th></th><th>when (UTC)</th><th>what</th><th>versions</th><th>asked by</th><th>why</th></tr>"
    return f"<details open><summary>Ledger</summary><table>{head}{rows}</table></details>" if rows else ""


def _holds(holds: Iterable[Mapping[str, Any]]) -> str:
    rows = "".join(
        [
            f"<li>{_text(one['scope'])}: {_text(one['reason'])} ({_text(one['owner'])}"
            f"{', until ' + _text(one['expires'][:19]) if one['expires'] else ''})</li>"
            for one in holds
        ]
    )
    return f"<section><h2>Holds</h2><ul>{rows}</ul></section>" if rows else ""


def _number(value: float | None) -> str:
    return "" if value is None else _NUMBER.format(value)


def _text(value: object) -> str:
    return escape(str(value))
