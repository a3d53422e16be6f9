"""The page of incidents: what is wrong, what was done about it and what could not be; draws, decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.page.cards import card, table, text
from twinscore.page.cards import page as whole_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["incident_page"]

_REFRESH_S = 10
_SEVERITIES = {"info": "quiet", "warning": "warn", "critical": "bad"}
_STATES = {"done": "good", "waiting": "warn", "failed": "bad"}
_OPEN = (("model", ""), ("rule", ""), ("severity", ""), ("since (UTC)", "w"), ("what", ""), ("stands", ""))
_DISMISSED = (("model", ""), ("rule", ""), ("what", ""), ("by", ""), ("because", ""), ("until (UTC)", "w"))
_ORDERS = (("put (UTC)", "w"), ("model", ""), ("what for", ""), ("state", ""), ("tries", "n"), ("what came of it", ""))
_AUDITS = (("started (UTC)", "w"), ("model", ""), ("why", ""), ("cases", "n"), ("over (UTC)", "w"))


def incident_page(found: Mapping[str, Any]) -> str:
    """Return the page of what `incidents.alerts_overview` found."""
    cards = [
        card("Trouble", _facts(found["trouble"])) if found["trouble"] else "",
        card("Incidents", _incidents(found["incidents"])),
        card("Dismissed by people", _dismissed(found["dismissed"])) if found.get("dismissed") else "",
        card("What was to be done", _orders(found["orders"])),
        card("Audits by people", _audits(found["audits"])) if found["audits"] else "",
        card("What is counted", _lines(found["watching"])) if found.get("watching") else "",
    ]
    return whole_page(
        title="twinscore: incidents",
        heading="Incidents",
        badge="",
        summary=f"As of {_moment(found['at'])} UTC; the page looks again every {_REFRESH_S} seconds.",
        sections="".join(cards),
        refresh_s=_REFRESH_S,
    )


def _incidents(incidents: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            text(one["model"]),
            text(one["rule"]),
            _sign(one["severity"], _SEVERITIES),
            _moment(one["since"]),
            text(one["says"]),
            text(one["phase"]),
        )
        for one in incidents
    ]
    return table("Not over", _OPEN, rows) if rows else "<p>None is open.</p>"


def _dismissed(incidents: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (*[text(one[name]) for name in ("model", "rule", "says", "by", "because")], _moment(one["until"]))
        for one in incidents
    ]
    return table("Left alone until they have recovered, and at the latest until then", _DISMISSED, rows)


def _orders(orders: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            _moment(one["put_at"]),
            text(one["model"]),
            text(f"{one['action']} {one['verb']}{' (dry run)' if one['dry_run'] else ''}: {one['title']}"),
            _sign(one["state"], _STATES),
            str(one["attempts"]),
            text(one["trouble"] or _result(one["result"])),
        )
        for one in reversed(list(orders))
    ]
    return table("Newest first", _ORDERS, rows) if rows else "<p>Nothing was to be done yet.</p>"


def _audits(audits: Iterable[Mapping[str, Any]]) -> str:
    rows = [
        (
            _moment(one["started_at"]),
            text(one["model"]),
            text(one["title"]),
            str(sum(drawn for _, drawn in one["facts"].get("strata", {}).values())),
            _moment(one["over_at"] or ""),
        )
        for one in audits
    ]
    return table("With the cases that were drawn", _AUDITS, rows)


def _result(result: Mapping[str, Any]) -> str:
    """Return in a few words what came of an order."""
    parts = [f"{name}: {value}" for name, value in result.items() if name not in ("log", "strata")]
    return "; ".join(parts)[:300]


def _facts(facts: Mapping[str, str]) -> str:
    shown = "".join([f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items()])
    return f'<dl class="facts">{shown}</dl>'


def _lines(lines: Iterable[str]) -> str:
    return "".join([f"<p>{text(line)}</p>" for line in lines])


def _sign(word: str, kinds: Mapping[str, str]) -> str:
    return f'<span class="{kinds[word]}">{text(word)}</span>'


def _moment(at: str) -> str:
    return text(at[:19].replace("T", " "))
