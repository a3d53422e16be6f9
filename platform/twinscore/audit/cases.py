"""Draws answered rows for people to look at: some of every group and decision, the same ones whenever it is done.

Which row is drawn follows from a hash of seed, request and row alone, so neither the order of reading nor compaction
changes it, and a record that is there twice counts once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.record import FEATURE
from twinscore.audit.sample import row_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CaseDraw", "Group", "chosen_rows", "features_of", "strata_of"]

_MOST_STRATA = 200
_OTHERS = "others"

Group = tuple[str, str | None]
"""A column, and one of its values or all of them."""


@dataclass(slots=True)
class CaseDraw:
    """Keeps those rows of what it is shown that are drawn.

    Args:
        cases: how many are wanted in all.
        seed: another one draws other rows.
    """

    cases: int
    seed: int
    counts: dict[str, int] = field(default_factory=dict)
    """Rows of each stratum that were shown."""
    _kept: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, rows: pa.Table, strata: pa.StringArray) -> None:
        """Show rows: (n_rows, log_schema), and the stratum of each: (n_rows,)."""
        if not rows.num_rows:
            return
        order = row_order(rows, self.seed)
        for stratum in pc.unique(strata).to_pylist():
            places = np.flatnonzero(pc.equal(strata, stratum).to_numpy(zero_copy_only=False))
            name = stratum if stratum in self.counts or len(self.counts) < _MOST_STRATA else _OTHERS
            self.counts[name] = self.counts.get(name, 0) + len(places)
            least = places[np.argsort(order[places], kind="stable")[: self.cases]]
            kept = self._kept.setdefault(name, {})
            for at, document in zip(order[least].tolist(), rows.take(least).to_pylist(), strict=True):
                kept[at] = document
            self._kept[name] = dict(sorted(kept.items())[: self.cases])

    def drawn(self) -> list[tuple[str, dict[str, Any]]]:
        """Return stratum and row of every case: as many of each stratum, in an order that says nothing of it."""
        queues = {name: list(kept.items()) for name, kept in sorted(self._kept.items())}
        found: list[tuple[int, str, dict[str, Any]]] = []
        for place in range(self.cases):
            for name, kept in queues.items():
                if place < len(kept) and len(found) < self.cases:
                    found.append((kept[place][0], name, kept[place][1]))
        return [(name, document) for _, name, document in sorted(found, key=lambda one: one[0])]


def chosen_rows(rows: pa.Table, groups: Sequence[Group], segment: str, version: str) -> pa.Table:
    """Return the answered rows of some groups, a segment (`column=value`, or empty) and a version (empty: any)."""
    kept = rows.filter(pc.field("score").is_valid() & pc.field("row").is_valid())
    if version:
        kept = kept.filter(pc.field("version") == version)
    if segment:
        column, _, value = segment.partition("=")
        kept = kept.filter(pc.equal(_text(kept, column), value))
    wanted: dict[str, list[str]] = {}
    for column, one in groups:
        wanted.setdefault(column, [])
        if one is not None:
            wanted[column].append(one)
    inside = np.zeros(kept.num_rows, bool) if wanted else np.ones(kept.num_rows, bool)
    for column, values in wanted.items():
        texts = _text(kept, column)
        here = pc.is_in(texts, pa.array(values)) if values else pc.is_valid(texts)
        inside |= pc.fill_null(here, False).to_numpy(zero_copy_only=False)
    return kept.filter(pa.array(inside))


def strata_of(rows: pa.Table, columns: Sequence[str], outcome: str | None = None) -> pa.StringArray:
    """Return what each row is drawn from: its groups, its decision, and its outcome where a column has it: (n_rows,).

    Rows without a decision, as of a model that gives a number, are told apart by whether they ask for a person.
    """
    decision = pc.coalesce(rows["decision"].cast(pa.string()), _reviewed(rows))
    parts = [pc.binary_join_element_wise(f"{name}=", _text(rows, name), "") for name in columns]
    parts = [pc.fill_null(part, f"{name}=?") for name, part in zip(columns, parts, strict=True)] + [decision]
    if outcome is not None and outcome in rows.column_names:
        parts.append(
            pc.fill_null(pc.binary_join_element_wise("was ", rows[outcome].cast(pa.string()), ""), "not known")
        )
    joined = pc.binary_join_element_wise(*parts, ", ") if len(parts) > 1 else parts[0]
    return _whole(joined)


def features_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features of a row of the log, by the names that the model knows."""
    return {name.removeprefix(FEATURE): value for name, value in row.items() if name.startswith(FEATURE)}


def _reviewed(rows: pa.Table) -> pa.ChunkedArray:
    return pc.if_else(pc.fill_null(rows["review"], False), "review", "answered")


def _text(rows: pa.Table, column: str) -> pa.StringArray:
    """Return a feature as text: (n_rows,); all null where the log does not have it."""
    name = f"{FEATURE}{column}"
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, pa.string())
    values = rows[name]
    plain = values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values
    return _whole(plain.cast(pa.string()))


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.StringArray:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
