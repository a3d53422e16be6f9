"""Figures as people read them, on a page and in a terminal: counts, shares, seconds, bytes, bins; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST", "bin_name", "count", "cut", "duration", "percent", "rate", "size"]

NOTHING = "-"
LONGEST = 120
"""Letters of a name or value that are shown: what is longer is read in the JSON."""
_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def count(value: float | None) -> str:
    """Write a whole number: 1,234."""
    return NOTHING if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    """Write a share: 12.3 %; what is not nothing is never written as 0."""
    if share is None:
        return NOTHING
    if 0 < abs(share) < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.{2 if abs(share) < 0.1 else 1}f} %"


def rate(value: float | None) -> str:
    """Write rows per second."""
    return NOTHING if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """Write seconds: 0.25 s, 12.3 s, 4 min 5 s, 2 h 3 min."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def size(value: float) -> str:
    """Write bytes: 1.2 MB."""
    place = 0
    while value >= 1000 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{value:,.0f} {_UNITS[place]}" if place == 0 else f"{value:.1f} {_UNITS[place]}"


def cut(text: object, longest: int = LONGEST) -> str:
    """Write text of any length in at most `longest` letters."""
    shown = "" if text is None else str(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def bin_name(one: Mapping[str, Any]) -> str:
    """Write the bounds of a bin: up to 0.1, 0.1 to 0.2, above 0.9."""
    low, high = one["low"], one["high"]
    if low is None:
        return "all" if high is None else f"up to {_edge(high)}"
    return f"above {_edge(low)}" if high is None else f"{_edge(low)} to {_edge(high)}"


def _edge(bound: float) -> str:
    """Write a bound with four digits, and thousands as thousands."""
    return f"{bound:,.0f}" if 10_000 <= abs(bound) < 1e9 else f"{bound:.4g}"
