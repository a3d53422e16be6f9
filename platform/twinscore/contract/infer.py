"""Write a first contract from data: what is certain, with room around what is only likely; knows nothing of training.

A contract that is too tight refuses good rows on its first day, so bounds get a margin as wide as
the range seen, and what cannot be bounded (times, free text) is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.arguments import kind_of
from twinscore.contract.cells import Cells
from twinscore.contract.conform import canonical_type, conform
from twinscore.contract.model import COLUMN_TYPES, Column, Contract, Expectation
from twinscore.contract.rules import FLOAT32_MAX, WHOLE_MAX
from twinscore.errors import ContractInvalid, InputEmpty, SchemaMismatch, near

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_CATEGORIES", "infer_contract"]

MOST_CATEGORIES = 1000
"""A text column with more distinct values than this is free text, and gets no `in_set`."""


def infer_contract(
    table: pa.Table,
    *,
    name: str,
    key: Sequence[str],
    features: Sequence[str] | None = None,
    time: str | None = None,
    groups: Sequence[str] = (),
    version: int = 1,
) -> Contract:
    """Return a contract that the table itself keeps, apart from broken keys and numbers beyond float32.

    Args:
        table: rows to learn from; the label is left out of `features` by the caller.
        features: columns that the model sees; None means every column.
        time: column of the event time, kept in the contract without bounds.
        groups: columns that metrics are split by; an unknown group only flags a row.

    Raises:
        InputEmpty: the table has no rows.
        SchemaMismatch: a named column is not in the table.
        ContractInvalid: a column has a type that a contract cannot hold.
    """
    if table.num_rows == 0:
        message = f"cannot infer contract {name!r} from a table without rows"
        raise InputEmpty(message, contract=name)
    chosen = list(table.column_names) if features is None else list(features)
    names = list(dict.fromkeys([*key, *chosen, *([time] if time else []), *groups]))
    columns = _columns(table, names)
    contract = Contract(name, version, columns, tuple(key), ())
    conformed = conform(table, contract, source="the table")
    expectations: list[Expectation] = []
    for column in columns:
        array = conformed[column.name].combine_chunks()
        cells = Cells(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array)
        if column.name not in key:
            severity = "critical" if column.name in chosen or column.name == time else "warning"
            expectations += _about(column, cells, severity, bounded=column.name != time)
    expectations.append(Expectation("expect_table_row_count_to_be_between", {"min_value": 1}))
    expectations.append(
        Expectation("expect_column_values_to_be_unique", {"column": key[0]})
        if len(key) == 1
        else Expectation("expect_compound_columns_to_be_unique", {"column_list": list(key)})
    )
    return Contract(name, version, columns, tuple(key), tuple(expectations))


def _columns(table: pa.Table, names: Sequence[str]) -> tuple[Column, ...]:
    columns = []
    for name in names:
        if name not in table.column_names:
            message = f"the table has no column {name!r}. {near(name, table.column_names)}"
            raise SchemaMismatch(message, column=name)
        found = table.schema.field(name).type
        canonical = canonical_type(found)
        if canonical is None:
            message = (
                f"column {name!r} has type {found}, which a contract cannot hold; leave it out or cast it to one of "
                f"{', '.join(COLUMN_TYPES)}"
            )
            raise ContractInvalid(message, column=name, type=str(found))
        columns.append(Column(name, canonical))
    return tuple(columns)


def _about(column: Column, cells: Cells, severity: Any, *, bounded: bool) -> list[Expectation]:
    about: list[Expectation] = []
    if cells.missing is None:
        about.append(Expectation("expect_column_values_to_not_be_null", {"column": column.name}, severity))
    if kind_of(column) == "string":
        categories = sorted(value for value in pc.unique(cells.array).to_pylist() if value is not None)
        if 0 < len(categories) <= MOST_CATEGORIES:
            kwargs = {"column": column.name, "value_set": categories}
            about.append(Expectation("expect_column_values_to_be_in_set", kwargs, severity))
    elif kind_of(column) == "number" and bounded:
        bounds = _bounds(cells, whole=pa.types.is_integer(column.type))
        if bounds is not None:
            limits = {"column": column.name, "min_value": bounds[0], "max_value": bounds[1]}
            about.append(Expectation("expect_column_values_to_be_between", limits, severity))
    return about


def _bounds(cells: Cells, *, whole: bool) -> tuple[float | int, float | int] | None:
    """Return bounds around the values that the booster can see, a range's width away, or None without any."""
    values = cells.values if cells.missing is None else cells.values[~cells.missing]
    limit = float(WHOLE_MAX) if whole else FLOAT32_MAX
    values = values[np.abs(values) <= limit]
    if not len(values):
        return None
    least, most = float(values.min()), float(values.max())
    margin = (most - least) or max(abs(most), 1.0)
    # What was never negative (an age, an amount, a count) stays so.
    low = 0.0 if least >= 0 else max(_outward(least - margin, math.floor), -limit)
    high = min(_outward(most + margin, math.ceil), limit)
    if least < 0 and most <= 0:
        high = 0.0
    return (int(low), int(high)) if whole else (low, high)


def _outward(value: float, rounding: Any) -> float:
    """Return the value rounded away from the data to three digits, for people who read the contract."""
    if value == 0:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 2)
    return float(rounding(value / step) * step) if step >= 1 else float(rounding(value / step) / (1 / step))
