"""One small bundle, one embedded registry, and the places that runs are published to."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_client import prepare_embedded
from twinscore.adapters.mlflow_models import MlflowModels
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import open_rollout_store

from ..postgres import postgresql
from .mlflow_server import mlflow_server
from .places import IcebergPlace, Place, PostgresPlace, SqlitePlace

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.ports.rollout_store import ControlStore


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of 300 rows and 5 trees."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", "binary", rows=300, trees=5)


@pytest.fixture(scope="session")
def registry_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an embedded registry whose tables exist."""
    folder = tmp_path_factory.mktemp("registry")
    prepare_embedded(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    return folder


@pytest.fixture(scope="session")
def models(registry_folder: Path) -> MlflowModels:
    """The embedded registry as a model store."""
    return MlflowModels(f"sqlite:///{registry_folder / 'mlflow.db'}", artifact_root=registry_folder / "artifacts")


@pytest.fixture(scope="session")
def server(registry_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server on the registry that other tests open directly; it may call back on this machine."""
    calls = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": base64.urlsafe_b64encode(b"k" * 32).decode(),
    }
    with mlflow_server(registry_folder, tmp_path_factory.mktemp("server") / "server.log", calls) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL of our own, without the password, which stands in PGPASSWORD."""
    with postgresql() as address:
        yield address


_NUMBERS = itertools.count()


@pytest.fixture
def postgres_database(postgres_server: str) -> str:
    """Address of an empty database."""
    import psycopg

    name = f"test_{next(_NUMBERS)}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{postgres_server}/{name}"


@pytest.fixture(params=["sqlite", "postgresql", "iceberg"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place to publish to, one of each kind."""
    settings = load_settings(home=tmp_path / "home")
    if request.param == "sqlite":
        return SqlitePlace(settings, f"sqlite:///{tmp_path / 'scores.db'}")
    if request.param == "postgresql":
        return PostgresPlace(settings, request.getfixturevalue("postgres_database"))
    return IcebergPlace(settings, f"iceberg+sqlite:///{tmp_path / 'iceberg' / 'catalog.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
def control_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings whose control store is empty: a file in the home, or a database on a server."""
    uri = request.getfixturevalue("postgres_database") if request.param == "postgresql" else None
    return load_settings(home=tmp_path / "home", control_store=uri)


@pytest.fixture
def control(control_settings: Settings) -> Iterator[ControlStore]:
    """The control store of these settings, open."""
    with open_rollout_store(control_settings) as store:
        yield store
