"""The part of a report about segments: which of them drifted, each against the same segment of the reference; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twinscore.monitoring.report_charts import latest
from twinscore.monitoring.report_drift import worst_first
from twinscore.monitoring.report_series import newest, series_of
from twinscore.monitoring.report_words import listed, number, window_name
from twinscore.page.cards import card, more, table, text
from twinscore.page.words import count

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["segments_card"]

_SHOWN = 20


def segments_card(report: Mapping[str, Any]) -> str:
    """Return the card of segments that answer live or in runs, those with most drift first; nothing without any."""
    known = []
    for scope in report["scopes"]:
        moved, when = latest(scope, "drifted_features")
        if not scope["segment"] or scope["role"] not in ("live", "batch") or moved is None:
            continue
        known.append((scope, moved, when))
    if not known:
        return ""
    known.sort(key=lambda one: (-one[1], -_worst(one[0])[1], one[0]["segment"], one[0]["path"]))
    rows = []
    for scope, moved, when in known[:_SHOWN]:
        names = [one["subject"] for one in series_of(scope, "feature_drift") if one["values"] and one["values"][-1]]
        name, effect = _worst(scope)
        shown = listed(names) if names else f"none; {name} moved most" if name else "none"
        rows.append((text(scope["segment"], 60), scope["path"], count(moved), text(shown, 160), number(effect),
                     when or window_name(scope["windows"][-1])))  # fmt: skip
    drifted = sum(moved > 0 for _, moved, _ in known)
    said = (
        f"<p>{count(drifted)} of {count(len(known))} segments drifted. Each is held against the same segment of the "
        "reference, so a segment that was always unlike the others is not drift.</p>"
    )
    heads = [("segment", ""), ("path", ""), ("drifted", "n"), ("features", ""), ("largest effect", "n"), ("window", "")]
    body = said + table("Most drift first", heads, rows) + more(len(known) - _SHOWN, "segments")
    return card("Drift by segment", body)


def _worst(scope: Mapping[str, Any]) -> tuple[str, float]:
    """Return the feature that moved most and its newest effect."""
    for one in worst_first(scope):
        at = newest(one)
        if at is not None:
            return str(one["subject"]), float(one["values"][at])
    return "", 0.0
