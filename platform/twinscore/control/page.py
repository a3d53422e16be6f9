"""The page of promotion: where each model stands, in the look of every report; draws, decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.page.cards import card, table, text
from twinscore.page.cards import page as whole_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["page"]

_REFRESH_S = 5
_SIGNS = {
    "pass": '<span class="good">passes</span>',
    "fail": '<span class="bad">fails</span>',
    "inconclusive": '<span class="warn">not known yet</span>',
}
_GATES = (("gate", ""), ("", "w"), ("candidate", "n"), ("live", "n"), ("samples", "n"), ("what was found", ""))
_LEDGER = (("", "n"), ("when (UTC)", "w"), ("what", ""), ("versions", "w"), ("asked by", ""), ("why", ""))


def page(overview: Mapping[str, Any]) -> str:
    """Return the page of what `status.overview` found."""
    cards = [_model(one) for one in overview["models"]]
    if not cards:
        cards = [card("No model", "<p>None is served yet: <code>twinscore serve --model NAME</code>.</p>")]
    if overview["holds"]:
        cards.insert(0, card("Holds", _holds(overview["holds"])))
    if overview["incidents"] or overview["alerts_trouble"]:
        cards.insert(0, card("Incidents", _incidents(overview)))
    return whole_page(
        title="twinscore: promotion",
        heading="Promotion",
        badge="",
        summary=f"As of {_moment(overview['at'])} UTC; the page looks again every {_REFRESH_S} seconds.",
        sections="".join(cards),
        refresh_s=_REFRESH_S,
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
        *[("refused", f"version {version}: {why}") for version, why in one["refused"].items()],
    ]
    known = "".join([f"<dt>{name}</dt><dd>{text(value)}</dd>" for name, value in facts if value])
    rollout = _rollout(one["rollout"]) if one["rollout"] else ""
    return card(one["model"], f'<dl class="facts">{known}</dl>{rollout}{_ledger(one["ledger"])}')


def _rollout(one: Mapping[str, Any]) -> str:
    stages = " &rarr; ".join([_stage(place, title, one) for place, title in enumerate(one["stages"])])
    asked = f"{one['requests']:,} of {one['requests_wanted']:,} requests"
    deadline = ""
    if one["deadline_s"] is not None:
        ends = "rolled back" if one["on_deadline"] == "roll_back" else "paused for a person"
        deadline = f"; {one['deadline_s']:,.0f} s after {one['stage_at'][11:19]} it is {ends}"
    return (
        f"<p><b>Version {text(one['version'])} is on its way</b>, asked for by {text(one['requested_by'])}.</p>"
        f"<p>{stages}</p>"
        f"<p>{text(one['stage'])}, {text(one['share'])} of the entities, {asked}."
        f" It waits: {text(one['waits'] or 'for nothing')}. Next: {text(one['next'])}{text(deadline)}.</p>"
        f"{_gates(one['gates'])}"
    )


def _stage(place: int, title: str, one: Mapping[str, Any]) -> str:
    if one["status"] == "checking" or place > one["place"]:
        return f'<span class="quiet">{text(title)}</span>'
    return f'<span class="badge good">{text(title)}</span>' if place == one["place"] else text(title)


def _gates(gates: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            text(one["gate"]),
            _SIGNS[one["outcome"]] + (" (dry run)" if one["dry_run"] else ""),
            _number(one["value"]),
            _number(one["live_value"]),
            f"{one['samples']:,}",
            text(one["words"]),
        )
        for one in gates
    ]
    return table("Gates", _GATES, rows) if rows else ""


def _ledger(entries: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            str(one["number"]),
            _moment(one["at"]),
            text(one["kind"].replace("_", " ")),
            f"{text(one['from_version'] or '-')} &rarr; {text(one['to_version'] or '-')}",
            text(one["requested_by"] or "-"),
            text(one["reason"]),
        )
        for one in reversed(list(entries))
    ]
    return f"<details open><summary>Ledger</summary>{table('Newest first', _LEDGER, rows)}</details>" if rows else ""


def _holds(holds: Iterable[Mapping[str, Any]]) -> str:
    shown = [
        f"<dt>{text(one['scope'])}</dt><dd>{text(one['reason'])} ({text(one['owner'])}"
        f"{', until ' + _moment(one['expires']) if one['expires'] else ''})</dd>"
        for one in holds
    ]
    return f'<dl class="facts">{"".join(shown)}</dl>'


def _incidents(overview: Mapping[str, Any]) -> str:
    shown = [f"<dt>{text(one['model'])}</dt><dd>{text(one['says'])}</dd>" for one in overview["incidents"]]
    shown += [f"<dt>{text(name)}</dt><dd>{text(what)}</dd>" for name, what in overview["alerts_trouble"].items()]
    return f'<dl class="facts">{"".join(shown)}</dl><p><a href="/-control/incidents">What was done about them</a></p>'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _moment(at: str) -> str:
    return text(at[:19].replace("T", " "))
