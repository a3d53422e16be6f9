"""How files become rows: which column of a row comes from where, and which rows stay; values only, reads nothing.

A column of a row comes from the file's column of that name (or the one that the spec names for it), from a folder
such as `country=DE`, or from a side table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.find import hive_values
from twinscore.contract.model import type_name
from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.batch.filter import Filter
    from twinscore.batch.place import Place
    from twinscore.batch.plan import Piece

__all__ = ["Recipe", "Side", "partition_value"]


@dataclass(frozen=True, slots=True)
class Side:
    """A side table whose columns are joined to the rows."""

    token: str
    """SHA-256 in hex over its files and over what is taken from them."""
    shown: str
    on: str
    """The column of the rows and of the table that must be equal."""
    key_type: str
    columns: tuple[tuple[str, str, str], ...]
    """Name in the rows, name in the table, and contract type of each column that is joined."""
    max_bytes: int
    place: Place = field(compare=False, repr=False)
    pieces: tuple[Piece, ...] = field(compare=False, repr=False)
    files: tuple[Mapping[str, Any], ...] = field(compare=False, repr=False)
    """Name, bytes, rows and footer of each file."""

    @property
    def names(self) -> tuple[str, ...]:
        """Columns of the rows that come from it."""
        return tuple(name for name, _, _ in self.columns)

    def to_plain(self) -> dict[str, Any]:
        """Return what the manifest keeps of it."""
        columns = {name: source for name, source, _ in self.columns}
        return {"path": self.shown, "on": self.on, "columns": columns, "snapshot": self.token,
                "rows": sum(piece.rows for piece in self.pieces), "files": list(self.files)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker must know besides the pieces; travels to it whole."""

    place: Place | None = None
    """Where the files lie; None for this machine."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Column of the rows to column of the files, where the names differ."""
    filter: Filter | None = None
    extra: tuple[tuple[str, pa.DataType], ...] = ()
    """Columns that the filter and the joins need, with the types that they are read in."""
    sides: tuple[Side, ...] = ()

    @property
    def joined(self) -> dict[str, Side]:
        """Columns of the rows that come from side tables."""
        return {name: side for side in self.sides for name in side.names}

    def in_file(self, name: str) -> str:
        """Return what the files call a column of the rows."""
        return self.columns.get(name, name)

    def read_schema(self, wanted: pa.Schema) -> pa.Schema:
        """Return the columns to read for the wanted ones: no joined ones, but those that filter and joins need."""
        joined = self.joined
        fields = {item.name: item for item in wanted if item.name not in joined}
        needed = set(self.filter.columns) if self.filter else set()
        needed |= {joined[name].on for name in wanted.names if name in joined}
        fields.update({name: pa.field(name, kind) for name, kind in self.extra if name in needed})
        return pa.schema(list(fields.values()))

    def facts(self) -> dict[str, Any]:
        """Return what makes another run of it: the part of the fingerprint."""
        return {
            "columns": dict(sorted(self.columns.items())),
            "filter": self.filter.to_plain() if self.filter else None,
            "joins": [[side.token, side.on, [list(column) for column in side.columns]] for side in self.sides],
        }


def partition_value(location: str, name: str, kind: pa.DataType) -> pa.Scalar | None:
    """Return the value that the folders of a file give to a column, or None when no folder names it.

    Args:
        kind: a contract type; text is read as Arrow's cast reads it.

    Raises:
        SchemaMismatch: the text is no value of the type; the folder is named.
    """
    values = hive_values(location)
    if name not in values:
        return None
    text = values[name]
    if text is None:
        return pa.scalar(None, kind)
    try:
        return pc.cast(pa.scalar(text), kind)
    except pa.ArrowInvalid:
        folder = location.rpartition("/")[0]
        zone = " It needs a time zone, such as Z." if pa.types.is_timestamp(kind) and kind.tz else ""
        message = (
            f"The folder {folder} gives column {name!r} the value {text!r}, which is no {type_name(kind)}.{zone} "
            "Rename the folder, or leave it out by the path or a filter."
        )
        raise SchemaMismatch(message, folder=folder, column=name, value=text) from None
