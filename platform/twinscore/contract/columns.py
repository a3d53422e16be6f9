"""JSON rows to a table column by column, where nothing is wrong with them; knows nothing of faults, HTTP or rules.

Decoding row by row finds and names every fault and costs many times the score of a large request. Here each column is
looked at once. Whatever is not beyond doubt comes back as None, and `RowDecoder`, the authority, decides about it; so
the two accept the same rows and give them the same bits.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.contract.model import type_name
from twinscore.contract.rows import CELL_DECODERS, UnfitCellError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.contract.model import Contract

__all__ = ["ColumnDecoder", "column_of"]

_NONE = type(None)
_PLAIN: dict[str, frozenset[type]] = {
    "int64": frozenset({int}),
    "float64": frozenset({float, int}),
    "bool": frozenset({bool}),
    "string": frozenset({str}),
}
"""Types of values that Arrow takes as they are, or refuses; `type` tells true from 1, which Arrow does not."""


class ColumnDecoder:
    """Turns JSON objects, or JSON arrays by column, into a conformed table; made once per contract."""

    def __init__(self, contract: Contract) -> None:
        self._schema = contract.schema
        self._names = [column.name for column in contract.columns]
        self._kinds = [type_name(column.type) for column in contract.columns]

    def table_of_rows(self, instances: Sequence[object]) -> pa.Table | None:
        """Return (len(instances), contract.columns) when `RowDecoder` would find no fault, or None in doubt."""
        if not instances or set(map(type, instances)) != {dict}:
            return None
        rows: Any = instances
        if set(map(len, rows)) != {len(self._names)}:
            return None
        if len(self._names) == 1:
            columns: Any = [[row.get(self._names[0], row) for row in rows]]
        else:
            try:
                columns = zip(*map(itemgetter(*self._names), rows), strict=True)
            except KeyError:
                return None
        return self._table(columns)

    def table_of_columns(self, columns: Mapping[str, Sequence[object]]) -> pa.Table | None:
        """Return the table of columns of equal length, each there and no other, or None in doubt."""
        if set(columns) != set(self._names) or len({len(values) for values in columns.values()}) != 1:
            return None
        return self._table([columns[name] for name in self._names])

    def _table(self, columns: Any) -> pa.Table | None:
        arrays = []
        for values, kind, field in zip(columns, self._kinds, self._schema, strict=True):
            array = column_of(values, kind, field.type)
            if array is None:
                return None
            arrays.append(array)
        return pa.table(arrays, schema=self._schema)


def column_of(values: Sequence[Any], kind: str, arrow: pa.DataType) -> pa.Array | None:
    """Return decoded JSON values as a column of a contract type, which `kind` names, or None in doubt."""
    found = set(map(type, values))
    found.discard(_NONE)
    plain = _PLAIN.get(kind)
    if plain is not None and not found <= plain:
        return None
    try:
        if plain is None:
            decode = CELL_DECODERS[kind]
            values = [None if value is None else decode(value) for value in values]
        return pa.array(values, arrow)
    except (UnfitCellError, ValueError, OverflowError):
        # Arrow's errors are ValueErrors, and so is a lone surrogate's; whole numbers beyond 2**53 are among them.
        return None
