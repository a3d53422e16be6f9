"""Features that requests were filled with, beside the table that batch made: in value, in age, and why one is missing.

What counts is the table's newest row of the entity at the moment of the request. Null, not found and too old are told
apart by asking the file that replicas map what it says of the key at that moment.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.dataset as ds

from twinscore.cache.freshness import Status
from twinscore.contract.conform import conform
from twinscore.contract.model import Column, Contract
from twinscore.errors import FileUnreadable, SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from twinscore.cache.features import FeatureLookup
    from twinscore.cache.spec import FeaturesSpec

__all__ = ["FeatureTable", "JoinedCells", "Kind", "compare_joined"]

Kind = Literal["value", "stale", "null", "not_found", "too_old", "not_in_table"]
"""`value`: both have one, and it differs; `stale`: the same, because the one online is of an older row of the table;
`null`, `not_found`, `too_old`: none online, and why; `not_in_table`: one online, none in the table."""

_WHY: dict[Status, Kind] = {Status.NOT_FOUND: "not_found", Status.OUTSIDE_MAX_AGE: "too_old"}


class _Dated(NamedTuple):
    moment_s: float | None
    values: Mapping[str, Any]


@dataclass(slots=True)
class JoinedCells:
    """What a comparison of one feature found."""

    checked: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    behind_s: float | None = None
    """How much older the value online was than the table's, at most."""
    first: str = ""


class FeatureTable:
    """What the table of features says of some entities, with its whole history of them.

    Args:
        path: Parquet file or folder.
        spec: which columns, by which key.
        contract: says the types of key and columns.
        keys: key columns of the entities; others of the table are not read into memory.

    Raises:
        FileUnreadable: the table cannot be read.
        SchemaMismatch: a column is missing or of another type.
    """

    def __init__(self, path: Path, spec: FeaturesSpec, contract: Contract, keys: pa.Table) -> None:
        self.key = tuple(spec.key or contract.key)
        names = [*self.key, *spec.columns]
        columns = [*names, *([spec.as_of] if spec.as_of else [])]
        typed = Contract(str(path), 1, tuple(Column(name, contract.column(name).type) for name in names), (), ())
        try:
            source = ds.dataset(str(path), format="parquet")
            lacking = [name for name in columns if name not in source.schema.names]
            if lacking:
                hint = near(lacking[0], source.schema.names)
                message = f"The table of features {path} has no column {lacking[0]!r}. {hint}"
                raise SchemaMismatch(message, path=str(path), columns=lacking)
            first = self.key[0]
            wanted = keys.column(first).unique().cast(source.schema.field(first).type)
            found = source.to_table(columns=columns, filter=ds.field(first).isin(wanted))
        except (OSError, pa.ArrowException) as error:
            message = f"The table of features {path} cannot be read: {error}."
            raise FileUnreadable(message, path=str(path)) from error
        rows = conform(found, typed, source=str(path)).to_pylist()
        moments = found.column(spec.as_of).to_pylist() if spec.as_of else [None] * len(rows)
        self._rows: dict[Hashable, list[_Dated]] = {}
        for row, moment in zip(rows, moments, strict=True):
            key = tuple(row[name] for name in self.key)
            self._rows.setdefault(key, []).append(_Dated(_seconds(moment), row))

    def at(self, row: Mapping[str, Any], now_s: float) -> _Dated | None:
        """Return the newest row of an entity that was there at a moment, or None."""
        known = self._rows.get(tuple(row[name] for name in self.key), ())
        there = [one for one in known if one.moment_s is None or one.moment_s <= now_s]
        return max(there, key=lambda one: -1.0 if one.moment_s is None else one.moment_s, default=None)


def compare_joined(
    rows: Sequence[Mapping[str, Any]],
    moments_s: Sequence[float],
    table: FeatureTable,
    lookup: FeatureLookup | None,
    columns: Sequence[str],
) -> dict[str, JoinedCells]:
    """Hold the features of rows against the table, feature by feature.

    Args:
        rows: decoded cells with the key; a row without a feature's cell is held against what it would be filled with.
        moments_s: of each row's request, seconds since 1970.
        table: what batch made.
        lookup: the file that replicas map; None when there is none, and nothing is found in it.
        columns: the features.
    """
    found = {name: JoinedCells() for name in columns}
    for row, now_s in zip(rows, moments_s, strict=True):
        key = {name: row[name] for name in table.key}
        joined = None if lookup is None else lookup.join(key, now_s=now_s)
        truth = table.at(row, now_s)
        behind_s = None
        if joined is not None and joined.age_s is not None and truth is not None and truth.moment_s is not None:
            behind_s = truth.moment_s - (now_s - joined.age_s)
        for name in columns:
            cells = found[name]
            cells.checked += 1
            if behind_s is not None:
                cells.behind_s = max(behind_s, cells.behind_s or 0.0)
            filled = None if joined is None else joined.row[name]
            status = Status.NOT_FOUND if joined is None else joined.statuses[name]
            online = row.get(name, filled)
            batch = None if truth is None else truth.values[name]
            kind = _kind(online, batch, filled, status, behind_s)
            if kind is not None:
                cells.kinds[kind] += 1
                shown = ", ".join(f"{part}={value!r}" for part, value in key.items())
                late = f", {behind_s:.0f} s older" if kind == "stale" else ""
                cells.first = (
                    cells.first or f"{shown}: {name} is {batch!r} in the table, {online!r} online ({kind}{late})"
                )
    return found


def _kind(online: Any, batch: Any, filled: Any, status: Status, behind_s: float | None) -> Kind | None:
    """Say how a cell differs, or None."""
    if online is None and status is Status.OUTSIDE_MAX_AGE:
        return "too_old"
    if _bits(online) == _bits(batch):
        return None
    if online is None:
        return _WHY.get(status, "null")
    if batch is None:
        return "not_in_table"
    return "stale" if behind_s is not None and behind_s > 0 and _bits(filled) == _bits(online) else "value"


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if value != value else struct.pack("<d", value)
    return value


def _seconds(moment: Any) -> float | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, datetime.min.time())
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
