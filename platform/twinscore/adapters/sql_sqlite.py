"""SQLite files as a database of predictions, through Python's own module; knows nothing of runs.

| Arrow | SQLite |
|---|---|
| bool, integers | INTEGER |
| floating point | REAL; NaN becomes NULL, -0.0 becomes 0.0, as SQLite has neither |
| string | TEXT |
| binary | BLOB |
| date, timestamp | TEXT, ISO 8601; with a time zone in UTC, ending in Z |
| list | TEXT, JSON |

Python's module and no second SQLite, although another driver copies twice as fast: a process that opens one file with
two copies of SQLite loses its locks (https://www.sqlite.org/howtocorrupt.html, section 2.2.1).
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.adapters.sql_predictions import STAGING_TABLE, quoted_name
from twinscore.errors import SchemaMismatch, StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["SqliteDatabase"]

_BUSY_S = 600.0
"""How long a publisher waits for another one's transaction."""


class SqliteDatabase:
    """A database file; made when absent."""

    has_schemas = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.shown = f"sqlite:///{path}"

    @contextmanager
    def connect(self) -> Iterator[_Session]:
        """Open the file.

        Raises:
            StoreUnavailable: it cannot be opened or written.
            StoreConflict: somebody else kept it locked.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as connection:
                yield _Session(connection)
        except (sqlite3.Error, OSError) as error:
            code = str(getattr(error, "sqlite_errorname", ""))
            message = f"The database {self.shown} cannot be used: {error}. {_remedy(code)} Nothing became visible."
            kind = StoreConflict if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else StoreUnavailable
            raise kind(message, database=self.shown, code=code) from error


class _Session:
    """An open file."""

    moment_type = "TEXT"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def declared(self, schema: pa.Schema) -> dict[str, str]:
        """Return each column with its type."""
        found = {field.name: _type(field) for field in schema}
        if len({name.casefold() for name in found}) != len(schema):
            message = "Two columns of the run differ only in upper and lower case, which SQLite does not tell apart."
            raise SchemaMismatch(message, columns=schema.names)
        return found

    def columns(self, table: str) -> dict[str, str]:
        """Return each column of a table that is there."""
        found = self.execute("select name, upper(type) from pragma_table_info(?, 'main')", (table,))
        return dict(found)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        plain = [item.isoformat() if isinstance(item, datetime) else item for item in parameters]
        return self._connection.execute(statement, plain).fetchall()

    @contextmanager
    def transaction(self, table: str) -> Iterator[None]:
        """Hold the file's one write lock."""
        del table
        self._connection.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def stage(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Copy rows into a temporary table, which lies in a file of its own: the database stays unlocked."""
        columns = ", ".join(f"{quoted_name(field.name)} {_type(field)}" for field in schema)
        self._connection.execute(f'create temp table "{STAGING_TABLE}" ({columns})')
        insert = f'insert into temp."{STAGING_TABLE}" values ({", ".join("?" * len(schema))})'
        self._connection.execute("begin")
        for batch in batches:
            rows = zip(*(_storable(column).to_pylist() for column in batch.columns), strict=True)
            self._connection.executemany(insert, rows)
        self._connection.commit()


def _type(field: pa.Field) -> str:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for test, name in _TYPES:
        if test(kind):
            return name
    message = (
        f"SQLite cannot hold the column {field.name!r} of type {field.type}. "
        "Known: bool, integers, floating point, string, binary, date, timestamp and lists."
    )
    raise SchemaMismatch(message, column=field.name, type=str(field.type))


_TYPES = [
    (pa.types.is_boolean, "INTEGER"),
    (pa.types.is_integer, "INTEGER"),
    (pa.types.is_floating, "REAL"),
    (pa.types.is_string, "TEXT"),
    (pa.types.is_large_string, "TEXT"),
    (pa.types.is_binary, "BLOB"),
    (pa.types.is_date, "TEXT"),
    (pa.types.is_timestamp, "TEXT"),
    (pa.types.is_list, "TEXT"),
]


def _storable(column: pa.Array) -> pa.Array:
    """Return the column in a type that SQLite has: (n_rows,)."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _storable(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ" if kind.tz else "%Y-%m-%dT%H:%M:%S")
    if pa.types.is_date(kind):
        return pc.strftime(column, format="%Y-%m-%d")
    if pa.types.is_list(kind):
        return _as_json(column)
    return column


def _as_json(column: pa.ListArray) -> pa.Array:
    """Return each list as JSON text: (n_rows,); only distinct items pass through Python."""
    items = column.flatten().dictionary_encode()
    distinct = items.dictionary.to_pylist()
    words = pa.array([json.dumps(item, ensure_ascii=False, default=str) for item in distinct], pa.string())
    texts = pc.fill_null(words.take(items.indices), "null")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    offsets = pa.array([0, *lengths.cumsum()], pa.int32())
    joined = pc.binary_join(pa.ListArray.from_arrays(offsets, texts), ", ")
    whole = pc.binary_join_element_wise("[", joined, "]", "")
    return pc.if_else(column.is_valid(), whole, pa.scalar(None, pa.string()))


def _remedy(code: str) -> str:
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "Another process holds it; try again when that one is done."
    if code.startswith("SQLITE_NOTADB"):
        return "Choose another file."
    if code.startswith("SQLITE_FULL"):
        return "Make room on the disk."
    return "Is its folder there and writable, and is the disk full?"
