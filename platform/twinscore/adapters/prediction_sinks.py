"""Which sink an address names; knows no driver."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from twinscore.adapters.addresses import masked
from twinscore.adapters.iceberg_predictions import IcebergPredictions
from twinscore.adapters.sql_postgresql import PostgresDatabase
from twinscore.adapters.sql_predictions import SqlPredictions
from twinscore.adapters.sql_sqlite import SqliteDatabase
from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.ports.prediction_sink import PredictionSink

__all__ = ["open_sink"]

_SCHEMES = ["iceberg", "iceberg+http", "iceberg+https", "iceberg+sqlite", "postgres", "postgresql", "sqlite"]


def open_sink(uri: str, table: str | None, lake: Path) -> PredictionSink:
    """Return the sink at `uri`.

    Args:
        table: in which rows go; None takes the dataset's name.
        lake: where relative paths lie, and the catalog that `iceberg:` names.

    Raises:
        SettingsInvalid: the address names no sink, or its packages are not installed.

    >>> from pathlib import Path
    >>> open_sink("sqlite3:///s.db", None, Path("lake"))
    Traceback (most recent call last):
    twinscore.errors.SettingsInvalid: 'sqlite3:///s.db' names no place for predictions. Did you mean 'sqlite'...
    """
    scheme = uri.partition(":")[0] if ":" in uri else ""
    if scheme in {"postgresql", "postgres"}:
        return SqlPredictions(PostgresDatabase(uri), table)
    if scheme == "sqlite":
        return SqlPredictions(SqliteDatabase(_file(uri, lake)), table)
    if scheme == "iceberg" and uri in {"iceberg:", "iceberg://"}:
        return _iceberg_file(lake / "iceberg" / "catalog.db", "", table)
    if scheme == "iceberg+sqlite":
        address, _, query = uri.partition("?")
        return _iceberg_file(_file(address, lake), query, table)
    if scheme in {"iceberg+http", "iceberg+https"}:
        address = uri.removeprefix("iceberg+")
        options = dict(parse_qsl(urlsplit(address).query))
        plain = urlunsplit(urlsplit(address)._replace(query=""))
        return IcebergPredictions({**options, "type": "rest", "uri": plain}, masked(uri), table)
    message = f"{masked(uri)!r} names no place for predictions. {near(scheme or uri, _SCHEMES)}"
    raise SettingsInvalid(message, uri=masked(uri))


def _iceberg_file(database: Path, query: str, table: str | None) -> IcebergPredictions:
    """Return a sink on a catalog in an SQLite file, its warehouse beside it unless the query names another."""
    options = {"warehouse": (database.parent / "warehouse").as_uri(), **dict(parse_qsl(query))}
    database.parent.mkdir(parents=True, exist_ok=True)
    properties = {**options, "type": "sql", "uri": f"sqlite:///{database}"}
    return IcebergPredictions(properties, f"iceberg+sqlite:///{database}", table)


def _file(uri: str, lake: Path) -> Path:
    """Return the file that `sqlite:///relative.db` or `sqlite:////absolute.db` names."""
    path = uri.partition(":///")[2]
    if not path:
        message = f"{uri!r} names no file. Write sqlite:////absolute/scores.db, or sqlite:///scores.db in the lake."
        raise SettingsInvalid(message, uri=uri)
    return (lake / path).absolute()
