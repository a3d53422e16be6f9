"""The JSON schema of one contract column; knows its type and row rules, nothing of endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twinscore.contract.model import Column, Contract, Expectation

__all__ = ["column_schema"]


def column_schema(column: Column, contract: Contract) -> dict[str, Any]:
    """Return the JSON schema of one column: its type and those of its row rules that JSON schema can say."""
    schema: dict[str, Any] = _json_type(column.type)
    nullable = column.name not in contract.key
    for expectation in contract.expectations:
        kwargs = expectation.kwargs
        if kwargs.get("column") != column.name or not _refuses_rows(expectation):
            continue
        if expectation.type == "expect_column_values_to_not_be_null":
            nullable = False
        elif expectation.type in _RULES:
            schema |= _RULES[expectation.type](kwargs)
    if nullable:
        schema["type"] = [schema["type"], "null"]
        if "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
    return schema


def _refuses_rows(expectation: Expectation) -> bool:
    return expectation.severity == "critical" and expectation.kwargs.get("mostly", 1) == 1


def _json_type(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "integer"}
    if pa.types.is_floating(kind):
        return {"type": "number"}
    if pa.types.is_timestamp(kind):
        return {"type": "string", "format": "date-time"}
    if pa.types.is_date(kind):
        return {"type": "string", "format": "date"}
    return {"type": "string"}


def _between(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bounds = (
        ("min_value", "exclusiveMinimum" if kwargs.get("strict_min") else "minimum"),
        ("max_value", "exclusiveMaximum" if kwargs.get("strict_max") else "maximum"),
    )
    # Bounds of times are texts, which JSON schema cannot compare.
    return {word: kwargs[name] for name, word in bounds if isinstance(kwargs.get(name), int | float)}


def _length_between(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    words = {"min_value": "minLength", "max_value": "maxLength"}
    return {word: kwargs[name] for name, word in words.items() if isinstance(kwargs.get(name), int)}


_RULES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": lambda kwargs: {"enum": list(kwargs["value_set"])},
    "expect_column_values_to_match_regex": lambda kwargs: {"pattern": kwargs["regex"]},
    "expect_column_value_lengths_to_be_between": _length_between,
    "expect_column_value_lengths_to_equal": lambda kwargs: {"minLength": kwargs["value"], "maxLength": kwargs["value"]},
}
