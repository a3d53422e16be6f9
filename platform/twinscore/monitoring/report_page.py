"""The report of a watched model as one HTML text, what is wrong first; needs no network and no script; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.report_charts import latest
from twinscore.monitoring.report_drift import drift_card, feature_cards
from twinscore.monitoring.report_groups import coverage_card, fairness_cards, performance_card
from twinscore.monitoring.report_sections import (
    attribution_card,
    incident_card,
    others_card,
    parity_card,
    runs_card,
    scores_card,
    service_cards,
    source_card,
)
from twinscore.monitoring.report_segments import segments_card
from twinscore.monitoring.report_series import main_scopes, newest, series_of
from twinscore.monitoring.report_words import moment, value
from twinscore.page.cards import page, text, tiles
from twinscore.page.words import count

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["report_page"]

_KINDS = {"bad": "bad", "warn": "warn", "good": "good", "unknown": "warn"}


def report_page(report: Mapping[str, Any]) -> str:
    """Return the page of a report that `report_of` made."""
    says = report["headline"]
    name = text(report["model"])
    scopes = [one for one in main_scopes(report) if one["windows"]]
    parts = [incident_card(report)]
    for one in scopes:
        parts += _scope(report, one, _place(one, scopes))
    parts += [segments_card(report), others_card(report), source_card(report)]
    return page(
        title=f"{name}: what is watched",
        heading=name,
        badge=f'<span class="badge {_KINDS[says["state"]]}">{text(says["badge"], 60)}</span>',
        summary=text(says["says"], 1_000),
        tiles=_tiles(report, scopes),
        sections="\n".join(filter(None, parts)),
    )


def _scope(report: Mapping[str, Any], scope: Mapping[str, Any], place: str) -> list[str]:
    cards = [
        *feature_cards(report, scope, place),
        scores_card(report, scope, place),
        *service_cards(report, scope, place),
        performance_card(report, scope, place),
        coverage_card(report, scope, place),
        *fairness_cards(report, scope, place),
        attribution_card(report, scope, place),
        parity_card(scope, place),
        runs_card(report, scope, place),
    ]
    middle = f'<div class="cards">{"".join(cards)}</div>' if any(cards) else ""
    return [drift_card(report, scope, f"Drift{place}"), middle]


def _place(scope: Mapping[str, Any], scopes: list[dict[str, Any]]) -> str:
    """Return which path a card is about, where there are several."""
    if len(scopes) == 1:
        return ""
    alone = sum(one["path"] == scope["path"] for one in scopes) == 1
    return f", {scope['path']}" if alone else f", {scope['path']} ({scope['role']})"


def _tiles(report: Mapping[str, Any], scopes: list[dict[str, Any]]) -> str:
    open_ = [one for one in report["incidents"] if one["state"] == "open"]
    critical = sum(one["severity"] == "critical" for one in open_)
    shown = [("open incidents", count(len(open_)), f"{count(critical)} critical" if open_ else "")]
    moved = [(one, latest(one, "drifted_features")[0]) for one in scopes]
    known = [(one, figure) for one, figure in moved if figure is not None]
    if known:
        first, figure = known[0]
        of = len(series_of(first, "psi")) or len(series_of(first, "js_distance"))
        beside = [
            f"of {count(of)}{_place(first, scopes)}",
            *(f"{count(one)}{_place(at, scopes)}" for at, one in known[1:]),
        ]
        shown.append(("features drifted", count(figure), "; ".join(beside)))
    for names in _TILES:
        made = next((one for metric, name in names if (one := _tile(report, scopes, metric, name))), None)
        shown += [] if made is None else [made]
    return tiles(
        (text(name), said, text(beside.replace(" %", "\u00a0%"))) for name, said, beside in shown[:_MOST_TILES]
    )


_TILES = (
    (("latency_ms_p99", "p99"), ("run_s", "newest run")),
    (("error_rate", "errors"), ("quarantine_share", "in quarantine")),
    (("auc", "AUC"), ("rmse", "RMSE"), ("accuracy", "accuracy"), ("estimated_auc", "AUC, estimated")),
    (("fpr_gap", "widest FPR gap"), ("selection_rate_gap", "widest gap of selection"), ("coverage", "coverage")),
)
"""Of each line the first that is known is shown."""
_MOST_TILES = 6


def _tile(
    report: Mapping[str, Any], scopes: list[dict[str, Any]], metric: str, name: str
) -> tuple[str, str, str] | None:
    """Return the newest value of a metric in the first scope that has one; of several columns the largest."""
    for scope in scopes:
        known = [
            (one["values"][at], at, one["subject"])
            for one in series_of(scope, metric)
            if (at := newest(one)) is not None
        ]
        if known:
            figure, at, subject = max(known)
            limit = report["limits"].get(metric)
            late = at < len(scope["windows"]) - 1
            said = (
                f"by {subject}" if subject else "",
                "" if limit is None else f"limit {value(metric, limit)}",
                moment(scope["windows"][at]["start"])[:-11] if late else "",
            )
            return name, value(metric, figure), "; ".join(filter(None, said))
    return None
