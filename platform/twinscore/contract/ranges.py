"""The range rules of all float columns at once, for batches so small that asking each rule costs more than the answer.

It only ever proves that every value of a column holds. Whatever it does not prove is left to the rules themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.contract.rules import Between, Finite

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from twinscore.contract.cells import Cells
    from twinscore.contract.model import Contract
    from twinscore.contract.rules import Rule

__all__ = ["Ranges"]

_MOST_ROWS = 8192
"""In larger batches a column is worth a call of its own, and a copy is not."""


class Ranges:
    """The rules of a contract, and which of them a look at the extremes of float64 columns settles."""

    def __init__(self, contract: Contract, rules: Sequence[Rule]) -> None:
        floats = {column.name for column in contract.columns if column.type == pa.float64()}
        bounds: dict[str, tuple[float, float]] = {}
        self._rules = list(rules)
        self._column_of: list[str | None] = []
        for rule in rules:
            found = rule.bounds if isinstance(rule, Between | Finite) and rule.columns[0] in floats else None
            self._column_of.append(None if found is None else rule.columns[0])
            if found is not None:
                low, high = bounds.get(rule.columns[0], (-np.inf, np.inf))
                bounds[rule.columns[0]] = max(low, found[0]), min(high, found[1])
        self.bounds = bounds
        """Of float64 columns with such rules: between which two numbers, themselves included, all of them hold."""
        self._names = list(bounds)
        self._lows, self._highs = np.array(list(bounds.values()), dtype=np.float64).reshape(-1, 2).T
        self._others = [rule for rule, name in zip(rules, self._column_of, strict=True) if name is None]

    def left(self, cells: Mapping[str, Cells], n_rows: int) -> list[Rule]:
        """Return the rules that some of `n_rows` rows may break, in the contract's order."""
        if not self._names or not 0 < n_rows <= _MOST_ROWS:
            return self._rules
        arrays = [cells[name].array for name in self._names]
        whole = np.array([array.null_count == 0 for array in arrays])
        if not whole.any():
            return self._rules
        values = np.concatenate([array.to_numpy() for array in arrays if array.null_count == 0]).reshape(-1, n_rows)
        # An extreme is NaN where one of the values is, and NaN is within nothing.
        holds = (values.min(axis=1) >= self._lows[whole]) & (values.max(axis=1) <= self._highs[whole])
        if len(holds) == len(arrays) and holds.all():
            return self._others
        whole[whole] = holds
        return self.but({name for name, held in zip(self._names, whole.tolist(), strict=True) if held})

    def but(self, proved: Collection[str]) -> list[Rule]:
        """Return the rules without those that hold in columns whose values all lie within `bounds`."""
        if len(proved) == len(self._names):
            return self._others
        return [rule for rule, name in zip(self._rules, self._column_of, strict=True) if name not in proved]
