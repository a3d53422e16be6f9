"""The compiled checker that the batch path and the online path both run; knows nothing of Great Expectations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.aggregate import Aggregate, aggregate
from twinscore.contract.cells import Cells, Mask, batches
from twinscore.contract.conform import conform
from twinscore.contract.ranges import Ranges
from twinscore.contract.row_check import RowCheck
from twinscore.contract.run_rules import RunResult, RunRule, judge
from twinscore.contract.show import show_cells
from twinscore.contract.verdict import FAULT_SCHEMA, Fault, Verdict, no_faults

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy.typing as npt

    from twinscore.contract.model import Contract
    from twinscore.contract.rules import Rule

__all__ = ["Aggregate", "Checker", "Fault", "RunResult", "Verdict"]


class Checker:
    """A contract compiled to rules; made by `compile_contract`, immutable, picklable."""

    def __init__(self, contract: Contract, rules: Sequence[Rule], run_rules: Sequence[RunRule]) -> None:
        self.contract = contract
        self.rules = tuple(rules)
        self.run_rules = tuple(run_rules)
        self._row_check = RowCheck(self.rules)
        self._ranges = Ranges(contract, self.rules)

    def __reduce__(self) -> tuple[object, ...]:
        from twinscore.contract.compile import compile_contract

        return compile_contract, (self.contract,)

    def conform(self, table: pa.Table, *, source: str = "table") -> pa.Table:
        """Return the contract's columns of a table, in its order and types: (n_rows, contract.columns).

        Raises:
            SchemaMismatch: columns are missing or cannot be cast without loss; all are named.
        """
        return conform(table, self.contract, source=source)

    @property
    def bounds(self) -> Mapping[str, tuple[float, float]]:
        """Float64 columns, and two numbers between which, themselves included, their rules of ranges hold."""
        return self._ranges.bounds

    def check(self, table: pa.Table, *, within: Collection[str] | None = None) -> Verdict:
        """Judge every row of a conformed table: (n_rows, contract.columns).

        Args:
            within: columns whose values, as far as they are there, are known to lie within `bounds`; None when nobody
                has looked.
        """
        known: list[Rule] | None = None
        n_rows = table.num_rows
        if within is not None:
            known = self._ranges.but(within)
            table = table.select(list(dict.fromkeys(name for rule in known for name in rule.columns)))
        accepted = np.ones(n_rows, dtype=bool)
        flagged = np.zeros(n_rows, dtype=bool)
        faults: list[pa.Table] = []
        for window, cells in batches(table):
            for rule in self._ranges.left(cells, window.stop - window.start) if known is None else known:
                broken, raised = _broken(rule, cells, window.stop - window.start)
                if broken is None:
                    continue
                if rule.severity == "critical":
                    accepted[window] &= ~broken
                else:
                    flagged[window] |= broken
                faults.append(_fault_table(rule, np.flatnonzero(broken), cells, window.start, raised))
        return Verdict(accepted, flagged, _in_order(faults))

    def check_row(self, row: Mapping[str, object], *, at: str = "") -> list[Fault]:
        """Return every fault of one row of `decode_rows` values; [] means accepted and not flagged.

        `at` is the JSON pointer of the row, such as `/instances/0`.
        """
        return self._row_check.faults(row, at)

    def aggregate(self, table: pa.Table, verdict: Verdict, *, columns: Sequence[str] | None = None) -> Aggregate:
        """Return what `judge` needs of a conformed table; aggregates of parts merge to that of the whole.

        `columns` are the names in the source, when `conform` left some out.
        """
        return aggregate(self.run_rules, table, verdict, columns=columns)

    def judge(self, aggregate: Aggregate) -> list[RunResult]:
        """Return the answer to every run-level expectation."""
        return judge(self.run_rules, aggregate)


def _broken(rule: Rule, cells: Mapping[str, Cells], n_rows: int) -> tuple[Mask | None, str | None]:
    try:
        return rule.broken([cells[name] for name in rule.columns]), None
    except Exception as exc:  # noqa: BLE001 - a rule that cannot be asked is a rule that failed
        return np.ones(n_rows, dtype=bool), type(exc).__name__


def _fault_table(
    rule: Rule, rows: npt.NDArray[np.intp], cells: Mapping[str, Cells], start: int, raised: str | None
) -> pa.Table:
    n = len(rows)
    index = pa.array(rows)
    if raised is not None:
        values = _repeat(f"not judged: {raised}", n)
    elif len(rule.columns) == 1:
        values = show_cells(cells[rule.columns[0]].array.take(index))
    else:
        parts = [
            pc.binary_join_element_wise(_repeat(name, n), show_cells(cells[name].array.take(index)), "=")
            for name in rule.columns
        ]
        values = pc.binary_join_element_wise(*parts, ", ")
    columns = [pa.array(rows + start, pa.int64()), _repeat(rule.columns[0], n), _repeat(rule.id, n),
               _repeat(rule.expected, n), values, _repeat(rule.severity, n)]  # fmt: skip
    return pa.table(columns, schema=FAULT_SCHEMA)


def _repeat(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _in_order(parts: Sequence[pa.Table]) -> pa.Table:
    if not parts:
        return no_faults()
    faults = pa.concat_tables(parts)
    return faults.take(pa.array(np.argsort(faults["row"].to_numpy(), kind="stable")))
