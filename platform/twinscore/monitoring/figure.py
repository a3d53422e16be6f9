"""A figure: what one metric was in one window, with its interval and the rows behind it; and many of them as a table.

Figures are what rules judge, reports draw and Prometheus scrapes; where they come from is nobody's business here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["FIGURES", "Figure", "figures_of", "table_of"]

_INSTANT = pa.timestamp("us", "UTC")

FIGURES = pa.schema(
    [
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("start", _INSTANT, nullable=False),
        pa.field("end", _INSTANT, nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("note", pa.string(), nullable=False),
    ]
)
"""Columns of the table of figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one metric was in one window."""

    model: str
    version: str
    role: Literal["live", "canary", "challenger", "shadow", "batch"] | str = "live"
    """Who answered; `batch` for committed runs."""
    path: Literal["online", "batch"] | str = "online"
    segment: str = ""
    """`column=value`, or empty for all rows."""
    start: datetime
    """First instant inside, UTC."""
    end: datetime
    """First instant after."""
    metric: str
    """A name of the catalogue."""
    subject: str = ""
    """The feature, decision, group or column, as the catalogue says; empty otherwise."""
    value: float | None
    """None where it cannot be told: no rows, too few, or one class only; `note` says why."""
    low: float | None = None
    high: float | None = None
    """Ends of the 95 % interval, where there is one."""
    p_value: float | None = None
    """Of the test against no change, where there is one; not corrected."""
    rows: int = 0
    """How many rows (or requests) it is made of."""
    note: str = ""


_NAMES = tuple(item.name for item in fields(Figure))


def table_of(figures: Iterable[Figure]) -> pa.Table:
    """Return figures as a table: (n_figures, FIGURES)."""
    rows = list(figures)
    return pa.table([[getattr(one, name) for one in rows] for name in FIGURES.names], schema=FIGURES)


def figures_of(table: pa.Table) -> list[Figure]:
    """Return the figures of a table; columns beyond FIGURES are left out."""
    columns = [table.column(name).to_pylist() for name in _NAMES]
    return [Figure(**dict(zip(_NAMES, values, strict=True))) for values in zip(*columns, strict=True)]
