"""Columns of a run beside columns of a table: the types that tables hold, and what differs; knows no database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["plain_type", "refuse_other_columns"]

_SHOWN = 5

_WIDER = {
    pa.int8(): pa.int16(),
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.date64(): pa.date32(),
}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of the same values without dictionaries, unsigned numbers, or a time unit but microseconds.

    >>> plain_type(pa.dictionary(pa.int32(), pa.string()))
    DataType(string)
    """
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    return _WIDER.get(kind, kind)


def refuse_other_columns(declared: Mapping[str, str], present: Mapping[str, str], where: str) -> None:
    """Compare a run's columns with a table's, each with its type; their order does not matter.

    Raises:
        SchemaMismatch: they differ; the message names how.
    """
    differences = [f"{name} {kind} is missing" for name, kind in declared.items() if name not in present]
    differences += [
        f"{name} is {present[name]} instead of {kind}"
        for name, kind in declared.items()
        if name in present and present[name] != kind
    ]
    differences += [f"{name} {kind} is not in the run" for name, kind in present.items() if name not in declared]
    if differences:
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        message = (
            f"The columns of {where} are not those of the run: {'; '.join(differences[:_SHOWN])}{more}. "
            "Publish to another table, or change that one."
        )
        raise SchemaMismatch(message, differences=differences)
