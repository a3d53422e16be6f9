"""Runs as rows of an SQL table, one table per dataset; knows no driver.

    <table>             the rows of all visible runs; made from the run's schema when absent
    twinscore_runs      one row per run: its table, its rows, who scored, when, and which run took its place

A run is first copied into a temporary table, where it disturbs nobody and vanishes with the connection. Then one
transaction takes the superseded rows away, moves the new ones in and notes the run. Publishers of one table take turns
in that transaction, so the second publisher of a run finds the first one's note.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from twinscore.adapters.columns import refuse_other_columns
from twinscore.clock import SystemClock
from twinscore.errors import SettingsInvalid
from twinscore.ports.prediction_sink import RUN_COLUMN, Published, is_there

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from twinscore.clock import Clock
    from twinscore.ports.prediction_sink import PublishedRun

__all__ = ["RUNS_TABLE", "STAGING_TABLE", "SqlDatabase", "SqlPredictions", "SqlSession", "quoted", "quoted_name"]

RUNS_TABLE = "twinscore_runs"
"""The table that says which runs are there."""

STAGING_TABLE = "twinscore_staging"
"""The temporary table of a publisher; each connection has its own."""

_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
_RUNS_COLUMNS = (
    '"run_id" text not null, "table_name" text not null, "rows" bigint not null, "model" text, "version" text, '
    '"published_at" {moment}, "superseded_by" text, primary key ("table_name", "run_id")'
)


class SqlSession(Protocol):
    """One connection. Outside `transaction` every statement stands for itself."""

    moment_type: str
    """Type of a column that holds a time."""

    def declared(self, schema: pa.Schema) -> dict[str, str]:
        """Return each column with its type in this database.

        Raises:
            SchemaMismatch: a column cannot be held.
        """
        ...

    def columns(self, table: str) -> dict[str, str]:
        """Return each column of a table that is there, with its type; {} when it is not."""
        ...

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement with `?` for each parameter, and return its rows."""
        ...

    def transaction(self, table: str) -> AbstractContextManager[None]:
        """Begin a transaction that only one publisher of `table` is in at a time; commits unless an error leaves it."""
        ...

    def stage(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Copy rows into the temporary table."""
        ...


class SqlDatabase(Protocol):
    """A database that can be connected to."""

    shown: str
    """Its address, without a password."""
    has_schemas: bool
    """Whether a table's name may be `schema.table`."""

    def connect(self) -> AbstractContextManager[SqlSession]:
        """Open a connection, and turn the driver's errors into ours until it is closed."""
        ...


class SqlPredictions:
    """A prediction sink on an SQL database.

    Args:
        database: which.
        table: its name, `scores` or `schema.scores`; None takes the dataset's.
        clock: says when a run was published.
    """

    def __init__(self, database: SqlDatabase, table: str | None = None, clock: Clock | None = None) -> None:
        self._database = database
        self._table = table
        self._clock = clock or SystemClock()

    def publish(self, run: PublishedRun) -> Published:
        """Make all rows of `run` visible in one transaction, in the place of the runs that it supersedes."""
        table, runs = self._names(run.dataset if self._table is None else self._table)
        where = f"{self._database.shown}, table {table}"
        with self._database.connect() as session:
            declared = session.declared(run.schema)
            if not session.columns(runs) or not session.columns(table):
                _create(session, table, runs, declared)
            refuse_other_columns(declared, session.columns(table), where)
            if is_there(run, _heirs(session, table, runs), where):
                return Published(run.run_id, run.rows, 0, True, where)
            session.stage(run.schema, run.stream())
            with session.transaction(table):
                # Another publisher may have been first while these rows were staged.
                if is_there(run, _heirs(session, table, runs), where):
                    return Published(run.run_id, run.rows, 0, True, where)
                replaced = self._supersede(session, table, runs, run)
                names = ", ".join(map(quoted_name, declared))
                session.execute(f'insert into {quoted(table)} ({names}) select {names} from "{STAGING_TABLE}"')
                self._note(session, table, runs, run.run_id, run)
        return Published(run.run_id, run.rows, replaced, False, where)

    def _supersede(self, session: SqlSession, table: str, runs: str, run: PublishedRun) -> int:
        """Take the rows of superseded runs away and return how many; a run that never came is noted all the same."""
        replaced = 0
        visible = '"table_name" = ? and "run_id" = ? and "superseded_by" is null'
        for old in run.supersedes:
            found = session.execute(f'select "rows" from {quoted(runs)} where {visible}', (table, old))
            replaced += sum(rows for (rows,) in found)
            session.execute(f'delete from {quoted(table)} where "{RUN_COLUMN}" = ?', (old,))
            self._note(session, table, runs, old, None, heir=run.run_id)
        return replaced

    def _note(
        self, session: SqlSession, table: str, runs: str, run_id: str, run: PublishedRun | None, heir: str | None = None
    ) -> None:
        """Write a run's row, or which run took its place."""
        here = '"table_name" = ? and "run_id" = ?'
        if not session.execute(f"select 1 from {quoted(runs)} where {here}", (table, run_id)):
            session.execute(
                f'insert into {quoted(runs)} ("run_id", "table_name", "rows") values (?, ?, 0)', (run_id, table)
            )
        facts: tuple[object, ...] = (heir,)
        statement = '"superseded_by" = ?'
        if run is not None:
            statement = '"rows" = ?, "model" = ?, "version" = ?, "published_at" = ?, "superseded_by" = null'
            facts = (run.rows, run.model, run.version, self._clock.now())
        session.execute(f"update {quoted(runs)} set {statement} where {here}", (*facts, table, run_id))

    def _names(self, table: str) -> tuple[str, str]:
        """Return the table, and the table of runs beside it."""
        allowed = rf"(?:{_NAME}\.)?{_NAME}" if self._database.has_schemas else _NAME
        if not re.fullmatch(allowed, table) or table.rpartition(".")[2] in {RUNS_TABLE, STAGING_TABLE}:
            forms = "'scores' or 'schema.scores'" if self._database.has_schemas else "'scores'"
            message = (
                f"{table!r} is no name of a table for predictions: write {forms} with letters, digits, '_' and '-', "
                f"63 at most, and neither {RUNS_TABLE} nor {STAGING_TABLE}."
            )
            raise SettingsInvalid(message, table=table)
        schema = table.rpartition(".")[0]
        return table, f"{schema}.{RUNS_TABLE}" if schema else RUNS_TABLE


def quoted(table: str) -> str:
    """Return a table's name as it stands in a statement.

    >>> quoted("risk.scores")
    '"risk"."scores"'
    """
    return ".".join(map(quoted_name, table.split(".")))


def quoted_name(name: str) -> str:
    """Return a column's name as it stands in a statement; a point in it is part of it."""
    return '"' + name.replace('"', '""') + '"'


def _create(session: SqlSession, table: str, runs: str, declared: Mapping[str, str]) -> None:
    with session.transaction(table):
        if not session.columns(runs):
            session.execute(f"create table {quoted(runs)} ({_RUNS_COLUMNS.format(moment=session.moment_type)})")
        if not session.columns(table):
            # Somebody dropped the table: what was in it is there no more.
            session.execute(f'delete from {quoted(runs)} where "table_name" = ?', (table,))
            columns = ", ".join(f"{quoted_name(name)} {kind}" for name, kind in declared.items())
            session.execute(f"create table {quoted(table)} ({columns})")
            # A superseded run is found by it, however large the table has become.
            index = quoted_name(f"{table.rpartition('.')[2][:56]}_run_id")
            session.execute(f'create index {index} on {quoted(table)} ("{RUN_COLUMN}")')


def _heirs(session: SqlSession, table: str, runs: str) -> dict[str, str | None]:
    found = session.execute(f'select "run_id", "superseded_by" from {quoted(runs)} where "table_name" = ?', (table,))
    return dict(found)
