"""Aliases and version tags in an MLflow registry; knows nothing of what they lead to.

MLflow keeps an alias as one row that the last writer overwrites: no time, no actor, no compare-and-swap. So `move` asks
what an alias names right before it writes, over the same connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.adapters.mlflow_client import connect, translated
from twinscore.adapters.mlflow_models import MlflowModels
from twinscore.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.tracking import MlflowClient

__all__ = ["MlflowAliases"]

_PAGE = 1000
_LONGEST_TAG = 5000
"""Of a tag: more than a person reads, less than the narrowest column of any MLflow database."""


class MlflowAliases:
    """An alias store on an MLflow registry.

    Args:
        uri: of the registry; `sqlite:///...` reads and writes the database directly.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._versions = MlflowModels(uri)
        self._connected: MlflowClient | None = None

    def models(self) -> Mapping[str, Mapping[str, str]]:
        """Return each model that has an alias, with the version that each of its aliases names."""
        found: dict[str, Mapping[str, str]] = {}
        with translated("list its models", self._uri):
            token: str | None = None
            while True:
                page = self._client.search_registered_models(max_results=_PAGE, page_token=token)
                found |= {str(model.name): _texts(model.aliases) for model in page if model.aliases}
                token = page.token
                if not token:
                    return found

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return the version that each alias of one model names."""
        try:
            with translated(f"read the aliases of {model!r}", self._uri, lookup=True):
                return _texts(self._client.get_registered_model(model).aliases)
        except ModelNotFound:
            self._versions.resolve(model)  # says which models there are
            raise

    def move(self, model: str, alias: str, version: str | None, *, expected: str | None) -> bool:
        """Point an alias at another version, unless somebody moved it since it was looked at."""
        found = self.aliases(model).get(alias)
        if found == version:
            return True
        if found != expected:
            return False
        if version is not None:
            self._versions.set_alias(model, alias, version)
        else:
            with translated(f"take the alias {model}@{alias} away", self._uri):
                self._client.delete_registered_model_alias(model, alias)
        return True

    def tag(self, model: str, version: str, key: str, value: str | None) -> bool:
        """Write a tag of a version, or take it away with None, and tell whether anything was written."""
        wanted = None if value is None else _shortened(value)
        try:
            with translated(f"tag {model}/{version}", self._uri, lookup=True):
                found = dict(self._client.get_model_version(model, version).tags or {}).get(key)
                if found == wanted:
                    return False
                if wanted is None:
                    self._client.delete_model_version_tag(model, version, key)
                else:
                    self._client.set_model_version_tag(model, version, key, wanted)
        except ModelNotFound:
            self._versions.resolve(f"{model}/{version}")  # says which versions there are
            raise
        return True

    @property
    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._connected = connect(self._uri)
        return self._connected


def _texts(aliases: Mapping[str, str]) -> Mapping[str, str]:
    return {str(alias): str(version) for alias, version in sorted(dict(aliases).items())}


def _shortened(value: str) -> str:
    return value if len(value) <= _LONGEST_TAG else f"{value[: _LONGEST_TAG - 1]}…"
