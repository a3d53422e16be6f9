"""What the run-level rules need of a table, in a form that merges exactly; knows nothing of what they ask.

A batch run aggregates every shard where it is scored and merges the parts where the run is judged.
Merging is associative and commutative to the last bit, so the judgement does not depend on how
the input was cut into shards.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.contract.cells import batches
from twinscore.contract.moments import Extremes, Moments, Tally
from twinscore.contract.sketches import Counts, Distinct, Seen, Spread, Uniques

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from twinscore.contract.run_rules import RunRule
    from twinscore.contract.verdict import Verdict

__all__ = ["Aggregate", "Part", "aggregate"]

Part = Tally | Extremes | Moments | Spread | Distinct | Uniques | Counts | Seen

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Tally, Extremes, Moments, Spread, Distinct, Uniques, Counts, Seen)
}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A table, or several, as far as runs are judged by it.

    Args:
        n_rows, n_accepted, n_flagged: rows, rows without a critical fault, rows with a warning.
        faults: number of faults by rule.
        columns: the lists of source columns that occurred; one, when all parts agree.
        parts: what the run-level rules measured, by the name under which they ask for it.
    """

    n_rows: int
    n_accepted: int
    n_flagged: int
    faults: Mapping[str, int]
    columns: frozenset[tuple[str, ...]]
    parts: Mapping[str, Part]

    def merge(self, other: Aggregate) -> Aggregate:
        """Return the aggregate of both tables together."""
        parts = dict(self.parts)
        for name, part in other.parts.items():
            parts[name] = parts[name].merge(part) if name in parts else part  # type: ignore[arg-type]
        return Aggregate(
            self.n_rows + other.n_rows,
            self.n_accepted + other.n_accepted,
            self.n_flagged + other.n_flagged,
            dict(sorted((Counter(self.faults) + Counter(other.faults)).items())),
            self.columns | other.columns,
            parts,
        )

    def to_json(self) -> dict[str, Any]:
        """Return dicts, lists and scalars that JSON can hold."""
        return {
            "n_rows": self.n_rows,
            "n_accepted": self.n_accepted,
            "n_flagged": self.n_flagged,
            "faults": dict(self.faults),
            "columns": sorted(list(names) for names in self.columns),
            "parts": {
                name: {"kind": type(part).__name__, "value": part.to_json()}
                for name, part in sorted(self.parts.items())
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Aggregate:
        """Return what `to_json` was made from."""
        parts = {name: _KINDS[part["kind"]].from_json(part["value"]) for name, part in plain["parts"].items()}
        columns = frozenset(tuple(names) for names in plain["columns"])
        return cls(plain["n_rows"], plain["n_accepted"], plain["n_flagged"], dict(plain["faults"]), columns, parts)


def aggregate(
    rules: Sequence[RunRule], table: pa.Table, verdict: Verdict, *, columns: Sequence[str] | None = None
) -> Aggregate:
    """Return what `rules` need of a conformed table and of the verdict on its rows.

    Args:
        columns: names in the source, when some were left out of `table`.
    """
    parts: dict[str, Part] = {}
    wanted = {rule.needs: rule for rule in rules if rule.needs is not None}
    for window, cells in batches(table):
        for name, rule in wanted.items():
            part = rule.measure(cells, verdict.accepted[window])
            parts[name] = parts[name].merge(part) if name in parts else part  # type: ignore[arg-type]
    counts = Counter(verdict.faults["rule"].to_pylist())
    return Aggregate(
        table.num_rows,
        int(np.count_nonzero(verdict.accepted)),
        int(np.count_nonzero(verdict.flagged)),
        dict(sorted(counts.items())),
        frozenset({tuple(table.column_names if columns is None else columns)}),
        parts,
    )
