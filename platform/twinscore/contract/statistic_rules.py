"""Run-level rules about the distribution of one column; knows nothing of rows and of Great Expectations."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.hashing import hash_cells
from twinscore.contract.moments import Extremes, Moments, Tally
from twinscore.contract.run_rules import Limits, RunRule
from twinscore.contract.show import show
from twinscore.contract.sketches import MOST_DISTINCT, Counts, Distinct, Seen, Spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from twinscore.contract.aggregate import Aggregate, Part
    from twinscore.contract.cells import Cells, Mask
    from twinscore.contract.model import Column, Severity

__all__ = ["STATISTICS", "MostCommon", "Quantiles", "Statistic", "ValuesSeen"]


def _extremes(cells: Cells) -> Part:
    if cells.extremes is None:
        return Extremes(None, None)
    return Extremes(cells.extremes[0].item(), cells.extremes[1].item())


def _moments(cells: Cells) -> Part:
    return Moments.of(cells.present.astype(np.float64))


def _spread(cells: Cells) -> Part:
    return Spread.of(cells.present.astype(np.float64))


def _distinct(cells: Cells) -> Part:
    hashes = hash_cells(cells)
    present = hashes if cells.missing is None else hashes[~cells.missing]
    return Distinct.of(present)


def _tally(cells: Cells) -> Part:
    return Tally(cells.n_rows, 0 if cells.missing is None else int(np.count_nonzero(cells.missing)))


STATISTICS: dict[str, tuple[str, Callable[[Cells], Part], Callable[[Any], Any]]] = {
    "min": ("extremes", _extremes, lambda part: part.low),
    "max": ("extremes", _extremes, lambda part: part.high),
    "mean": ("moments", _moments, lambda part: part.mean),
    "sum": ("moments", _moments, lambda part: part.sum),
    "stdev": ("moments", _moments, lambda part: part.deviation),
    "median": ("spread", _spread, lambda part: part.median),
    "unique_count": ("distinct", _distinct, lambda part: part.count),
    "unique_proportion": ("distinct", _distinct, lambda part: part.share),
    "non_null_proportion": ("present", _tally, lambda part: (part.n_considered - part.n_broken) / part.n_considered),
}
"""What can be asked of one column: the part it needs, how that is measured, and the number read from it."""

_OF_NOTHING = {"sum": 0.0, "unique_count": 0, "unique_proportion": 0.0, "non_null_proportion": 0.0}
"""Answers for a run without rows; the other statistics have none."""


class Statistic(RunRule):
    """A statistic of one column lies between bounds."""

    def __init__(self, rule_id: str, column: Column, severity: Severity, *, name: str, limits: Limits) -> None:
        part, self._measure, self._read = STATISTICS[name]
        expected = f"{name.replace('_', ' ')} {limits}"
        super().__init__(rule_id, (column.name,), expected, severity, needs=f"{part} {column.name}")
        self.column = column
        self.name = name
        self.limits = limits

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Measure the values that are there."""
        return self._measure(cells[self.columns[0]])

    def answer(self, part: Any, whole: Aggregate) -> tuple[str, bool]:
        """Compare the statistic."""
        value = _OF_NOTHING.get(self.name) if part is None else self._read(part)
        value = _as_written(value, self.column.type) if self.name in ("min", "max") else value
        return _shown(value, part), self.limits.hold(value)


class Quantiles(RunRule):
    """Quantiles of a column lie within ranges.

    A value counts as within when it is close to an end, by 1e-4 of it, as in Great Expectations.
    """

    def __init__(
        self, rule_id: str, column: Column, severity: Severity, *, ranges: Sequence[tuple[float, Any, Any]], method: str
    ) -> None:
        words = ", ".join(f"q{share:g} in [{show(low)}, {show(high)}]" for share, low, high in ranges)
        super().__init__(rule_id, (column.name,), words, severity, needs=f"spread {column.name}")
        self.ranges = tuple(ranges)
        self.method = method

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Measure the values that are there."""
        return _spread(cells[self.columns[0]])

    def answer(self, part: Spread | None, whole: Aggregate) -> tuple[str, bool]:
        """Compare every quantile."""
        if part is None:
            return "no values", False
        values = [part.quantile(share, method=self.method) for share, _, _ in self.ranges]
        observed = ", ".join(
            f"q{share:g}={value:.6g}" for (share, _, _), value in zip(self.ranges, values, strict=True)
        )
        kept = all(_close_within(v, low, high) for v, (_, low, high) in zip(values, self.ranges, strict=True))
        return observed + (f" (within {2.0 ** (part.shift - 53):.1g})" if part.shift else ""), kept


class ValuesSeen(RunRule):
    """The distinct values of a column lie in a list, cover it, or are exactly it.

    Args:
        within: no other value may occur.
        covering: every value of the list must occur.
    """

    def __init__(
        self, rule_id: str, column: Column, severity: Severity, *, values: Sequence[Any], within: bool, covering: bool
    ) -> None:
        listed = ", ".join(show(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        words = "exactly" if within and covering else "only" if within else "at least"
        needs = f"seen {column.name} {hashlib.sha256(repr(values).encode()).hexdigest()[:16]}"
        super().__init__(rule_id, (column.name,), f"{words} the values {listed}", severity, needs=needs)
        self.values = list(dict.fromkeys(values))
        self.within, self.covering = within, covering

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Look the distinct values up."""
        found = [value for value in _distinct_values(cells[self.columns[0]]) if value is not None]
        places = {value: place for place, value in enumerate(self.values)}
        return Seen(frozenset(places[v] for v in found if v in places), any(v not in places for v in found))

    def answer(self, part: Seen | None, whole: Aggregate) -> tuple[str, bool]:
        """Compare what occurred with the list."""
        seen = part or Seen(frozenset(), others=False)
        absent = [value for place, value in enumerate(self.values) if place not in seen.places]
        observed = f"{len(seen.places)} of {len(self.values)} values" + (", and others" if seen.others else "")
        return observed, not (self.within and seen.others) and not (self.covering and absent)


class MostCommon(RunRule):
    """The most frequent value of a column is in a list; ties count when they are allowed.

    With more than 65,536 distinct values it cannot be said, and the rule fails.
    """

    def __init__(self, rule_id: str, column: Column, severity: Severity, *, values: Sequence[Any], ties: bool) -> None:
        listed = ", ".join(show(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
        super().__init__(
            rule_id,
            (column.name,),
            f"the most common value is one of {listed}",
            severity,
            needs=f"counts {column.name}",
        )
        self.values = frozenset(values)
        self.ties = ties

    def measure(self, cells: Mapping[str, Cells], accepted: Mask) -> Part:
        """Count the values that are there."""
        column = cells[self.columns[0]]
        counted = pc.value_counts(column.array)
        counts: dict[Any, int] = {}
        if len(counted) > MOST_DISTINCT + 2:
            return Counts(None)
        for value, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
            if value is not None and value == value:
                counts[value] = counts.get(value, 0) + count
        return Counts(counts)

    def answer(self, part: Counts | None, whole: Aggregate) -> tuple[str, bool]:
        """Look the most frequent values up."""
        if part is None or not part.counts:
            return "no values" if part is None or part.counts is not None else "too many distinct values", False
        most = max(part.counts.values())
        common = [value for value, count in part.counts.items() if count == most]
        hits = len(self.values.intersection(common))
        kept = hits > 0 if self.ties else len(common) == 1 and hits == 1
        return ", ".join(sorted(show(value) for value in common)[:5]), kept


def _distinct_values(cells: Cells) -> list[Any]:
    return [value for value in pc.unique(cells.array).to_pylist() if value == value]


def _close_within(value: float, low: float | None, high: float | None) -> bool:
    ends = (-np.inf if low is None else low, np.inf if high is None else high)
    near_end = any(bool(np.isclose(np.float64(value), np.float64(end), rtol=1e-4, atol=1e-8)) for end in ends)
    return near_end or ends[0] <= value <= ends[1]


def _as_written(value: Any, arrow: pa.DataType) -> Any:
    """Return a number that Arrow stores as the Python value that a contract writes."""
    if value is None or not pa.types.is_temporal(arrow):
        return value
    if pa.types.is_date32(arrow):
        return date(1970, 1, 1) + timedelta(days=value)
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    return instant if arrow.tz else instant.replace(tzinfo=None)


def _shown(value: Any, part: Any) -> str:
    if value is None:
        return "no values"
    about = ""
    if isinstance(part, Distinct) and not part.exact:
        about = f" (estimated, standard error {part.most**-0.5:.1%})"
    if isinstance(part, Spread) and part.shift:
        about = f" (within {2.0 ** (part.shift - 53):.1g})"
    return show(value) + about
