"""Pictures over time and of intervals: lines with bands, strips of heat, dots with whiskers; pure.

As with bars, only shapes are drawn and stretched to the width there is; labels are HTML beside them. What is not known
is a gap, never a line across.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["HOTTEST", "Line", "dot", "strip", "ticks", "time_chart"]

HOTTEST = 5
"""Level of the darkest cell of a strip; 0 is the palest."""
_WIDTH, _HEIGHT = 1_000.0, 100.0
_MOST_DOTS = 40
_APART = 1.6
"""Two windows further apart than so many of the usual steps have a gap between them."""
_LONGEST_LABEL = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One figure over time; the sequences are as long as the chart has windows."""

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    """Ends of the interval, drawn as a band; empty for none."""
    kind: str = "run"
    """Class that colours it: `run`, `second`, `third`, `fourth` or `fifth`."""
    dots: bool = False
    """Draw points only, for what is measured beside what is estimated."""


def ticks(low: float, high: float, wanted: int = 3) -> list[float]:
    """Return round values that enclose a range, at equal steps, about `wanted` steps apart.

    >>> ticks(0.02, 0.41)
    [0.0, 0.2, 0.4, 0.6]
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    size = max(abs(low), abs(high), 1e-12)
    if high - low < 1e-9 * size:
        low, high = (0.0, 1.0) if not low and not high else (low - 0.05 * size, high + 0.05 * size)
    step = _round_up((high - low) / wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{step * at:.12g}") for at in range(first, last + 1)]


def time_chart(
    lines: Sequence[Line],
    at: Sequence[float],
    *,
    label: str,
    write: Callable[[float], str],
    axis: Sequence[str],
    zero: bool = False,
    limits: Sequence[float] = (),
    shades: Iterable[tuple[float, float]] = (),
    switches: Iterable[float] = (),
    titles: Sequence[str] = (),
) -> str:
    """Draw lines over time with a scale on the left and moments below.

    Args:
        lines: what is drawn; the first is on top.
        at: middle of each window, 0 to 1 of the width, ascending.
        label: what the picture says, for those who do not see it.
        write: how a value is written on the scale.
        axis: moments that are written below, evenly spread.
        zero: let the scale begin at zero.
        limits: values that should be kept to, as dashed lines.
        shades: spans of time to mark, 0 to 1 of the width.
        switches: moments at which the version changed, 0 to 1 of the width.
        titles: what is said of each window when one points at it; empty for nothing.
    """
    known = [value for line in lines for row in (line.values, line.low, line.high) for value in row if _finite(value)]
    reach = [*[float(value) for value in known if value is not None], *limits, *([0.0] if zero or not known else [])]
    scale = ticks(min(reach), max(reach))
    least, most = scale[0], scale[-1]

    def up(value: float) -> float:
        return _HEIGHT * (1 - (value - least) / (most - least))

    shapes = [_rule(up(value), "grid") for value in scale]
    shapes += [
        f'<rect class="shade" x="{_WIDTH * start:.1f}" y="0" height="100" '
        f'width="{max(_WIDTH * (end - start), 2):.1f}"/>'
        for start, end in shades
    ]
    shapes += [f'<path class="switch" d="M{_WIDTH * one:.1f} 0V100" {_FIXED}/>' for one in switches]
    shapes += [_rule(up(value), "limit") for value in limits]
    pieces = [_pieces(line, at) for line in lines]
    for line, found in zip(reversed(lines), reversed(pieces), strict=True):
        shapes += _band(line, found, at, up)
    for line, found in zip(reversed(lines), reversed(pieces), strict=True):
        shapes += _stroke(line, found, at, up)
    shapes += _titles(at, titles)
    labels = "".join(
        f'<span class="y" style="top:{up(value):.0f}%">{escape(write(value))}</span>' for value in _few(scale)
    )
    below = "".join(f"<span>{escape(one)}</span>" for one in axis)
    said = escape(label[:_LONGEST_LABEL], quote=True)
    return (
        f'<div class="plot">{labels}<svg class="over-time" viewBox="0 0 1000 100" preserveAspectRatio="none" '
        f'role="img" aria-label="{said}"><desc>{said}</desc>{"".join(shapes)}</svg></div>'
        f'<div class="axis beside">{below}</div>'
    )


def strip(
    levels: Sequence[int | None],
    spans: Sequence[tuple[float, float]],
    titles: Sequence[str],
    label: str,
    *,
    proved: Sequence[bool] = (),
) -> str:
    """Draw one cell per window, the darker the further it is; None is no cell, `proved` a mark below it.

    Args:
        levels: 0 to HOTTEST.
        spans: begin and end of each window, 0 to 1 of the width, ascending.
        titles: what is said of each cell when one points at it.
        label: what the strip says, for those who do not see it.
        proved: cells with a mark.
    """
    shapes = []
    for level, (start, end), said in zip(levels, spans, titles, strict=True):
        if level is not None:
            heat = min(max(level, 0), HOTTEST)
            cell = f'<rect class="h{heat}" x="{_WIDTH * start:.1f}" y="0" width="{0.93 * _WIDTH * (end - start):.1f}" '
            shapes.append(f'{cell}height="10"><title>{escape(said)}</title></rect>')
    shapes += [
        f'<rect class="mark" x="{_WIDTH * spans[first][0]:.1f}" y="10.6" '
        f'width="{_WIDTH * (spans[last][1] - spans[first][0]) - 1:.1f}" height="2"/>'
        for first, last in _runs(proved)
    ]
    return (
        f'<svg class="strip" viewBox="0 0 1000 13" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(label[:_LONGEST_LABEL], quote=True)}">{"".join(shapes)}</svg>'
    )


def dot(value: float, low: float | None, high: float | None, most: float, *, mark: float | None = None) -> str:
    """Draw a value as a dot and its interval as a line through it, from 0 to `most`; `mark` is what it is held against.

    Args:
        value: in the unit of `most`.
        low: lower end of the interval; None for no interval.
        high: upper end.
        most: the whole width.
        mark: a value to compare with, as a thin line.
    """

    def across(one: float) -> float:
        return 1 + 98 * min(max(one / most if most > 0 else 0.0, 0.0), 1.0)

    shapes = [f'<path class="grid" d="M1 5H99" {_FIXED}/>']
    if mark is not None:
        shapes.append(f'<path class="against" d="M{across(mark):.2f} 0V10" {_FIXED}/>')
    if low is not None and high is not None:
        shapes.append(f'<path class="whisker" d="M{across(low):.2f} 5H{across(high):.2f}" {_FIXED}/>')
    shapes.append(f'<path class="spot run" d="M{across(value):.2f} 5h0" {_FIXED}/>')
    return (
        f'<svg class="dot" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">{"".join(shapes)}</svg>'
    )


_FIXED = 'vector-effect="non-scaling-stroke"'


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _round_up(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * many for many in (1, 2, 2.5, 5, 10) if size * many >= step * (1 - 1e-9))


def _few(scale: list[float]) -> list[float]:
    """Return the values of a scale that are written: all, or every other one."""
    return scale if len(scale) <= 5 else scale[::2]


def _rule(y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M0 {y:.1f}H1000" {_FIXED}/>'


def _pieces(line: Line, at: Sequence[float]) -> list[list[int]]:
    """Return the places of known values, in pieces without a gap."""
    steps = sorted(after - before for before, after in pairwise(at))
    usual = steps[len(steps) // 2] if steps else 1.0
    found: list[list[int]] = []
    before = None
    for place, value in enumerate(line.values):
        if not _finite(value):
            before = None
            continue
        if before is None or at[place] - at[before] > _APART * usual:
            found.append([])
        found[-1].append(place)
        before = place
    return found


def _stroke(line: Line, pieces: list[list[int]], at: Sequence[float], up: Callable[[float], float]) -> list[str]:
    def point(place: int) -> str:
        value = line.values[place]
        assert value is not None
        return f"{_WIDTH * at[place]:.1f} {up(value):.1f}"

    kind = escape(line.kind, quote=True)
    path = "" if line.dots else "".join("M" + "L".join(map(point, piece)) for piece in pieces if len(piece) > 1)
    shapes = [f'<path class="line {kind}" d="{path}" {_FIXED}/>'] if path else []
    many = sum(map(len, pieces)) > _MOST_DOTS and not line.dots
    alone = [piece for piece in pieces if not many or len(piece) == 1]
    spots = "".join(f"M{point(place)}h0" for piece in alone for place in piece)
    return [*shapes, f'<path class="spot {kind}" d="{spots}" {_FIXED}/>'] if spots else shapes


def _band(line: Line, pieces: list[list[int]], at: Sequence[float], up: Callable[[float], float]) -> list[str]:
    if not line.low or not line.high:
        return []
    shapes = []
    for piece in pieces:
        upper, lower = [], []
        for place in piece:
            low, high = line.low[place], line.high[place]
            if low is None or high is None or not (_finite(low) and _finite(high)):
                continue
            x = _WIDTH * at[place]
            upper.append(f"{x:.1f} {up(high):.1f}")
            lower.append(f"{x:.1f} {up(low):.1f}")
        if line.dots or len(upper) == 1:
            whiskers = "".join(f"M{end}L{start}" for end, start in zip(upper, lower, strict=True))
            shapes.append(f'<path class="whisker {escape(line.kind, quote=True)}" d="{whiskers}" {_FIXED}/>')
        elif upper:
            outline = "L".join([*upper, *reversed(lower)])
            shapes.append(f'<path class="band {escape(line.kind, quote=True)}" d="M{outline}Z"/>')
    return shapes


def _titles(at: Sequence[float], titles: Sequence[str]) -> list[str]:
    width = _WIDTH / max(len(at), 1)
    return [
        f'<rect class="aim" x="{_WIDTH * x - width / 2:.1f}" y="0" width="{width:.1f}" height="100">'
        f"<title>{escape(said)}</title></rect>"
        for x, said in zip(at, titles, strict=False)
    ]


def _runs(marked: Sequence[bool]) -> list[tuple[int, int]]:
    """Return the first and the last place of each run of marked cells."""
    found: list[tuple[int, int]] = []
    for place, one in enumerate(marked):
        if one and found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        elif one:
            found.append((place, place))
    return found
