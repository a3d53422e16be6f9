"""What a Parquet footer says of columns before a row is read, and which row groups that rules out."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.batch.filter import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow.parquet as pq

    from twinscore.batch.recipe import Recipe

__all__ = ["FileColumns", "left_out"]


@dataclass(slots=True, eq=False)
class FileColumns:
    """The columns of files that share a schema."""

    schema: pa.Schema
    names: frozenset[str]
    leaves: Mapping[str, int]
    """Place of each column chunk in a row group, by path."""
    fits: frozenset[str] | None = field(default=None)
    """Columns that folders give, when with them such files were found to fit, whatever their rows are."""

    @classmethod
    def of(cls, metadata: pq.FileMetaData) -> FileColumns:
        """Return the columns that a footer names."""
        schema = metadata.schema
        leaves = {schema.column(index).path: index for index in range(metadata.num_columns)}
        arrow = schema.to_arrow_schema()
        return cls(arrow, frozenset(arrow.names), leaves)

    def all_null(self, metadata: pq.FileMetaData, name: str) -> bool:
        """Tell whether the statistics prove that a column holds no value."""
        if name not in self.leaves:
            return False
        for group in range(metadata.num_row_groups):
            chunk = metadata.row_group(group).column(self.leaves[name])
            if chunk.statistics is None or chunk.statistics.null_count != chunk.num_values:
                return False
        return True


def left_out(
    metadata: pq.FileMetaData, columns: FileColumns, recipe: Recipe, folders: Mapping[str, pa.Scalar]
) -> tuple[int, ...]:
    """Return the row groups in which no row can pass the recipe's filter.

    Args:
        folders: values that folders give to columns.
    """
    if recipe.filter is None:
        return ()
    types = dict(recipe.extra)

    def bounds(group: pq.RowGroupMetaData, name: str) -> Bounds:
        if name in folders:
            value = folders[name].as_py()
            return Bounds(value, value, nulls=value is None, values=value is not None)
        leaf = columns.leaves.get(recipe.in_file(name))
        return Bounds() if leaf is None else _bounds(group.column(leaf), types[name])

    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    return tuple(index for index, group in enumerate(groups) if not recipe.filter.may_hold(partial(bounds, group)))


def _bounds(chunk: pq.ColumnChunkMetaData, kind: pa.DataType) -> Bounds:
    statistics = chunk.statistics
    if statistics is None:
        return Bounds()
    counted = statistics.has_null_count
    # A NaN is missing too, and no statistics count it.
    nulls = pa.types.is_floating(kind) or not counted or statistics.null_count > 0
    values = not counted or statistics.null_count < chunk.num_values
    if not values or not statistics.has_min_max:
        return Bounds(nulls=nulls, values=values)
    low, high = (_typed(value, kind) for value in (statistics.min, statistics.max))
    if low is None or high is None:
        return Bounds(nulls=nulls, values=values)
    return Bounds(low, high, nulls=nulls, values=values)


def _typed(value: Any, kind: pa.DataType) -> Any:
    """Return a bound in the type that the filter compares in, or None when that cannot be told."""
    types = pa.types
    if types.is_boolean(kind):
        return value if isinstance(value, bool) else None
    if types.is_floating(kind):
        good = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
        return float(value) if good else None
    if types.is_integer(kind):
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    if types.is_string(kind):
        return value if isinstance(value, str) else None
    if types.is_date(kind):
        return value if isinstance(value, dt.date) and not isinstance(value, dt.datetime) else None
    # Of times in nanoseconds the last digits are lost: pandas' own type says so, and is left alone.
    if type(value) is not dt.datetime:
        return None
    aware = value.tzinfo is not None
    return None if aware != (kind.tz is not None) else (value.astimezone(dt.UTC) if aware else value)
