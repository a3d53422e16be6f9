"""Bring a table into the columns and types of a contract without losing a bit; knows nothing of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from twinscore.contract.model import type_name
from twinscore.errors import SchemaMismatch, near

if TYPE_CHECKING:
    from twinscore.contract.model import Contract

__all__ = ["canonical_type", "conform"]

MOST_FAULTS_SHOWN = 5


def conform(table: pa.Table, contract: Contract, *, source: str = "table") -> pa.Table:
    """Return the contract's columns, in its order and types: (n_rows, contract.columns).

    Casts that keep every value are made; other columns are left out.

    Raises:
        SchemaMismatch: a column is missing, double, or of a type that cannot be cast without loss;
            every such column is named with both types.
    """
    if table.schema.equals(contract.schema):
        return table
    columns: list[pa.ChunkedArray] = []
    faults: list[str] = []
    for column in contract.columns:
        places = table.schema.get_all_field_indices(column.name)
        if len(places) != 1:
            problem = "is missing" if not places else f"is there {len(places)} times"
            hint = "" if places else f" {near(column.name, table.column_names)}"
            faults.append(f"column {column.name!r} ({type_name(column.type)}) {problem}.{hint}")
            continue
        try:
            columns.append(_cast(table.column(places[0]), column.type))
        except pa.ArrowInvalid as exc:
            found = type_name(table.schema.field(places[0]).type)
            reason = f" without loss ({exc})" if str(exc) else ""
            faults.append(
                f"column {column.name!r} is {found}, the contract wants {type_name(column.type)}; not castable{reason}."
            )
    if faults:
        shown = " ".join(faults[:MOST_FAULTS_SHOWN])
        more = f" And {len(faults) - MOST_FAULTS_SHOWN} more." if len(faults) > MOST_FAULTS_SHOWN else ""
        message = f"{source} does not fit contract {contract.name!r}: {shown}{more}"
        raise SchemaMismatch(message, source=source, contract=contract.name, faults=faults)
    if not columns:
        return table.select([])
    return pa.table(columns, schema=contract.schema)


def canonical_type(arrow: pa.DataType) -> pa.DataType | None:
    """Return the contract type that holds every value of an Arrow type, or None when there is none.

    >>> canonical_type(pa.int16())
    DataType(int64)
    """
    types = pa.types
    if types.is_dictionary(arrow):
        return canonical_type(arrow.value_type)
    if types.is_integer(arrow):
        return pa.int64()
    if types.is_floating(arrow):
        return pa.float64()
    if types.is_boolean(arrow):
        return pa.bool_()
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return pa.string()
    if types.is_timestamp(arrow):
        return pa.timestamp("us", "UTC" if arrow.tz else None)
    return pa.date32() if types.is_date(arrow) else None


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast, or raise ArrowInvalid: with a reason when a value is in the way, without when the type is."""
    if column.type == wanted:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if pa.types.is_dictionary(column.type):
        return _cast(column.cast(column.type.value_type), wanted)
    found = canonical_type(column.type)
    whole_as_float = found == pa.int64() and wanted == pa.float64()
    if found != wanted and not whole_as_float:
        raise pa.ArrowInvalid
    return column.cast(wanted, safe=True)
