"""The database in which rollouts are kept, SQLite or PostgreSQL: connections, transactions, its clock and its schema.

SQLite takes its one write lock when a transaction that writes begins, so nothing is read that another one changes
before the commit. On PostgreSQL the rows that a decision rests on are locked. Waits are limited on both; a process that
was stopped inside a transaction loses it on PostgreSQL, and on SQLite keeps the others from writing until it goes on.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from twinscore.adapters.addresses import masked, without_secrets
from twinscore.adapters.rollout_tables import REVISION, VERSION_TABLE
from twinscore.errors import SettingsInvalid, StoreConflict, StoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Row, Table
    from sqlalchemy.engine import URL

__all__ = ["ControlDatabase", "ensured", "inserting"]

_WAIT_S = 10
"""For a connection, and for another transaction."""
_WRITES = "twinscore_writes"
_POSTGRES = {
    "connect_timeout": str(_WAIT_S),
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": f"{_WAIT_S}000",
    "application_name": "twinscore",
}
_POSTGRES_OPTIONS = (
    f"-c timezone=UTC -c lock_timeout={_WAIT_S}s -c statement_timeout={2 * _WAIT_S}s"
    f" -c idle_in_transaction_session_timeout={_WAIT_S // 2}s"
)
_AGAIN = ("40001", "40P01")
"""SQLSTATE of transactions that got in each other's way."""


class ControlDatabase:
    """A database at an address; its tables are made on first use, and brought up to date on a later one.

    Args:
        uri: `sqlite:///relative/or//absolute/path.db` or `postgresql://user@host:5432/database`.
        home: what relative paths are relative to.

    Raises:
        SettingsInvalid: there is no such kind of store, its driver is missing, or a newer twinscore made the tables.
        StoreUnavailable: the database does not answer.
    """

    def __init__(self, uri: str, home: Path) -> None:
        self.shown = masked(uri)
        self._uri = uri
        url = _url(uri, home)
        self._sqlite = url.drivername == "sqlite"
        try:
            self._engine = _sqlite_engine(url) if self._sqlite else _postgres_engine(url)
        except OSError as error:
            message = f"The control store {self.shown} cannot be made: {error.strerror}."
            raise StoreUnavailable(message, store=self.shown) from error
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing."""
        with self._translated(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction; it is committed at the end, and undone whole when anything is raised."""
        with (
            self._translated(),
            self._engine.connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            yield connection

    def now_s(self, connection: Connection) -> float:
        """Return the database's own time in seconds since 1970; on SQLite that is this machine's."""
        clock = (
            "select (julianday('now') - 2440587.5) * 86400.0"
            if self._sqlite
            else "select extract(epoch from clock_timestamp())::float8"
        )
        return float(connection.execute(text(clock)).scalar_one())

    def now(self, connection: Connection) -> datetime:
        """Return the database's own time in UTC."""
        return datetime.fromtimestamp(self.now_s(connection), UTC)

    def _prepare(self) -> None:
        if self._schema() == REVISION:
            return
        with self.writing() as connection:
            if not self._sqlite:
                connection.execute(text(f"select pg_advisory_xact_lock(hashtext('{VERSION_TABLE}'))"))
            self._migrate(connection, _revision(connection))

    def _schema(self) -> str | None:
        with self.reading() as connection:
            return _revision(connection)

    def _migrate(self, connection: Connection, current: str | None) -> None:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
        config.attributes["connection"] = connection
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if current is not None and current not in known:
            message = (
                f"The control store {self.shown} has tables of a newer twinscore (schema {current}, this one knows"
                f" {REVISION}). Use that version, or another store."
            )
            raise SettingsInvalid(message, store=self.shown, schema=current)
        command.upgrade(config, "head")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            # Not chained: what the driver says may hold the address with its password.
            raise _error(error, self._uri) from None


def ensured(connection: Connection, table: Table, key: str, values: dict[str, Any]) -> Row[Any]:
    """Return the row of a table whose first column is `key`, locked; it is made of `values` when it is not there."""
    column = table.columns[table.primary_key.columns.keys()[0]]
    connection.execute(inserting(connection, table).values({column.name: key, **values}).on_conflict_do_nothing())
    return connection.execute(select(table).where(column == key).with_for_update()).one()


def inserting(connection: Connection, table: Table) -> Any:
    """Return an insert into a table that may be told what to do when the row is there."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert(table)
    from sqlalchemy.dialects.postgresql import insert as insert_postgres

    return insert_postgres(table)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"select version_num from {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _url(uri: str, home: Path) -> URL:
    try:
        url = make_url(uri)
    except ArgumentError:
        message = f"The control store {masked(uri)!r} is no address; write sqlite:///path.db or postgresql://host/name."
        raise SettingsInvalid(message, store=masked(uri)) from None
    if url.drivername == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(database=str(home / str(url.database)))
    if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    message = (
        f"The control store {masked(uri)} must be a file of SQLite, such as sqlite:///control.db, or a PostgreSQL, such"
        " as postgresql://user@host:5432/database."
    )
    raise SettingsInvalid(message, store=masked(uri))


def _sqlite_engine(url: URL) -> Engine:
    Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    # Transactions begin when we say so: Python's module would begin one with the first statement that writes.
    engine = create_engine(
        url, poolclass=NullPool, hide_parameters=True, connect_args={"isolation_level": None, "timeout": _WAIT_S}
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")  # a commit is on the disk: it is a ledger

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    return engine


def _postgres_engine(url: URL) -> Engine:
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError as error:
        message = f"A control store in PostgreSQL needs a driver ({error}): pip install 'twinscore[postgres]'."
        raise SettingsInvalid(message, extra="postgres") from None
    given = {name: value for name, value in _POSTGRES.items() if name not in url.query}
    options = url.query.get("options", "")
    given["options"] = f"{_POSTGRES_OPTIONS} {options if isinstance(options, str) else ' '.join(options)}".strip()
    return create_engine(
        url, pool_size=2, max_overflow=8, pool_pre_ping=True, pool_timeout=_WAIT_S, hide_parameters=True,
        connect_args=given,
    )  # fmt: skip


def _error(error: SQLAlchemyError, uri: str) -> StoreError | SettingsInvalid:
    shown = masked(uri)
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(without_secrets(str(cause), uri).split())[:400].rstrip(". ")
    state = str(getattr(cause, "sqlstate", "") or "")
    if isinstance(error, DataError):
        return SettingsInvalid(f"The control store {shown} cannot hold a value: {said}.", store=shown)
    if isinstance(error, IntegrityError) or state in _AGAIN:
        return StoreConflict(f"Somebody else wrote to the control store {shown} first: {said}. Try again.", store=shown)
    message = f"The control store {shown} does not answer: {said}."
    return StoreUnavailable(message, store=shown, sqlstate=state)
