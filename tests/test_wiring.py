"""From settings to stores, and from a reference to a verified bundle."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.bundle.files import read_bundle
from twinscore.clock import SystemClock
from twinscore.errors import BundleInvalid, ModelNotFound
from twinscore.ports.listener_roster import Listener
from twinscore.settings import Settings, load_settings
from twinscore.testing.models import make_bundle
from twinscore.wiring import bundle_store, listener_roster, load_version, model_store, serve_ingress

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.bundle.files import Bundle


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a home that the whole module shares."""
    return load_settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small bundle."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "bundle", "binary", rows=300, trees=3)


def test_a_version_is_loaded_by_its_alias(settings: Settings, bundle: Bundle) -> None:
    """What was registered is loaded, verified, from the bundle store."""
    models = model_store(settings)
    made = models.register("loans", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    models.set_alias("loans", "champion", made.version)

    version, loaded = load_version(settings, "loans@champion")

    assert made.version == version.version
    assert bundle.digest == loaded.digest
    assert bundle_store(settings).path(bundle.digest) == loaded.folder


def test_a_second_load_does_not_touch_the_artifacts(settings: Settings, bundle: Bundle) -> None:
    """Once the lake has a bundle, the registry is asked for the name only."""
    made = model_store(settings).register(
        "gone", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest}
    )
    load_version(settings, made.ref)
    shutil.rmtree(made.source)

    _, loaded = load_version(settings, made.ref)

    assert bundle.digest == loaded.digest


def test_artifacts_that_are_not_what_the_tag_says_are_refused(
    settings: Settings, bundle: Bundle, tmp_path: Path
) -> None:
    """A version whose files were exchanged after registration does not load."""
    other = make_bundle(tmp_path / "other", "binary", rows=300, trees=2, seed=1)
    made = model_store(settings).register("swapped", other.folder, metrics={}, params={}, tags={BUNDLE_TAG: "0" * 64})

    with pytest.raises(BundleInvalid, match="somebody changed one of them"):
        load_version(settings, made.ref)


def test_a_changed_bundle_in_the_lake_is_refused(settings: Settings, tmp_path: Path) -> None:
    """A flipped byte in the bundle store is found at the next load."""
    small = make_bundle(tmp_path / "small", "binary", rows=300, trees=2, seed=2)
    made = model_store(settings).register("hurt", small.folder, metrics={}, params={}, tags={BUNDLE_TAG: small.digest})
    load_version(settings, made.ref)
    file = bundle_store(settings).path(small.digest) / "profile.json"
    file.chmod(0o644)
    file.write_text(file.read_text() + " ")

    with pytest.raises(BundleInvalid, match=r"profile\.json"):
        load_version(settings, made.ref)


def test_a_relative_home_means_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle) -> None:
    """Stores of a relative home are absolute, so that a worker in another folder finds the same."""
    monkeypatch.chdir(tmp_path)
    bundles = bundle_store(Settings(home="here"))  # type: ignore[arg-type]

    digest = bundles.publish(bundle.folder)
    monkeypatch.chdir("/")

    assert tmp_path / "here" / "lake" / "bundles" / digest == bundles.path(digest)
    assert digest == read_bundle(bundles.path(digest)).digest


def test_a_stack_that_does_not_answer_is_passed_over(settings: Settings, free_port: int) -> None:
    """A state file of a dead stack leads to the embedded registry, not to an error."""
    state = settings.home / "run" / "stack.json"
    state.parent.mkdir(exist_ok=True)
    state.write_text(json.dumps({"mlflow": {"pid": 1, "url": f"http://127.0.0.1:{free_port}"}}))
    try:
        with pytest.raises(ModelNotFound, match="sqlite"):
            model_store(settings).resolve("nobody")
    finally:
        state.unlink()


def test_serves_own_ingress_is_behind_the_edge_of_a_stack(home: Path) -> None:
    """With a stack it is where the state file says; without one, or on a cluster, where users call."""
    alone = load_settings(home=home, serve_port=8100)
    before = serve_ingress(alone)
    (home / "run").mkdir()
    (home / "run" / "stack.json").write_text(json.dumps({"serve": {"ingress": "127.0.0.1:20001"}}))

    assert before == ("127.0.0.1", 8100)
    assert serve_ingress(alone) == ("127.0.0.1", 20001)
    assert serve_ingress(load_settings(home=home, serve_port=8100, ray_address="ray:6379")) == ("127.0.0.1", 8100)


def test_replicas_and_edge_share_one_roster(home: Path) -> None:
    """What one process of a home announces, another one finds."""
    settings = load_settings(home=home)
    listener = Listener("loans", "a", "127.0.0.1", 30_001, 64, "ready", SystemClock().now())

    listener_roster(settings).announce(listener)

    assert listener_roster(settings).listeners() == (listener,)
