"""Aliases and version tags, read and moved through an MLflow server and directly in its database."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_aliases import MlflowAliases
from twinscore.adapters.mlflow_models import BUNDLE_TAG, MlflowModels
from twinscore.errors import ModelNotFound, SettingsInvalid, StoreUnavailable
from twinscore.settings import load_settings
from twinscore.wiring import alias_store

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.bundle.files import Bundle

_NUMBERS = itertools.count()


@pytest.fixture(params=["direct", "server"])
def aliases(request: pytest.FixtureRequest, registry_folder: Path) -> MlflowAliases:
    """The same registry, by both ways to it."""
    if request.param == "direct":
        return MlflowAliases(f"sqlite:///{registry_folder / 'mlflow.db'}")
    return MlflowAliases(request.getfixturevalue("server"))


@pytest.fixture
def model(models: MlflowModels, bundle: Bundle) -> str:
    """A model of the test's own, with two versions of which nobody asked for any."""
    name = f"asked{next(_NUMBERS)}"
    for _ in range(2):
        models.register(name, bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    return name


def test_a_move_is_seen_by_everybody(aliases: MlflowAliases, models: MlflowModels, model: str) -> None:
    """An alias is made, moved and taken away, and each look at one model and at all of them says so."""
    assert aliases.move(model, "champion", "1", expected=None)
    assert aliases.move(model, "serving", "1", expected=None)
    assert aliases.move(model, "champion", "2", expected="1")
    assert {"champion": "2", "serving": "1"} == aliases.aliases(model) == aliases.models()[model]
    assert models.resolve(f"{model}@champion").version == "2"

    assert aliases.move(model, "champion", None, expected="2")
    assert aliases.move(model, "serving", None, expected="1")
    assert {} == aliases.aliases(model)
    assert model not in aliases.models()


def test_what_somebody_else_moved_is_left_alone(aliases: MlflowAliases, models: MlflowModels, model: str) -> None:
    """A move that expects another version than is there writes nothing, whatever it was meant to do."""
    models.set_alias(model, "champion", "2")

    assert not aliases.move(model, "champion", "1", expected=None)
    assert not aliases.move(model, "champion", None, expected="1")
    assert not aliases.move(model, "serving", "1", expected="2")
    assert {"champion": "2"} == aliases.aliases(model)


def test_what_is_there_already_is_not_written_again(
    aliases: MlflowAliases, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A move to where the alias is, and a tag that reads as wanted, are done without a write."""
    aliases.move(model, "champion", "1", expected=None)
    aliases.tag(model, "1", "twinscore.rollout", "live")
    client = aliases._client
    for write in ("set_registered_model_alias", "delete_registered_model_alias", "set_model_version_tag"):
        monkeypatch.delattr(type(client), write)

    assert aliases.move(model, "champion", "1", expected="2")
    assert aliases.move(model, "shadow", None, expected="2")
    assert not aliases.tag(model, "1", "twinscore.rollout", "live")


def test_a_tag_is_written_changed_and_taken_away(aliases: MlflowAliases, models: MlflowModels, model: str) -> None:
    """A version's tag reads as the last one wrote it; other tags stay, and a long text is cut."""

    def found() -> dict[str, str]:
        return dict(models._client.get_model_version(model, "1").tags)

    assert aliases.tag(model, "1", "twinscore.rollout", "canary 5%")
    assert aliases.tag(model, "1", "twinscore.rollout", "refused: contract.yaml is missing — ü")
    assert found()["twinscore.rollout"] == "refused: contract.yaml is missing — ü"
    assert aliases.tag(model, "1", "twinscore.rollout", "x" * 6000)
    assert not aliases.tag(model, "1", "twinscore.rollout", "x" * 6000)
    assert found()["twinscore.rollout"] == "x" * 4999 + "…"
    assert aliases.tag(model, "1", "twinscore.rollout", None)
    assert not aliases.tag(model, "1", "twinscore.rollout", None)
    assert [BUNDLE_TAG] == list(found())


def test_what_is_missing_is_named_with_what_is_there(aliases: MlflowAliases, model: str) -> None:
    """A model, a version or an alias name that does not exist is refused in our words."""
    with pytest.raises(ModelNotFound, match=f"no model '{model}x'.*Did you mean"):
        aliases.aliases(f"{model}x")
    with pytest.raises(ModelNotFound, match="no version 9; it has 1, 2"):
        aliases.move(model, "champion", "9", expected=None)
    with pytest.raises(ModelNotFound, match="no version 9; it has 1, 2"):
        aliases.tag(model, "9", "twinscore.rollout", "x")
    with pytest.raises(SettingsInvalid, match="'latest'"):
        aliases.move(model, "latest", "1", expected=None)


def test_a_registry_that_is_away_is_said_to_be(free_port: int) -> None:
    """Each question to a server that does not answer is an error of ours."""
    away = MlflowAliases(f"http://127.0.0.1:{free_port}")

    for ask in (
        away.models,
        lambda: away.aliases("m"),
        lambda: away.move("m", "champion", "1", expected=None),
        lambda: away.tag("m", "1", "twinscore.rollout", "x"),
    ):
        with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{free_port}"):
            ask()


def test_the_settings_lead_to_the_registry(registry_folder: Path, model: str) -> None:
    """The store that the wiring returns is on the registry that the settings name."""
    uri = f"sqlite:///{registry_folder / 'mlflow.db'}"
    MlflowAliases(uri).move(model, "champion", "1", expected=None)

    assert {"champion": "1"} == alias_store(load_settings(mlflow_uri=uri)).aliases(model)
