"""What a checker answers: faults of one row, and the verdict on a table; knows nothing of rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from twinscore.contract.cells import Mask

__all__ = ["FAULT_SCHEMA", "Fault", "Verdict", "pointer"]

FAULT_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("expected", pa.string()),
        pa.field("value", pa.string()),
        pa.field("severity", pa.string()),
    ]
)
"""One line per fault of a table; `row` counts from 0 within that table."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one row: where, which rule, what was wanted and what was there."""

    path: str
    column: str | None
    rule: str
    expected: str
    value: str
    severity: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of every row of a table.

    Args:
        accepted: rows without a critical fault: (n_rows,).
        flagged: rows with a warning or an info: (n_rows,).
        faults: one row per fault, in order of `row`: (n_faults, FAULT_SCHEMA).
    """

    accepted: Mask
    flagged: Mask
    faults: pa.Table

    @classmethod
    def clean(cls, n_rows: int) -> Verdict:
        """Return the verdict on `n_rows` rows without a fault."""
        return cls(np.ones(n_rows, dtype=bool), np.zeros(n_rows, dtype=bool), no_faults())

    @property
    def n_rows(self) -> int:
        """Number of rows judged."""
        return len(self.accepted)

    @property
    def n_refused(self) -> int:
        """Number of rows that are not accepted."""
        return int(self.n_rows - np.count_nonzero(self.accepted))


@cache
def no_faults() -> pa.Table:
    """Return the one table of no faults: (0, FAULT_SCHEMA); made when it is needed, as Arrow imports pandas for it."""
    return FAULT_SCHEMA.empty_table()


def pointer(at: str, name: str) -> str:
    """Return the JSON pointer (RFC 6901) of a member of the object at `at`.

    >>> pointer("/instances/0", "a/b")
    '/instances/0/a~1b'
    """
    return f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
