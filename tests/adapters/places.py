"""Places that runs are published to, each with a reader that is not ours."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from twinscore.ports.prediction_sink import PredictionSink
from twinscore.settings import Settings
from twinscore.wiring import prediction_sink


@dataclass(frozen=True)
class Place:
    """A place, and how a stranger reads it."""

    settings: Settings
    uri: str

    def sink(self, table: str = "scores") -> PredictionSink:
        """Return a new sink on one table."""
        return prediction_sink(self.settings, self.uri, table)

    def rows(self, table: str = "scores") -> list[dict[str, Any]]:
        """Return every visible row in the order of its key."""
        raise NotImplementedError

    def counts(self, table: str = "scores") -> dict[str, int]:
        """Return the visible rows per run, from one look at the table; {} while there is no table."""
        raise NotImplementedError

    def stored(self, table: pa.Table) -> list[dict[str, Any]]:
        """Return what `rows` should say of these rows."""
        return table.to_pylist()


class SqlitePlace(Place):
    """A file, read with Python's own module."""

    def _select(self, statement: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.uri.removeprefix("sqlite:///"), timeout=60)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(statement)]
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                return []

    def rows(self, table: str = "scores") -> list[dict[str, Any]]:
        """Return every visible row."""
        return self._select(f'select * from "{table}" order by run_id, row_id')

    def counts(self, table: str = "scores") -> dict[str, int]:
        """Return the visible rows per run."""
        found = self._select(f'select run_id, count(*) as n from "{table}" group by run_id')
        return {row["run_id"]: row["n"] for row in found}

    def stored(self, table: pa.Table) -> list[dict[str, Any]]:
        """Return the rows as SQLite holds them: times as text, lists as JSON."""

        def plain(value: object) -> object:
            if isinstance(value, datetime):
                return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
            if isinstance(value, list):
                return json.dumps(value, ensure_ascii=False)
            return value

        return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


class PostgresPlace(Place):
    """A server, read with psycopg."""

    def _select(self, statement: str) -> list[dict[str, Any]]:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(self.uri, row_factory=dict_row, options="-c timezone=UTC") as connection:
            try:
                return connection.execute(statement).fetchall()  # type: ignore[call-overload]
            except psycopg.errors.UndefinedTable:
                return []

    def rows(self, table: str = "scores") -> list[dict[str, Any]]:
        """Return every visible row."""
        return self._select(f'select * from "{table}" order by run_id, row_id')

    def counts(self, table: str = "scores") -> dict[str, int]:
        """Return the visible rows per run."""
        found = self._select(f'select run_id, count(*) as n from "{table}" group by run_id')
        return {row["run_id"]: row["n"] for row in found}


class IcebergPlace(Place):
    """A catalog in a file, read with a scan."""

    def _scan(self, table: str, *columns: str) -> pa.Table:
        from pyiceberg.catalog import load_catalog
        from pyiceberg.exceptions import NoSuchTableError

        catalog = load_catalog("twinscore", type="sql", uri=self.uri.removeprefix("iceberg+"))
        try:
            return catalog.load_table(f"twinscore.{table}").scan(selected_fields=columns or ("*",)).to_arrow()
        except NoSuchTableError:
            return pa.table({name: [] for name in columns})
        finally:
            catalog.close()

    def rows(self, table: str = "scores") -> list[dict[str, Any]]:
        """Return every visible row."""
        found = self._scan(table)
        return found.sort_by([("run_id", "ascending"), ("row_id", "ascending")]).to_pylist() if found.num_rows else []

    def counts(self, table: str = "scores") -> dict[str, int]:
        """Return the visible rows per run."""
        found = self._scan(table, "run_id")["run_id"].value_counts().to_pylist()
        return {item["values"]: item["counts"] for item in found}
