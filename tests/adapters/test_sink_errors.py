"""What a sink says when it cannot be used, and that it never says a password."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.adapters.addresses import masked, without_secrets
from twinscore.errors import SettingsInvalid, StoreUnavailable
from twinscore.settings import Settings, load_settings
from twinscore.testing.predictions import make_run
from twinscore.wiring import prediction_sink

A = "a" * 16


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home of the test's own."""
    return load_settings(home=tmp_path / "home")


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=4), st.booleans())
def test_a_password_is_never_shown(password: str, escaped: bool) -> None:
    """Wherever it stands in the address, and whatever a driver repeats of it."""
    secret = f"Zq{password}qZ"
    written = quote(secret, safe="") if escaped else secret.replace("@", "_").replace(" ", "_")
    uri = f"postgresql://scorer:{written}@db.example:5432/scores"
    as_parameter = f"postgresql://scorer@db.example/scores?sslpassword={quote(secret, safe='')}"

    assert "postgresql://scorer:***@db.example:5432/scores" == masked(uri)
    assert "postgresql://scorer@db.example/scores?sslpassword=***" == masked(as_parameter)
    assert written not in without_secrets(f"cannot parse {written!s} in {uri}", uri)
    assert secret not in without_secrets(f"wrong: {secret}", as_parameter)


def test_an_address_without_a_password_stays() -> None:
    """There is nothing to hide in it."""
    uri = "postgresql://scorer@db.example:5432/scores?connect_timeout=3"

    assert uri == masked(uri)


def test_no_server_is_said(settings: Settings, free_port: int) -> None:
    """A server that is not there is named, without the password in its address."""
    sink = prediction_sink(settings, f"postgresql://scorer:hush-hush@127.0.0.1:{free_port}/scores")

    with pytest.raises(StoreUnavailable, match="Is the server up") as caught:
        sink.publish(make_run(10, A))

    assert "hush-hush" not in repr((caught.value.message, caught.value.fields))
    assert f"postgresql://scorer:***@127.0.0.1:{free_port}/scores" in caught.value.message


def test_a_wrong_password_is_said(settings: Settings, postgres_database: str) -> None:
    """The message says where a password belongs."""
    sink = prediction_sink(settings, postgres_database.replace("scorer@", "scorer:hush-hush@"))

    with pytest.raises(StoreUnavailable, match=r"PGPASSWORD.*pgpass") as caught:
        sink.publish(make_run(10, A))

    assert "hush-hush" not in repr((caught.value.message, caught.value.fields))


def test_a_missing_database_is_said(settings: Settings, postgres_server: str) -> None:
    """It is not made: that is for whoever runs the server."""
    with pytest.raises(StoreUnavailable, match="Create the database"):
        prediction_sink(settings, f"{postgres_server}/nowhere").publish(make_run(10, A))


def test_a_missing_right_is_said(settings: Settings, postgres_database: str) -> None:
    """A user who may not create tables is told what to ask for."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("drop role if exists reader")
        connection.execute("create role reader login password 'only-reads'")
    sink = prediction_sink(settings, postgres_database.replace("scorer@", "reader:only-reads@"))

    with pytest.raises(StoreUnavailable, match="grant your user") as caught:
        sink.publish(make_run(10, A))

    assert "only-reads" not in caught.value.message


def test_a_missing_schema_is_said(settings: Settings, postgres_database: str) -> None:
    """A table may lie in a schema, which must be there."""
    with pytest.raises(StoreUnavailable, match="Create the schema"):
        prediction_sink(settings, postgres_database, "risk.scores").publish(make_run(10, A))

    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("create schema risk")
    prediction_sink(settings, postgres_database, "risk.scores").publish(make_run(10, A))

    with psycopg.connect(postgres_database) as connection:
        assert connection.execute("select count(*) from risk.scores").fetchone() == (10,)
        assert connection.execute('select run_id, "rows" from risk.twinscore_runs').fetchall() == [(A, 10)]


def test_a_killed_session_leaves_nothing(settings: Settings, postgres_database: str) -> None:
    """A server that ends our session in the last transaction has published nothing."""
    sink = prediction_sink(settings, postgres_database)
    sink.publish(make_run(10, "b" * 16))
    run = make_run(1_000, A, supersedes=("b" * 16,))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        # It fires for each row that moves in, after the superseded rows went.
        connection.execute(
            "create function die() returns trigger language plpgsql as "
            "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
        )
        connection.execute("create trigger die before insert on demo for each row execute function die()")

        with pytest.raises(StoreUnavailable, match="Nothing became visible"):
            sink.publish(run)

        assert connection.execute("select run_id, count(*) from demo group by 1").fetchall() == [("b" * 16, 10)]
        connection.execute("drop trigger die on demo")

    assert 10 == sink.publish(run).replaced


def test_a_dropped_table_is_filled_again(settings: Settings, postgres_database: str) -> None:
    """What the list of runs says of a table that is gone does not count."""
    sink = prediction_sink(settings, postgres_database)
    sink.publish(make_run(10, A))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("drop table demo")

    assert not sink.publish(make_run(10, A)).already_there


def test_a_file_that_is_no_database_is_said(settings: Settings, tmp_path: Path) -> None:
    """It stays as it is."""
    file = tmp_path / "notes.db"
    file.write_text("not a database, but long enough to be looked at " * 20)

    with pytest.raises(StoreUnavailable, match="Choose another file"):
        prediction_sink(settings, f"sqlite:///{file}").publish(make_run(10, A))
    assert file.read_text().startswith("not a database")


def test_a_folder_that_cannot_be_made_is_said(settings: Settings, tmp_path: Path) -> None:
    """A path through a file leads nowhere."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match="folder there and writable"):
        prediction_sink(settings, f"sqlite:///{tmp_path}/file/scores.db").publish(make_run(10, A))


def test_a_catalog_that_does_not_answer_is_said(settings: Settings, free_port: int) -> None:
    """A REST catalog that is away is named."""
    sink = prediction_sink(settings, f"iceberg+http://127.0.0.1:{free_port}?warehouse=lake&token=hush-hush")

    with pytest.raises(StoreUnavailable, match="Does the catalog answer") as caught:
        sink.publish(make_run(10, A))

    assert "hush-hush" not in caught.value.message


@pytest.mark.parametrize("uri", ["postgresqll://h/d", "mysql://h/d", "scores.db", "iceberg+sqlit:///c.db", "sqlite:"])
def test_an_unknown_place_is_refused(settings: Settings, uri: str) -> None:
    """The message says what is near."""
    with pytest.raises(SettingsInvalid, match=r"Did you mean|Known|names no file"):
        prediction_sink(settings, uri)


@pytest.mark.parametrize("table", ["twinscore_runs", 'a"b', "a.b", "", "x" * 64, "1a"])
def test_a_name_that_is_no_table_is_refused(settings: Settings, table: str) -> None:
    """It is refused before a file is made."""
    with pytest.raises(SettingsInvalid, match="no name of a table"):
        prediction_sink(settings, "sqlite:///scores.db", table).publish(make_run(10, A))
    assert not (settings.lake / "scores.db").exists()


@pytest.mark.parametrize("table", ['a"b', "../a", "", "a..b", "a b"])
def test_a_name_that_is_no_iceberg_table_is_refused(settings: Settings, table: str) -> None:
    """It would become a folder."""
    with pytest.raises(SettingsInvalid, match="no name of a table"):
        prediction_sink(settings, "iceberg:", table).publish(make_run(10, A))


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("postgresql://h/d", "adbc_driver_postgresql.dbapi", "postgres"),
        ("iceberg:", "pyiceberg.catalog.sql", "iceberg"),
    ],
)
def test_a_missing_package_is_said(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, uri: str, module: str, extra: str
) -> None:
    """With the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(SettingsInvalid) as caught:
        prediction_sink(settings, uri)

    assert f"pip install 'twinscore[{extra}]'" in caught.value.message


def test_relative_places_lie_in_the_lake(settings: Settings) -> None:
    """As every relative path of a job does."""
    prediction_sink(settings, "sqlite:///scores.db").publish(make_run(10, A))
    prediction_sink(settings, "iceberg:").publish(make_run(10, A))

    assert (settings.lake / "scores.db").is_file()
    assert (settings.lake / "iceberg" / "catalog.db").is_file()
