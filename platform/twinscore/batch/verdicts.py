"""What a batch adds to a contract's verdict: repeated and missing keys, and the lines of the quarantine; no Ray."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.keys import key_rule
from twinscore.batch.parts import quarantine_schema
from twinscore.contract.model import Expectation
from twinscore.contract.show import show_cells
from twinscore.contract.verdict import FAULT_SCHEMA, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from twinscore.batch.plan import Piece
    from twinscore.contract.check import Checker
    from twinscore.contract.run_rules import RunRule

__all__ = ["Refusals", "run_rules"]


def run_rules(checker: Checker, key: Sequence[str]) -> tuple[RunRule, ...]:
    """Return the run-level rules without the key's uniqueness, which the passes decide exactly."""
    own = key_rule(key)
    return tuple(rule for rule in checker.run_rules if rule.id != own or rule.severity != "critical")


class Refusals:
    """A verdict that grows: what the contract refused, and what the run refuses besides.

    Args:
        verdict: the contract's, on a table.
        rows: of that table.
    """

    def __init__(self, verdict: Verdict, rows: int) -> None:
        self._verdict = verdict
        self._rows = rows
        self._accepted = verdict.accepted.copy()
        self._faults = [verdict.faults]

    def add(
        self, broken: NDArray[np.bool_], column: str, rule: str, expected: str, cells: Sequence[pa.ChunkedArray]
    ) -> None:
        """Refuse the rows where `broken`, printing their `cells`: (n_rows,) each."""
        rows = np.flatnonzero(broken)
        if not len(rows):
            return
        self._accepted &= ~broken
        shown = [show_cells(cell.take(pa.array(rows)).combine_chunks()) for cell in cells]
        values = shown[0] if len(shown) == 1 else pc.binary_join_element_wise(*shown, ", ")
        same = [pa.repeat(pa.scalar(text, pa.string()), len(rows)) for text in (column, rule, expected, "critical")]
        self._faults.append(
            pa.table([pa.array(rows, pa.int64()), same[0], same[1], same[2], values, same[3]], schema=FAULT_SCHEMA)
        )

    def missing_keys(self, table: pa.Table, names: Sequence[str]) -> None:
        """Refuse rows in which a key column that the contract does not guard is missing."""
        for name in names:
            column = table.column(name)
            missing = pc.is_null(column, nan_is_null=True).to_numpy()
            rule = Expectation("expect_column_values_to_not_be_null", {"column": name}).id
            self.add(missing, name, rule, "a key is not null", [column])

    def verdict(self) -> Verdict:
        """Return the verdict with everything in it."""
        if len(self._faults) == 1:
            return self._verdict
        faults = pa.concat_tables(self._faults)
        faults = faults.take(pa.array(np.argsort(faults["row"].to_numpy(), kind="stable")))
        return Verdict(self._accepted, self._verdict.flagged, faults)

    def rows_by_rule(self) -> Counter[str]:
        """Count refused rows by the critical rule that they broke."""
        faults = self._critical()
        pairs = faults.group_by(["row", "rule"]).aggregate([])
        counts = pairs["rule"].value_counts()
        return Counter({item["values"]: item["counts"] for item in counts.to_pylist()})

    def lines(
        self,
        table: pa.Table,
        key: pa.Schema,
        origin: Sequence[tuple[Piece, int | NDArray[np.int64], int]],
        shard: int,
    ) -> pa.Table:
        """Return the quarantine's lines: one per critical fault, with the row's key and its place in the input.

        Args:
            table: the rows judged.
            origin: from which piece each run of them comes, from which row on or from which rows, and how many.
        """
        faults = self._critical()
        rows = faults["row"].to_numpy()
        starts = np.cumsum([0, *(count for _, _, count in origin)])
        which = np.searchsorted(starts, rows, side="right") - 1
        names = pa.array([piece.name for piece, _, _ in origin], pa.string())
        numbers = [row + np.arange(count) if isinstance(row, int) else row for _, row, count in origin]
        words = [faults.column(name) for name in ("column", "rule", "expected", "value", "severity")]
        columns = [
            *(table.column(name).take(faults["row"]) for name in key.names),
            names.dictionary_encode().take(pa.array(which)),
            pa.array(np.concatenate(numbers)[rows], pa.int64()),
            pa.repeat(pa.scalar(shard, pa.int32()), len(rows)),
            *words,
        ]
        return pa.table(columns, schema=quarantine_schema(key))

    def _critical(self) -> pa.Table:
        faults = self.verdict().faults
        return faults.filter(pc.equal(faults["severity"], "critical"))
