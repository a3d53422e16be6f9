"""PostgreSQL as a database of predictions, through ADBC's binary COPY; knows nothing of runs.

| Arrow | PostgreSQL |
|---|---|
| bool | boolean |
| int8, int16, uint8 | smallint |
| int32, uint16 | integer |
| int64, uint32 | bigint |
| float32, float64 | real, double precision |
| string | text |
| binary | bytea |
| date | date |
| timestamp | timestamp, with or without time zone, in microseconds |
| list of these | array, such as text[] |

A password comes from `PGPASSWORD` or `~/.pgpass`, as for every client of PostgreSQL; one in the address is never shown.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.adapters.addresses import masked, without_secrets
from twinscore.adapters.columns import plain_type
from twinscore.adapters.sql_predictions import STAGING_TABLE, quoted
from twinscore.errors import SchemaMismatch, SettingsInvalid, StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from adbc_driver_manager.dbapi import Connection

__all__ = ["PostgresDatabase"]

_CONNECT_S = 10
_LONGEST_NAME = 63


class PostgresDatabase:
    """A database on a server.

    Args:
        uri: `postgresql://user@host:5432/database`, with any parameter of libpq behind `?`.

    Raises:
        SettingsInvalid: the driver is not installed.
    """

    has_schemas = True

    def __init__(self, uri: str) -> None:
        try:
            import adbc_driver_postgresql.dbapi  # noqa: F401
        except ModuleNotFoundError as error:
            message = f"Publishing to PostgreSQL needs a driver ({error}): pip install 'twinscore[postgres]'."
            raise SettingsInvalid(message, extra="postgres") from None
        self._uri = uri
        self.shown = masked(uri)

    @contextmanager
    def connect(self) -> Iterator[_Session]:
        """Connect to the server, with a limit on the wait.

        Raises:
            StoreUnavailable: the server does not answer, or refuses what we want to do.
            StoreConflict: other clients got in the way.
            SchemaMismatch: a value cannot be held.
        """
        from adbc_driver_manager import Error
        from adbc_driver_postgresql.dbapi import connect

        uri = self._uri
        if "connect_timeout" not in uri:
            uri = f"{uri}{'&' if '?' in uri else '?'}connect_timeout={_CONNECT_S}"
        try:
            with connect(uri, autocommit=True) as connection:
                yield _Session(connection)
        except Error as error:
            # Not chained: what the driver says may hold the address with its password.
            raise _translated(str(error), error.sqlstate or "", self._uri) from None


class _Session:
    """An open connection."""

    moment_type = "timestamp with time zone"

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def declared(self, schema: pa.Schema) -> dict[str, str]:
        """Return each column with its type, in PostgreSQL's own words."""
        found = {}
        for field in schema:
            if len(field.name.encode()) > _LONGEST_NAME:
                message = f"The column {field.name!r} has a longer name than PostgreSQL's {_LONGEST_NAME} bytes."
                raise SchemaMismatch(message, column=field.name)
            found[field.name] = _type(field)
        return found

    def columns(self, table: str) -> dict[str, str]:
        """Return each column of a table that is there."""
        found = self.execute(
            "select attname::text, format_type(atttypid, atttypmod) from pg_attribute "
            "where attrelid = to_regclass(?) and attnum > 0 and not attisdropped order by attnum",
            (quoted(table),),
        )
        return dict(found)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        for number in range(1, len(parameters) + 1):
            statement = statement.replace("?", f"${number}", 1)
        with self._connection.cursor() as cursor:
            cursor.execute(statement, tuple(parameters) or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self, table: str) -> Iterator[None]:
        """Hold the table's lock of publishers; readers are not held up."""
        self.execute("begin")
        try:
            self.execute("select pg_advisory_xact_lock(hashtext('twinscore'), hashtext(?))::text", (table,))
            yield
        except BaseException:
            self.execute("rollback")
            raise
        self.execute("commit")

    def stage(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Copy rows into a temporary table, batch by batch."""
        wanted = pa.schema([pa.field(field.name, plain_type(field.type)) for field in schema])
        failures: list[Exception] = []

        def feed() -> Iterator[pa.RecordBatch]:
            try:
                for batch in batches:
                    yield batch if batch.schema.equals(wanted) else batch.cast(wanted)
            except Exception as error:
                failures.append(error)
                raise

        try:
            with self._connection.cursor() as cursor:
                reader = pa.RecordBatchReader.from_batches(wanted, feed())
                cursor.adbc_ingest(STAGING_TABLE, reader, mode="create", temporary=True)
        except Exception:
            # What our side raised comes back from the driver as a text of its own.
            if failures:
                raise failures[0] from None
            raise


def _type(field: pa.Field) -> str:
    kind = plain_type(field.type)
    name = _TYPES.get(kind.value_type if pa.types.is_list(kind) else kind)
    if name is None:
        message = (
            f"PostgreSQL gets no column {field.name!r} of type {field.type}. "
            "Known: bool, integers up to int64, float32, float64, string, binary, date, timestamp and lists of these."
        )
        raise SchemaMismatch(message, column=field.name, type=str(field.type))
    return f"{name}[]" if pa.types.is_list(kind) else name


_TYPES = {
    pa.bool_(): "boolean",
    pa.int16(): "smallint",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.binary(): "bytea",
    pa.date32(): "date",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("us", tz="UTC"): "timestamp with time zone",
}


_Refusal = StoreUnavailable | StoreConflict | SchemaMismatch


def _translated(text: str, state: str, uri: str) -> _Refusal:
    """Return the error for what the driver said; `state` is the SQLSTATE, empty before a connection stands."""
    said = " ".join(without_secrets(text, uri).split())[:400].rstrip(". ")
    kind, remedy = next(
        (
            (kind, remedy)
            for kind, states, words, remedy in _REMEDIES
            if state.startswith(states) or any(word in text for word in words)
        ),
        (StoreUnavailable, "See the server's log."),
    )
    shown = masked(uri)
    message = f"The database {shown} refused: {said}. {remedy} Nothing became visible."
    return kind(message, database=shown, sqlstate=state)


# SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_REMEDIES: list[tuple[type[_Refusal], tuple[str, ...], tuple[str, ...], str]] = [
    (StoreUnavailable, ("28",), ("password authentication failed", "no password supplied"),
     "Set PGPASSWORD, or write the password into ~/.pgpass."),
    (StoreUnavailable, ("3D",), ('FATAL:  database "',), "Create the database, or correct its name."),
    (StoreUnavailable, ("42501",), (), "Ask the owner to grant your user usage and create on the schema."),
    (StoreUnavailable, ("3F",), (), "Create the schema first."),
    (StoreUnavailable, ("53100",), (), "Make room on the server's disk."),
    (StoreUnavailable, ("53",), (), "The server is out of resources; try again later."),
    (StoreUnavailable, ("08", "57P"),
     ("onnection refused", "could not translate", "timeout expired", "closed the connection", "No such file"),
     "Is the server up, and is the address right?"),
    (StoreConflict, ("40", "55P03", "23", "42P07"), (), "Another client was in the way; publish again."),
    (SchemaMismatch, ("22",), (), "A value of the run does not fit its column."),
]  # fmt: skip
