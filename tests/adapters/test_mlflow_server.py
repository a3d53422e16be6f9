"""The embedded registry through an MLflow server and directly: both see the same versions and files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twinscore.adapters.mlflow_models import BUNDLE_TAG, MlflowModels
from twinscore.bundle.files import Bundle, read_bundle
from twinscore.errors import ModelNotFound
from twinscore.settings import load_settings
from twinscore.wiring import load_version


def test_what_the_server_registers_is_there_directly(
    server: str, models: MlflowModels, bundle: Bundle, tmp_path: Path
) -> None:
    """A version registered over HTTP is resolved and fetched from the database and the folder, and the other way."""
    remote = MlflowModels(server)

    made = remote.register("remote", bundle.folder, metrics={"auc": 0.9}, params={}, tags={BUNDLE_TAG: bundle.digest})
    remote.set_alias("remote", "champion", made.version)
    direct = models.register("direct", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})

    found = models.resolve("remote@champion")
    assert ("remote", made.version, bundle.digest) == (found.model, found.version, found.bundle_digest)
    assert bundle.digest == read_bundle(models.fetch(found, tmp_path / "a")).digest
    assert bundle.digest == read_bundle(remote.fetch(remote.resolve(direct.ref), tmp_path / "b")).digest
    with pytest.raises(ModelNotFound, match=r"no alias @nope; it has @champion = version 1"):
        remote.resolve("remote@nope")
    with pytest.raises(ModelNotFound, match="Did you mean 'remote'"):
        remote.resolve("remotte")


def test_the_running_stack_is_asked_over_http(
    server: str, registry_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """A home whose stack is up reads versions through its server."""
    MlflowModels(server).register("stacked", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(json.dumps({"mlflow": {"pid": 1, "url": server}}))

    version, loaded = load_version(load_settings(home=tmp_path), "stacked/1")

    assert str(registry_folder) in version.source
    assert bundle.digest == loaded.digest
