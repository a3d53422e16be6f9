"""Row rules that compare two columns; knows nothing of where they come from."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.rules import Rule, is_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.contract.cells import Cells, Mask
    from twinscore.contract.model import Severity

__all__ = ["Ignore", "Pair", "PairTest"]

Ignore = Literal["both_values_are_missing", "either_value_is_missing", "neither"]
"""Which rows the rule does not look at; the first is Great Expectations' default."""

PairTest = Literal["greater", "greater_equal", "equal"]

_SIGNS: dict[PairTest, str] = {"greater": ">", "greater_equal": ">=", "equal": "=="}
_SCALAR: dict[PairTest, Any] = {"greater": operator.gt, "greater_equal": operator.ge, "equal": operator.eq}


class Pair(Rule):
    """The first column is greater than, or equal to, the second.

    A comparison with a missing value does not hold, so a row with one missing value breaks the
    rule unless `ignore` says that such rows are not looked at.
    """

    __slots__ = ("ignore", "test")

    def __init__(
        self, rule_id: str, columns: tuple[str, str], severity: Severity, *, test: PairTest, ignore: Ignore
    ) -> None:
        super().__init__(rule_id, columns, f"{columns[0]} {_SIGNS[test]} {columns[1]}", severity)
        self.test = test
        self.ignore = ignore

    def broken(self, cells: Sequence[Cells]) -> Mask | None:
        """Return the rows looked at where the comparison does not hold: (n_rows,)."""
        first, second = cells
        holds = self._compare(first, second)
        for column in cells:
            if column.missing is not None:
                holds = holds & ~column.missing
        broken = ~holds
        ignored = self._ignored(cells)
        if ignored is not None:
            broken &= ~ignored
        return broken if broken.any() else None

    def broken_by(self, values: Sequence[object]) -> bool:
        """Say whether the comparison of two values does not hold and is looked at."""
        missing = [is_missing(value) for value in values]
        if any(missing):
            if self.ignore == "neither":
                return True
            return self.ignore == "both_values_are_missing" and not all(missing)
        first, second = values
        if type(first) is not type(second):
            # A whole number beside a fraction is compared as float64, as numpy does.
            first, second = (float(v) if type(v) is int else v for v in values)
        return not _SCALAR[self.test](first, second)

    def n_considered(self, cells: Sequence[Cells]) -> int:
        """Return the number of rows looked at."""
        ignored = self._ignored(cells)
        return cells[0].n_rows - (0 if ignored is None else int(ignored.sum()))

    def _ignored(self, cells: Sequence[Cells]) -> Mask | None:
        masks = [column.missing for column in cells]
        if self.ignore == "both_values_are_missing":
            return None if masks[0] is None or masks[1] is None else masks[0] & masks[1]
        if self.ignore == "either_value_is_missing":
            present = [mask for mask in masks if mask is not None]
            return np.logical_or.reduce(present) if present else None
        return None

    def _compare(self, first: Cells, second: Cells) -> Mask:
        if pa.types.is_string(first.array.type):
            kernel = pc.call_function(self.test, [first.array, second.array])
            return np.asarray(pc.fill_null(kernel, False).to_numpy(zero_copy_only=False))
        left, right = first.values, second.values
        if left.dtype != right.dtype:
            left, right = left.astype(np.float64), right.astype(np.float64)
        compare = {"greater": np.greater, "greater_equal": np.greater_equal, "equal": np.equal}[self.test]
        return np.asarray(compare(left, right))
