"""Bring a table into the columns and types of a contract without losing a bit; knows nothing of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.model import type_name
from twinscore.contract.rows import OUT_OF_RANGE, WITHIN_YEARS
from twinscore.errors import SchemaMismatch, near

if TYPE_CHECKING:
    from twinscore.contract.model import Contract

__all__ = ["canonical_type", "conform"]

MOST_FAULTS_SHOWN = 5

_INSTANTS = -62_135_596_800_000_000, 253_402_300_799_999_999
"""The first and last microsecond of the years 1 to 9999, counted from 1970."""
_DAYS = -719_162, 2_932_896
"""The first and last day of those years."""


def conform(table: pa.Table, contract: Contract, *, source: str = "table") -> pa.Table:
    """Return the contract's columns, in its order and types: (n_rows, contract.columns).

    Casts that keep every value are made; other columns are left out.

    Raises:
        SchemaMismatch: a column is missing, double, of a type that cannot be cast without loss, or has times that
            JSON cannot say; `fields["faults"]` names every such column, `fields["rules"]` which of these it breaks.
    """
    faults: list[tuple[str, str]] = []
    fits = table.schema.equals(contract.schema)
    columns = {} if fits else _fitting(table, contract, faults)
    for name in [column.name for column in contract.columns if _is_time(column.type)]:
        cells = table.column(name) if fits else columns.get(name)
        if cells is not None and _has_far_times(cells):
            faults.append((OUT_OF_RANGE, f"column {name!r} has a value out of range; expected {WITHIN_YEARS}."))
    if faults:
        rules, texts = zip(*faults, strict=True)
        shown = " ".join(texts[:MOST_FAULTS_SHOWN])
        more = f" And {len(faults) - MOST_FAULTS_SHOWN} more." if len(faults) > MOST_FAULTS_SHOWN else ""
        message = f"{source} does not fit contract {contract.name!r}: {shown}{more}"
        raise SchemaMismatch(message, source=source, contract=contract.name, faults=list(texts), rules=list(rules))
    if fits:
        return table
    return pa.table(list(columns.values()), schema=contract.schema) if columns else table.select([])


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


def _fitting(table: pa.Table, contract: Contract, faults: list[tuple[str, str]]) -> dict[str, pa.ChunkedArray]:
    """Return the contract's columns that can be cast; the others become faults, each a rule and a sentence."""
    columns: dict[str, pa.ChunkedArray] = {}
    for column in contract.columns:
        places = table.schema.get_all_field_indices(column.name)
        if len(places) != 1:
            problem = "is missing" if not places else f"is there {len(places)} times"
            hint = "" if places else f" {near(column.name, table.column_names)}"
            faults.append(("type", f"column {column.name!r} ({type_name(column.type)}) {problem}.{hint}"))
            continue
        try:
            columns[column.name] = _cast(table.column(places[0]), column.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
            found, wanted = type_name(table.schema.field(places[0]).type), type_name(column.type)
            reason = f" without loss ({exc})" if str(exc) else ""
            text = f"column {column.name!r} is {found}, the contract wants {wanted}; not castable{reason}."
            faults.append(("type", text))
    return columns


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast, or raise ArrowInvalid: with a reason when a value is in the way, without when the type is.

    A cast that Arrow lacks raises ArrowNotImplementedError.
    """
    if column.type == wanted:
        return column
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if pa.types.is_dictionary(column.type):
        return _cast(_spelled_out(column), wanted)
    found = canonical_type(column.type)
    whole_as_float = found == pa.int64() and wanted == pa.float64()
    if found != wanted and not whole_as_float:
        raise pa.ArrowInvalid
    return column.cast(wanted, safe=True)


def _spelled_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values of a column of dictionaries; Arrow spells out none of text views, which become text before."""
    kind = column.type.value_type
    if not pa.types.is_string_view(kind):
        return column.cast(kind)
    chunks = [chunk.dictionary.cast(pa.string()).take(chunk.indices) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string())


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date32(kind))


def _has_far_times(column: pa.ChunkedArray) -> bool:
    first, last = _DAYS if pa.types.is_date32(column.type) else _INSTANTS
    ends = pc.min_max(column)
    low, high = ends["min"].value, ends["max"].value
    return low is not None and not first <= low <= high <= last
