"""Mergeable aggregates; placeholder while the row level is first made usable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from twinscore.contract.run_rules import RunRule
    from twinscore.contract.verdict import Verdict

__all__ = ["Aggregate", "aggregate"]


@dataclass(frozen=True, slots=True)
class Aggregate:
    n_rows: int
    n_refused: int

    def merge(self, other: Aggregate) -> Aggregate:
        """Return the aggregate of both parts."""
        return Aggregate(self.n_rows + other.n_rows, self.n_refused + other.n_refused)

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {"n_rows": self.n_rows, "n_refused": self.n_refused}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Aggregate:
        """Return what `to_json` was made from."""
        return cls(plain["n_rows"], plain["n_refused"])


def aggregate(
    rules: Sequence[RunRule], table: pa.Table, verdict: Verdict, *, columns: Sequence[str] | None = None
) -> Aggregate:
    """Return what `judge` needs of a table."""
    return Aggregate(table.num_rows, verdict.n_refused)
