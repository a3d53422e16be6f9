"""What is compared: one row per scored row, with what each of two versions made of it; pure.

| column | |
|---|---|
| `live_score`, `candidate_score` | both versions' scores |
| `live_decision`, `candidate_decision` | each at its own threshold, as it was answered; null for numbers |
| `unit` | what rows that belong together share, such as the entity; without it each row stands for itself |
| `request_id`, `row` | where to look a row up |
| `live_us`, `candidate_us` | time of the answer, and of the call of the shadow, in microseconds |
| `live_row_us`, `candidate_row_us`, `block` | time per row, and which rows were timed together |
| `feature_<name>`, or any other | a segment or group |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.comparison.estimate import Clusters
from twinscore.errors import SchemaMismatch, near

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REQUIRED", "Pairs"]

REQUIRED = ("live_score", "candidate_score", "live_decision", "candidate_decision")
"""Columns that every table of pairs has."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that both versions scored, as arrays, (n_rows,) each."""

    table: pa.Table
    live: NDArray[np.float64]
    candidate: NDArray[np.float64]
    clusters: Clusters
    unscored: int
    """Rows that were left out, because one of the versions has no score for them."""

    @classmethod
    def of(cls, table: pa.Table) -> Pairs:
        """Take a table of pairs; see the columns above.

        Raises:
            SchemaMismatch: a column that it must have is not there.
        """
        for name in REQUIRED:
            if name not in table.column_names:
                message = f"A table of pairs has no column {name!r}. {near(name, table.column_names)}"
                raise SchemaMismatch(message, column=name)
        scored = pc.and_(pc.is_finite(table["live_score"]), pc.is_finite(table["candidate_score"]))
        kept = table.filter(pc.fill_null(scored, fill_value=False))
        units = kept["unit"] if "unit" in kept.column_names else pa.array(np.arange(kept.num_rows))
        return cls(
            kept,
            kept["live_score"].to_numpy().astype(np.float64),
            kept["candidate_score"].to_numpy().astype(np.float64),
            Clusters.of(units),
            table.num_rows - kept.num_rows,
        )

    @property
    def n_rows(self) -> int:
        """Rows that both scored."""
        return len(self.live)

    @property
    def decided(self) -> bool:
        """Whether the versions decide; numbers have no decision."""
        return self.n_rows > 0 and self.table["live_decision"].null_count < self.n_rows

    def flips(self) -> NDArray[np.bool_]:
        """Return which rows the versions decide otherwise."""
        live, candidate = (pc.fill_null(self.table[f"{side}_decision"], "") for side in ("live", "candidate"))
        found: NDArray[np.bool_] = pc.not_equal(live, candidate).to_numpy()
        return found

    def decides(self, side: str, decision: str) -> NDArray[np.bool_]:
        """Return which rows `live` or `candidate` decides so."""
        found: NDArray[np.bool_] = pc.fill_null(pc.equal(self.table[f"{side}_decision"], decision), False).to_numpy()
        return found

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Return a segment's or group's column, or None when it is not there."""
        for known in (f"feature_{name}", name):
            if known in self.table.column_names:
                return self.table[known]
        return None

    def numbers(self, name: str) -> NDArray[np.float64] | None:
        """Return a column of numbers with NaN for null, or None when it is not there or empty."""
        if name not in self.table.column_names or self.table[name].null_count == self.n_rows:
            return None
        found: NDArray[np.float64] = pc.cast(self.table[name], pa.float64(), safe=False).to_numpy()
        return found

    def taking(self, rows: NDArray[Any]) -> Pairs:
        """Return some of the rows, by mask."""
        part = self.table.filter(pa.array(rows))
        return Pairs(part, self.live[rows], self.candidate[rows], self.clusters.taking(rows), 0)
