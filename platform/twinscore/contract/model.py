"""What a contract is: columns, a key and expectations, as plain frozen values.

Knows nothing of files, tables or Great Expectations.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from twinscore.errors import ContractInvalid, near

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AUDIT_FORMS",
    "COLUMN_TYPES",
    "SEVERITIES",
    "AuditForm",
    "Column",
    "Contract",
    "Expectation",
    "Severity",
    "type_name",
    "type_of",
]

Severity = Literal["critical", "warning", "info"]
"""`critical` refuses, `warning` and `info` let the row pass and flag it."""

SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")

AuditForm = Literal["keep", "hash", "drop"]
"""How the audit log has a column: its values, a keyed hash of them, or nothing."""

AUDIT_FORMS: tuple[AuditForm, ...] = ("keep", "hash", "drop")

COLUMN_TYPES: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"),
    "timestamp[us]": pa.timestamp("us"),
    "date32": pa.date32(),
}
"""The types a column may have, by the name that a contract file writes."""

_NAMES = {arrow: name for name, arrow in COLUMN_TYPES.items()}


def type_of(name: str) -> pa.DataType:
    """Return the Arrow type that a contract file calls `name`.

    Raises:
        ContractInvalid: the name is not one of `COLUMN_TYPES`.

    >>> type_of("int64")
    DataType(int64)
    """
    if name not in COLUMN_TYPES:
        message = f"column type {name!r} is not one a contract can hold. {near(name, COLUMN_TYPES)}"
        raise ContractInvalid(message, type=name, known=list(COLUMN_TYPES))
    return COLUMN_TYPES[name]


def type_name(arrow: pa.DataType) -> str:
    """Return the name that a contract file writes for an Arrow type; other types print as Arrow does."""
    return _NAMES.get(arrow, str(arrow))


@dataclass(frozen=True, slots=True)
class Column:
    """A column that rows must have, and its type."""

    name: str
    type: pa.DataType
    audit: AuditForm = "keep"


@dataclass(frozen=True, slots=True)
class Expectation:
    """One Great Expectations expectation, as its type and keyword arguments."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity = "critical"
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Short stable text, such as `expect_column_values_to_be_between(age)`."""
        return f"{self.type}({', '.join(self.columns)})"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it speaks of, in the order of its arguments."""
        single = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        listed = self.kwargs.get("column_list") if "compound" in self.type else None
        return tuple(str(name) for name in (*single, *(listed or ())))


@dataclass(frozen=True, slots=True)
class Contract:
    """What a table must be: columns in order, the key of a row, and expectations."""

    name: str
    version: int
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    expectations: tuple[Expectation, ...]
    schema: pa.Schema = field(init=False, repr=False, compare=False)
    """Arrow schema of a conformed table: (contract columns, in order)."""

    def __post_init__(self) -> None:
        schema = pa.schema([pa.field(column.name, column.type) for column in self.columns])
        object.__setattr__(self, "schema", schema)

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the canonical JSON of everything that the contract says."""
        text = json.dumps(self.to_plain(), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def column(self, name: str) -> Column:
        """Return the column called `name`.

        Raises:
            ContractInvalid: there is none; the message offers the nearest.
        """
        for column in self.columns:
            if column.name == name:
                return column
        message = f"contract {self.name!r} has no column {name!r}. {near(name, [c.name for c in self.columns])}"
        raise ContractInvalid(message, contract=self.name, column=name)

    def to_plain(self) -> dict[str, Any]:
        """Return the contract as lists, dicts and scalars that JSON can hold."""
        return {
            "name": self.name,
            "version": self.version,
            # What keeps its default is left out, so that contracts from before it have the digest they had.
            "columns": [
                [column.name, type_name(column.type), *([column.audit] if column.audit != "keep" else [])]
                for column in self.columns
            ],
            "key": list(self.key),
            "expectations": [
                {"type": e.type, "kwargs": dict(e.kwargs), "severity": e.severity, "meta": dict(e.meta)}
                for e in self.expectations
            ],
        }
