"""Pictures of a report: bars as inline SVG without text, which the page's own table beside them holds; pure.

Text in an SVG shrinks with it; so labels are HTML and only shapes are drawn, stretched to the width there is.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bar", "grid", "histogram", "span"]

_HEIGHT = 100.0
_GAP = 0.12


def bar(share: float, *, reference: tuple[float, float] | None = None, kind: str = "run") -> str:
    """Draw a bar from 0 to `share` of the width, and the reference's bounds as a mark.

    Args:
        share: 0 to 1 of the width; more is drawn as 1.
        reference: lowest and highest share of the reference.
        kind: class that colours the bar: `run` or `bad`.
    """
    width = 100.0 * min(max(share, 0.0), 1.0)
    mark = ""
    if reference is not None:
        low, high = (100.0 * min(max(one, 0.0), 1.0) for one in reference)
        # A mark of no width would not be seen.
        start = min(low, 99.2)
        mark = f'<rect class="mark" x="{start:.2f}" y="0" width="{max(high - start, 0.8):.2f}" height="10"/>'
    drawn = f'<rect class="{escape(kind, quote=True)}" x="0" y="1.5" width="{width:.2f}" height="7"/>'
    return f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{drawn}{mark}</svg>'


def histogram(bins: Sequence[dict[str, Any]], label: str) -> str:
    """Draw the run's share of each bin as a bar and the reference's as a line across it.

    Args:
        bins: with `share`, `reference_share` (or null) and `name`.
        label: what the picture says, for those who do not see it.
    """
    tallest = max([*((one["share"] or 0.0) for one in bins), *((one["reference_share"] or 0.0) for one in bins), 1e-9])
    shapes: list[str] = []
    line: list[str] = []
    for at, one in enumerate(bins):
        height = _HEIGHT * (one["share"] or 0.0) / tallest
        shapes.append(
            f'<rect class="run" x="{at + _GAP:.2f}" y="{_HEIGHT - height:.2f}" width="{1 - 2 * _GAP:.2f}" '
            f'height="{height:.2f}"><title>{escape(one["name"])}</title></rect>'
        )
        if one["reference_share"] is not None:
            y = _HEIGHT * (1 - one["reference_share"] / tallest)
            line.append(f"{'M' if not line else 'L'}{at} {y:.2f}H{at + 1}")
    outline = f'<path class="outline" d="{"".join(line)}" vector-effect="non-scaling-stroke"/>' if line else ""
    return (
        f'<svg class="histogram" viewBox="0 -2 {len(bins)} 102" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(shapes)}{outline}</svg>'
    )


def span(share: float, low: float, high: float, most: float) -> str:
    """Draw a bar with the ends of its interval as a mark; `low` and `high` in the unit of `most`, the whole width."""
    return bar(share, reference=(low / most, high / most))


def grid(counts: Sequence[Sequence[int]], label: str) -> str:
    """Draw counts as squares, the fuller the darker: `counts[across][up]`, with the diagonal as a line.

    Args:
        counts: square, (n, n).
        label: what the picture says, for those who do not see it.
    """
    size = len(counts)
    most = max((rows for column in counts for rows in column), default=0) or 1
    shapes = [
        f'<rect class="run" x="{across}" y="{size - 1 - up}" width="1" height="1" '
        f'fill-opacity="{0.12 + 0.88 * (rows / most) ** 0.35:.2f}"><title>{rows:,}</title></rect>'
        for across, column in enumerate(counts)
        for up, rows in enumerate(column)
        if rows
    ]
    line = f'<path class="outline" d="M0 {size}L{size} 0" vector-effect="non-scaling-stroke"/>'
    return (
        f'<svg class="histogram" viewBox="0 0 {size} {size}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label, quote=True)}">{"".join(shapes)}{line}</svg>'
    )
