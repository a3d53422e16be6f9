"""Lines, strips and dots: scales that enclose, gaps that stay gaps, shapes that stay inside."""

from __future__ import annotations

import math
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twinscore.page.lines import HOTTEST, Line, dot, strip, ticks, time_chart

figures = st.one_of(st.none(), st.floats(-1e9, 1e9), st.just(math.nan))
bounds = st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12)).map(sorted)


def chart(line: Line, **more: object) -> str:
    """Draw one line over evenly spread windows."""
    at = [(place + 0.5) / max(len(line.values), 1) for place in range(len(line.values))]
    return time_chart([line], at, label="a line", write=str, axis=["first", "last"], **more)  # type: ignore[arg-type]


@given(bounds)
def test_ticks_enclose_at_equal_steps(pair: list[float]) -> None:
    """Whatever the range, a handful of ascending values holds it."""
    low, high = pair
    found = ticks(low, high)
    steps = [after - before for before, after in pairwise(found)]
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)

    assert 2 <= len(found) <= 7
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert max(steps) - min(steps) <= 1e-6 * max(abs(found[0]), abs(found[-1]))


@given(st.lists(figures, min_size=1, max_size=60))
def test_unknown_is_a_gap(values: list[float | None]) -> None:
    """A line has one piece for each run of two or more known values, and nothing of it is outside of the picture."""
    drawn = chart(Line("a", values))
    known = [value is not None and math.isfinite(value) for value in values]
    runs = [len(run) for run in "".join("x" if one else " " for one in known).split()]
    path = re.search(r'class="line run" d="([^"]*)"', drawn)

    assert (path.group(1).count("M") if path else 0) == sum(run > 1 for run in runs)
    assert "nan" not in drawn
    points = [float(y) for pair in re.findall(r' d="([^"]*)"', drawn) for y in re.findall(r"[ML]\S+ ([\d.-]+)", pair)]
    assert all(-0.1 <= y <= 100.1 for y in points)


def test_windows_that_are_missing_are_a_gap() -> None:
    """Two windows far apart are not joined, though both have values."""
    at = [0.05, 0.15, 0.25, 0.85, 0.95]
    drawn = time_chart([Line("a", [1, 2, 3, 4, 5])], at, label="", write=str, axis=[])
    path = re.search(r'class="line run" d="([^"]*)"', drawn)

    assert path is not None
    assert path.group(1).count("M") == 2


def test_band_needs_both_ends() -> None:
    """The interval is drawn where both of its ends are known."""
    drawn = chart(Line("a", [1, 2, 3, 4], low=[0, 1, None, 3], high=[2, 3, 4, None]))
    band = re.search(r'class="band run" d="([^"]*)"', drawn)

    assert band is not None
    assert len(re.findall(r"[ML]", band.group(1))) == 4
    assert "band" not in chart(Line("a", [1, 2, 3, 4]))


def test_limits_incidents_and_versions_are_marked() -> None:
    """A limit is on the scale though no value reaches it; spans and switches stand where they were."""
    drawn = chart(Line("a", [1.0, 2.0]), limits=[9.0], shades=[(0.25, 0.75)], switches=[0.5], titles=["one", "two"])

    assert ">10.0<" in drawn
    assert drawn.count('class="limit"') == 1
    assert '<rect class="shade" x="250.0" y="0" height="100" width="500.0"/>' in drawn
    assert 'class="switch" d="M500.0 0V100"' in drawn
    assert drawn.count('class="aim"') == 2


@given(st.lists(st.one_of(st.none(), st.integers(-3, 9)), max_size=40))
def test_strip_has_a_cell_for_what_is_known(levels: list[int | None]) -> None:
    """None is no cell, and no cell is hotter than the hottest."""
    spans = [(at / 40, (at + 1) / 40) for at in range(len(levels))]
    drawn = strip(levels, spans, ["<b>"] * len(levels), "a strip", proved=[level == 5 for level in levels])
    heats = [int(one) for one in re.findall(r'class="h(\d+)"', drawn)]

    assert heats == [min(max(level, 0), HOTTEST) for level in levels if level is not None]
    runs = "".join("x" if level == 5 else " " for level in levels).split()
    assert drawn.count('class="mark"') == len(runs)
    assert "<b>" not in drawn


def test_dot_stays_inside() -> None:
    """A value beyond the width is drawn at its end, one without an interval as a dot alone."""
    assert 'd="M99.00 5h0"' in dot(9.0, 1.0, 20.0, 4.0, mark=2.0)
    assert "whisker" not in dot(0.5, None, None, 1.0)
    assert 'd="M1.00 5h0"' in dot(0.5, None, None, 0.0)
