"""The model store on an embedded MLflow registry, and on one that is away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_client import prepare_embedded
from twinscore.adapters.mlflow_models import BUNDLE_TAG, MlflowModels
from twinscore.bundle.files import read_bundle
from twinscore.errors import ModelNotFound, ModelNotReady, SettingsInvalid, StoreUnavailable

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.ports.model_store import ModelVersion


@pytest.fixture(scope="module")
def registered(models: MlflowModels, bundle: Bundle) -> ModelVersion:
    """Version 1 of `plain`, with an alias."""
    version = models.register(
        "plain",
        bundle.folder,
        metrics={"auc": 0.9, "group/city/a b/auc": 0.8},
        params={"max_depth": 4, "nested": {"a": [1, 2]}, "long": "x" * 10_000},
        tags={BUNDLE_TAG: bundle.digest, "twinscore.task": "classification"},
    )
    models.set_alias("plain", "champion", version.version)
    return version


def test_a_registered_bundle_comes_back_whole(
    models: MlflowModels, registered: ModelVersion, bundle: Bundle, tmp_path: Path
) -> None:
    """What is fetched is the bundle that was registered, digest for digest."""
    folder = models.fetch(models.resolve("plain@champion"), tmp_path)

    assert bundle.digest == read_bundle(folder).digest
    assert registered.bundle_digest == bundle.digest


@pytest.mark.parametrize("ref", ["plain", "plain@champion", "plain/1", "models:/plain@champion", "models:/plain/1"])
@pytest.mark.usefixtures("registered")
def test_every_form_of_a_reference_finds_the_version(models: MlflowModels, ref: str) -> None:
    """A version is found by number and by alias, and knows its digest and aliases."""
    found = models.resolve(ref)

    assert ("plain", "1", ("champion",)) == (found.model, found.version, found.aliases)
    assert found.bundle_digest is not None


def test_the_run_holds_what_a_person_wants_to_see(models: MlflowModels, registered: ModelVersion) -> None:
    """Metrics, parameters and tags are in the run of the version, which is finished."""
    run = models._client.get_run(str(registered.run_id))

    assert run.info.status == "FINISHED"
    assert {"auc": 0.9, "group/city/a b/auc": 0.8} == run.data.metrics
    assert run.data.params["nested"] == '{"a": [1, 2]}'
    assert len(run.data.params["long"]) == 6000
    assert run.data.tags["twinscore.task"] == "classification"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("plane", r"no model 'plane'.*Did you mean 'plain'\?.*twinscore train --model plane"),
        ("plain@champon", r"no alias @champon; it has @champion = version 1.*--alias champon"),
        ("plain/7", r"no version 7; it has 1\."),
    ],
)
@pytest.mark.usefixtures("registered")
def test_what_is_missing_is_said_with_what_exists_and_what_to_do(models: MlflowModels, ref: str, expected: str) -> None:
    """The message names what is near and the command that helps."""
    with pytest.raises(ModelNotFound, match=expected):
        models.resolve(ref)


@pytest.mark.usefixtures("registered")
def test_an_alias_needs_a_version_and_a_name_that_mlflow_takes(models: MlflowModels) -> None:
    """An alias of an unknown version and a reserved alias are refused in our words."""
    with pytest.raises(ModelNotFound, match="no version 9"):
        models.set_alias("plain", "champion", "9")
    with pytest.raises(SettingsInvalid, match="'latest'"):
        models.set_alias("plain", "latest", "1")


def test_a_registry_that_is_away_is_said_at_once(tmp_path: Path, free_port: int) -> None:
    """A server that does not answer is an error of ours that names it, not minutes of silence."""
    away = MlflowModels(f"http://127.0.0.1:{free_port}")

    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{free_port}.*twinscore up"):
        away.resolve("adult@champion")
    with pytest.raises(StoreUnavailable):
        away.set_alias("adult", "champion", "1")
    assert list(tmp_path.iterdir()) == []


def test_lost_artifacts_are_the_stores_fault(
    models: MlflowModels, registry_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """A version whose files are gone says which version and which registry."""
    version = models.register("lost", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    Path(version.source).rename(registry_folder / "moved-away")

    with pytest.raises(StoreUnavailable, match="read the files of lost/1"):
        models.fetch(version, tmp_path)


def test_a_plain_mlflow_model_says_how_to_adopt_it(models: MlflowModels, tmp_path: Path) -> None:
    """A version without a bundle is refused with the command that gives it one."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.xgboost\n    data: m.ubj\n"
    )
    client = models._client
    run = client.create_run(client.create_experiment("foreign"))
    client.log_artifacts(run.info.run_id, str(folder), "model")
    client.create_registered_model("foreign")
    client.create_model_version("foreign", f"{run.info.artifact_uri}/model", run_id=run.info.run_id)

    with pytest.raises(ModelNotReady, match="twinscore adopt models:/foreign/1 --data"):
        models.fetch(models.resolve("foreign/1"), tmp_path / "fetched")


def test_preparing_twice_changes_nothing(registry_folder: Path) -> None:
    """The tables are created once; later calls only look."""
    database = registry_folder / "mlflow.db"
    before = database.stat().st_mtime_ns

    prepare_embedded(f"sqlite:///{database}", registry_folder / "artifacts")

    assert before == database.stat().st_mtime_ns


def test_the_default_experiment_lives_in_the_registry_folder(models: MlflowModels, registry_folder: Path) -> None:
    """Nothing of MLflow is written to the folder that a command happens to run in."""
    assert str(registry_folder / "artifacts" / "0") == models._client.get_experiment("0").artifact_location
