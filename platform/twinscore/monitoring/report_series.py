"""What a report's document holds, found again: main scopes, series by metric, the newest value of one; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["main_scopes", "newest", "one_series", "series_of", "subjects_of"]


def main_scopes(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scopes of all rows that people mean by "the model": who answers live, and the batch runs."""
    return [one for one in report["scopes"] if not one["segment"] and one["role"] in ("live", "batch")]


def newest(series: Mapping[str, Any] | None) -> int | None:
    """Return the place of the newest window with a value; None when there is none."""
    values = [] if series is None else series["values"]
    return next((at for at in range(len(values) - 1, -1, -1) if values[at] is not None), None)


def series_of(scope: Mapping[str, Any], metric: str, subject: str | None = None) -> list[dict[str, Any]]:
    """Return the series of a metric in a scope: of one subject, or of all."""
    return [one for one in scope["series"] if one["metric"] == metric and subject in (None, one["subject"])]


def one_series(scope: Mapping[str, Any], metric: str, subject: str = "") -> dict[str, Any] | None:
    """Return the series of a metric and subject, or None."""
    return next(iter(series_of(scope, metric, subject)), None)


def subjects_of(scope: Mapping[str, Any], metric: str) -> list[str]:
    """Return what a metric is known of in a scope, sorted."""
    return sorted(one["subject"] for one in series_of(scope, metric))
