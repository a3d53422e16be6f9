"""The control store's tables: how they are made, who may use them, and what happens when the ledger is touched."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from twinscore.adapters import rollout_tables
from twinscore.adapters.rollout_tables import METADATA, REVISION, VERSION_TABLE
from twinscore.errors import SettingsInvalid, StoreUnavailable
from twinscore.ports.rollout_store import ControlStore
from twinscore.rollout.ledger import Draft, verify_chain
from twinscore.settings import Settings, load_settings
from twinscore.wiring import open_rollout_store


@contextmanager
def stranger(settings: Settings) -> Iterator[sa.Connection]:
    """Connect to the database behind the product's back."""
    uri = settings.control_store or f"sqlite:///{settings.home / 'control' / 'control.db'}"
    engine = sa.create_engine(uri.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def filled(control: ControlStore) -> None:
    """Enter three things."""
    drafts = [Draft(model="loans", kind="started", reason=reason, evidence={"errors": 3}) for reason in "abc"]
    control.rollouts.save("loans", {}, revision=0, lease=None, drafts=drafts)


@pytest.mark.usefixtures("control")
def test_migrations_make_the_tables_that_the_code_knows(control_settings: Settings) -> None:
    """Alembic finds nothing to add or to change, and its last migration is the one that the code waits for."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    migrations = ScriptDirectory(str(Path(rollout_tables.__file__).with_name("migrations")))
    with stranger(control_settings) as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, METADATA) == []
    assert [REVISION] == migrations.get_heads()


def test_several_may_open_an_empty_store_at_once(control_settings: Settings) -> None:
    """One makes the tables, the others wait for it."""

    def opened(_: int) -> tuple[str, ...]:
        with open_rollout_store(control_settings) as store:
            return store.rollouts.models()

    with ThreadPoolExecutor(4) as pool:
        assert [()] * 4 == list(pool.map(opened, range(4)))


@pytest.mark.usefixtures("control")
def test_tables_of_a_newer_version_are_left_alone(control_settings: Settings) -> None:
    """The message names both schemas."""
    with stranger(control_settings) as connection:
        connection.execute(sa.text(f"update {VERSION_TABLE} set version_num = '9999'"))

    with pytest.raises(SettingsInvalid, match=f"9999.*{REVISION}"):
        open_rollout_store(control_settings)


def test_the_database_may_be_shared(control_settings: Settings) -> None:
    """Alembic's usual table belongs to somebody else, such as MLflow; ours has a name of its own."""
    (control_settings.home / "control").mkdir(parents=True)
    with stranger(control_settings) as connection:
        connection.execute(sa.text("create table alembic_version (version_num varchar(32))"))
        connection.execute(sa.text("insert into alembic_version values ('mlflows')"))
    with open_rollout_store(control_settings) as control:
        filled(control)
    with stranger(control_settings) as connection:
        assert connection.execute(sa.text("select version_num from alembic_version")).scalars().all() == ["mlflows"]


@pytest.mark.parametrize(
    "statement", ["update twinscore_ledger set reason = 'x'", "delete from twinscore_ledger where number = 2"]
)
def test_the_database_refuses_to_change_the_ledger(
    control: ControlStore, control_settings: Settings, statement: str
) -> None:
    """An entry can be added only, whoever tries."""
    filled(control)
    with pytest.raises(sa.exc.DBAPIError, match="only be added"), stranger(control_settings) as connection:
        connection.execute(sa.text(statement))

    assert [entry.reason for entry in control.ledger.entries("loans")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("update twinscore_ledger set reason = 'x' where number = 2", 2),
        ("update twinscore_ledger set evidence = '{\"errors\":0}' where number = 3", 3),
        ("update twinscore_ledger set evidence = 'no json' where number = 2", 2),
        ('update twinscore_ledger set evidence = \'{"errors":9,"errors":3}\' where number = 2', 2),
        ("update twinscore_ledger set at = 'yesterday' where number = 1", 1),
        ("update twinscore_ledger set kind = 'NO KIND' where number = 1", 1),
        ("delete from twinscore_ledger where number = 1", 1),
        ("delete from twinscore_ledger where number = 3", 3),
        ("delete from twinscore_ledger", 1),
    ],
)
def test_a_touched_ledger_names_the_entry(
    control: ControlStore, control_settings: Settings, statement: str, number: int
) -> None:
    """Who takes the guard away and edits or removes an entry, the last one too, is found out."""
    filled(control)
    unguard(control_settings)
    with stranger(control_settings) as connection:
        connection.execute(sa.text(statement.replace(":", "\\:")))
    found = verify_chain(control.ledger.entries("loans"), known=control.ledger.head("loans"))

    assert found is not None
    assert number == found.number
    assert control.ledger.chains() == ("loans",)


def unguard(settings: Settings) -> None:
    """Take the triggers away, as the owner of a database can."""
    names = ("update", "delete") if settings.control_store is None else ("guard",)
    with stranger(settings) as connection:
        for name in names:
            on = "" if settings.control_store is None else " on twinscore_ledger"
            connection.execute(sa.text(f"drop trigger twinscore_ledger_{name}{on}"))


@pytest.mark.parametrize(
    ("uri", "word"),
    [
        ("mysql://scorer:s3cret@host/db", "PostgreSQL"),
        ("no address", "no address"),
        ("sqlite://", "file"),
        ("sqlite:///:memory:", "file"),
    ],
)
def test_another_kind_of_store_is_refused(uri: str, word: str, tmp_path: Path) -> None:
    """The message says what can be written, and no password."""
    with pytest.raises(SettingsInvalid, match=word) as caught:
        open_rollout_store(load_settings(home=tmp_path, control_store=uri))

    assert "s3cret" not in caught.value.message


def test_a_store_that_is_away_says_so(tmp_path: Path, free_port: int) -> None:
    """The address is shown without its password."""
    uri = f"postgresql://scorer:s3cret@127.0.0.1:{free_port}/rollouts"
    with pytest.raises(StoreUnavailable, match=f"{free_port}/rollouts") as caught:
        open_rollout_store(load_settings(home=tmp_path, control_store=uri))

    assert "s3cret" not in caught.value.message


def test_a_file_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    """A folder in the way, or a file that is no database."""
    (tmp_path / "home").write_text("")
    with pytest.raises(StoreUnavailable, match="control"):
        open_rollout_store(load_settings(home=tmp_path / "home"))
    (tmp_path / "other.db").write_text("no database, " * 100)
    with pytest.raises(StoreUnavailable, match=r"other\.db"):
        open_rollout_store(load_settings(home=tmp_path, control_store="sqlite:///other.db"))


def test_a_lost_connection_is_replaced(postgres_database: str, tmp_path: Path) -> None:
    """After the server ended every connection the next call works."""
    settings = load_settings(home=tmp_path, control_store=postgres_database)
    with open_rollout_store(settings) as control:
        filled(control)
        with stranger(settings) as connection:
            ended = connection.execute(
                sa.text(
                    "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                    " where datname = current_database() and application_name = 'twinscore'"
                )
            )
            assert ended.scalar_one() == 1
        found: Any = control.rollouts.load("loans")

    assert found.revision == 1
