"""One small bundle and one embedded registry for the adapters' tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_client import prepare_embedded
from twinscore.adapters.mlflow_models import MlflowModels
from twinscore.testing.models import make_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.bundle.files import Bundle


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
