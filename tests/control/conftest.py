"""A small bundle in a registry and a lake of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import model_store, open_rollout_store

from ..postgres import postgresql
from .alert_world import MODEL, AlertWorld
from .desk import Desk, empty_database, opened

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

Register = Callable[..., Path]
AlertsOf = Callable[[str], AlertWorld]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of 300 rows and 5 trees."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", "binary", rows=300, trees=5)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home with an embedded registry."""
    settings = load_settings(home=tmp_path_factory.mktemp("home"))
    model_store(settings)
    return settings


@pytest.fixture
def register(platform: Settings, bundle: Bundle) -> Register:
    """Registers the bundle as version 1 of a model, and returns the folder in which the registry keeps its files."""

    def make(model: str, digest: str | None = None) -> Path:
        tags = {BUNDLE_TAG: digest or bundle.digest}
        made = model_store(platform).register(model, bundle.folder, metrics={}, params={}, tags=tags)
        return Path(made.source)

    return make


@pytest.fixture
def alerts_of(tmp_path: Path) -> Iterator[AlertsOf]:
    """Makes a model's alerts from the text of its deployment file, with a store of their own."""
    settings = load_settings(home=tmp_path / "home", deployments=tmp_path / "deployments")
    settings.deployments.mkdir()
    with open_rollout_store(settings) as store:
        made: list[AlertWorld] = []

        def make(text: str) -> AlertWorld:
            (settings.deployments / f"{MODEL}.yaml").write_text(text)
            made.append(AlertWorld(settings, store))
            return made[-1]

        yield make
        for one in made:
            one.courier.close()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server_of(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Address of a server, or None for a file in the home."""
    with postgresql() if request.param == "postgresql" else nullcontext() as address:
        yield address


@pytest.fixture
def desk(server_of: str | None, tmp_path: Path) -> Iterator[Desk]:
    """The paths of commands and holds over an empty store."""
    uri = None if server_of is None else empty_database(server_of)
    settings = load_settings(home=tmp_path / "home", control_store=uri)
    with open_rollout_store(settings) as store, opened(settings, store) as found:
        yield found
