"""Row rules of one column, each with a vectorised and a one-value form; knows nothing of where they come from.

Missing values follow Great Expectations on pandas: every rule drops them first, except the two
that ask for them. A NaN is missing.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.show import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.cells import Cells, Mask
    from twinscore.contract.model import Column, Severity

__all__ = ["FLOAT32_MAX", "WHOLE_MAX", "Between", "Finite", "Holds", "InSet", "Null", "Present", "Rule", "is_missing"]

FLOAT32_MAX = float(np.finfo(np.float32).max)
"""Largest number that the booster can see; beyond it float32 is infinite."""

WHOLE_MAX = 2**53
"""Largest whole number up to which every integer is a float64."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Rule:
    """One thing that every row must keep.

    Args:
        id: name in faults, such as `expect_column_values_to_be_between(age)`.
        columns: the columns it looks at.
        expected: what it wants, in words for a fault.
        severity: `critical` refuses the row, the others flag it.
    """

    __slots__ = ("columns", "expected", "id", "severity")

    def __init__(self, rule_id: str, columns: tuple[str, ...], expected: str, severity: Severity) -> None:
        self.id = rule_id
        self.columns = columns
        self.expected = expected
        self.severity = severity

    def broken(self, cells: Sequence[Cells]) -> Mask | None:
        """Return the rows that break the rule: (n_rows,), or None when none does; one `Cells` per column."""
        raise NotImplementedError

    def broken_by(self, values: Sequence[object]) -> bool:
        """Say whether one row breaks the rule; one value per column."""
        raise NotImplementedError

    def n_considered(self, cells: Sequence[Cells]) -> int:
        """Return the number of rows that the rule looks at, the denominator of `mostly`."""
        raise NotImplementedError


class Null(Rule):
    """Every value is missing."""

    __slots__ = ()

    def broken(self, cells: Sequence[Cells]) -> Mask | None:
        """Return the rows with a value: (n_rows,)."""
        missing = cells[0].missing
        if missing is None:
            return np.ones(cells[0].n_rows, dtype=bool) if cells[0].n_rows else None
        return None if missing.all() else ~missing

    def broken_by(self, values: Sequence[object]) -> bool:
        """Say whether there is a value."""
        return not is_missing(values[0])

    def n_considered(self, cells: Sequence[Cells]) -> int:
        """Return the number of rows."""
        return cells[0].n_rows


class Present(Rule):
    """No value is missing."""

    __slots__ = ()

    def broken(self, cells: Sequence[Cells]) -> Mask | None:
        """Return the rows without a value: (n_rows,)."""
        return cells[0].missing

    def broken_by(self, values: Sequence[object]) -> bool:
        """Say whether the value is missing."""
        return is_missing(values[0])

    def n_considered(self, cells: Sequence[Cells]) -> int:
        """Return the number of rows."""
        return cells[0].n_rows


class Holds(Rule):
    """A rule about the values of one column that are there."""

    __slots__ = ()

    def holds_for_all(self, cells: Cells) -> bool:
        """Prove cheaply that every value holds; False proves nothing."""
        return False

    def holds(self, cells: Cells) -> Mask:
        """Return where the value holds: (n_rows,); missing positions mean nothing."""
        raise NotImplementedError

    def holds_for(self, value: Any) -> bool:
        """Say whether one value, which is not missing, holds."""
        raise NotImplementedError

    def broken(self, cells: Sequence[Cells]) -> Mask | None:
        """Return the rows whose value is there and does not hold: (n_rows,)."""
        column = cells[0]
        if self.holds_for_all(column):
            return None
        broken = ~self.holds(column)
        if column.missing is not None:
            broken &= ~column.missing
        return broken if broken.any() else None

    def broken_by(self, values: Sequence[object]) -> bool:
        """Say whether the value is there and does not hold."""
        return not is_missing(values[0]) and not self.holds_for(values[0])

    def n_considered(self, cells: Sequence[Cells]) -> int:
        """Return the number of values that are there."""
        missing = cells[0].missing
        return cells[0].n_rows - (0 if missing is None else int(missing.sum()))


class Between(Holds):
    """Values lie between two bounds, either of which may be open or absent.

    Args:
        low: smallest value that holds, as the column's own Python type; None means no bound.
        high: largest value that holds.
        above: `low` itself does not hold.
        below: `high` itself does not hold.
    """

    __slots__ = ("_arrow_high", "_arrow_low", "above", "below", "high", "low")

    def __init__(
        self, rule_id: str, column: Column, severity: Severity, *, low: Any, high: Any, above: bool, below: bool
    ) -> None:
        words = [f"{'>' if above else '>='} {show(low)}"] if low is not None else []
        words += [f"{'<' if below else '<='} {show(high)}"] if high is not None else []
        super().__init__(rule_id, (column.name,), " and ".join(words), severity)
        self.low, self.high, self.above, self.below = low, high, above, below
        self._arrow_low, self._arrow_high = _ordinal(low), _ordinal(high)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Two numbers between which, themselves included, every float64 holds; None when it is not as simple."""
        if self.above or self.below:
            return None
        low, high = self._arrow_low, self._arrow_high
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)

    def holds_for_all(self, cells: Cells) -> bool:
        """Compare the column's extremes only."""
        if cells.extremes is None:
            return True
        low, high = self._arrow_low, self._arrow_high
        as_float = isinstance(low, float) or isinstance(high, float)
        ends = [float(end) if as_float else end.item() for end in cells.extremes]
        return self._inside(ends[0], low, high) and self._inside(ends[1], low, high)

    def holds(self, cells: Cells) -> Mask:
        """Compare every value."""
        values = cells.values
        inside = np.ones(cells.n_rows, dtype=bool)
        if self._arrow_low is not None:
            inside &= values > self._arrow_low if self.above else values >= self._arrow_low
        if self._arrow_high is not None:
            inside &= values < self._arrow_high if self.below else values <= self._arrow_high
        return inside

    def holds_for(self, value: Any) -> bool:
        """Compare one value; a whole number as the float64 that the column is compared as."""
        return self._inside(float(value) if isinstance(value, int) else value, self.low, self.high)

    def _inside(self, value: Any, low: Any, high: Any) -> bool:
        if low is not None and not (value > low if self.above else value >= low):
            return False
        return high is None or (value < high if self.below else value <= high)


class Finite(Holds):
    """Built in: numbers survive the booster's float32, so none is infinite or beyond it."""

    __slots__ = ("limit", "wants_finite")

    def __init__(self, column: Column, *, wants_finite: bool) -> None:
        whole = pa.types.is_integer(column.type)
        # A whole limit for whole numbers: as float64, 2**53 + 1 would be equal to it.
        self.limit = WHOLE_MAX if whole else FLOAT32_MAX
        self.wants_finite = wants_finite
        name, words = "not_finite", "a finite number"
        if not wants_finite:
            name = "out_of_range"
            words = f"within +-{WHOLE_MAX} (2**53)" if whole else f"within +-{FLOAT32_MAX:.9g} (float32)"
        super().__init__(name, (column.name,), words, "critical")

    @property
    def bounds(self) -> tuple[float, float]:
        """Two numbers between which, themselves included, every float64 holds."""
        return -float(self.limit), float(self.limit)

    def holds_for_all(self, cells: Cells) -> bool:
        """Compare the column's extremes only."""
        extremes = cells.extremes
        return extremes is None or (-self.limit <= extremes[0] and extremes[1] <= self.limit)

    def holds(self, cells: Cells) -> Mask:
        """Compare every value."""
        values = cells.values
        if self.wants_finite:
            return np.asarray(~np.isinf(values))
        inside = (values >= -self.limit) & (values <= self.limit)
        return np.asarray(inside | np.isinf(values)) if values.dtype.kind == "f" else np.asarray(inside)

    def holds_for(self, value: Any) -> bool:
        """Compare one value."""
        infinite = isinstance(value, float) and math.isinf(value)
        return not infinite if self.wants_finite else infinite or -self.limit <= value <= self.limit


class InSet(Holds):
    """Values are, or are not, among a list."""

    __slots__ = ("_arrow", "_numbers", "allowed", "inside")

    def __init__(
        self, rule_id: str, column: Column, severity: Severity, *, value_set: Sequence[Any], inside: bool
    ) -> None:
        listed = ", ".join(show(value) for value in value_set[:5]) + (", ..." if len(value_set) > 5 else "")
        words = f"{'one' if inside else 'none'} of {len(value_set)} values: {listed}"
        super().__init__(rule_id, (column.name,), words, severity)
        self.allowed = frozenset(value_set)
        self.inside = inside
        text = pa.types.is_string(column.type)
        self._arrow = pa.array(list(dict.fromkeys(value_set)), pa.string()) if text else None
        self._numbers = np.array([] if text else [float(value) for value in value_set])

    def holds(self, cells: Cells) -> Mask:
        """Look every value up."""
        if self._arrow is not None:
            found = np.asarray(pc.is_in(cells.array, value_set=self._arrow).to_numpy(zero_copy_only=False))
        else:
            found = np.isin(cells.values.astype(np.float64), self._numbers)
        return found if self.inside else ~found

    def holds_for(self, value: Any) -> bool:
        """Look one value up; a whole number as the float64 that the column is compared as."""
        sought = float(value) if type(value) is int else value
        return (sought in self.allowed) is self.inside


def is_missing(value: object) -> bool:
    """Say whether a Python value stands for a missing one: None or NaN."""
    return value is None or value != value


def _ordinal(bound: Any) -> float | int | None:
    """Return the bound as the number that the Arrow column stores: microseconds, days or itself."""
    if isinstance(bound, datetime):
        # A wall time without an offset is stored as if it were UTC.
        instant = bound if bound.tzinfo else bound.replace(tzinfo=UTC)
        return (instant - _EPOCH) // timedelta(microseconds=1)
    if isinstance(bound, date):
        return (bound - _EPOCH.date()).days
    return None if bound is None else float(bound)
