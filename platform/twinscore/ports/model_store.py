"""Where model versions are kept and found by name; knows no registry product.

A reference is `adult@champion`, `adult/3` or plain `adult` (= `adult@champion`), each also with `models:/` in front.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twinscore.errors import ModelNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CHAMPION", "ModelRef", "ModelStore", "ModelVersion", "parse_ref"]

CHAMPION = "champion"
"""The alias that a bare model name means: the version that people want live."""

# A model's name is a folder, a URL path and a registry name at once, so it takes the letters that all three agree on.
_REF = re.compile(
    r"(?:models:/)?(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(?:@(?P<alias>[A-Za-z][A-Za-z0-9._-]*)|/(?P<version>[0-9]+))?"
)


@dataclass(frozen=True, slots=True)
class ModelRef:
    """What a person asks for: a model, and one of its versions by number or by alias."""

    model: str
    version: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.model}/{self.version}" if self.version else f"{self.model}@{self.alias}"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One numbered version of a model, as its registry knows it.

    `bundle_digest` is None for a version that carries no bundle (a plain MLflow model before `adopt`).
    """

    model: str
    version: str
    aliases: tuple[str, ...]
    bundle_digest: str | None
    source: str
    run_id: str | None

    @property
    def ref(self) -> str:
        """The reference that names exactly this version, such as `adult/3`."""
        return f"{self.model}/{self.version}"


class ModelStore(Protocol):
    """A registry of model versions and their files."""

    def resolve(self, ref: str) -> ModelVersion:
        """Return the version that `ref` names now.

        Raises:
            ModelNotFound: the model, version or alias does not exist; the message says what does.
            StoreUnavailable: the registry does not answer.
        """
        ...

    def download(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the files of a version below `folder`, as they were logged, and return where they are."""
        ...

    def fetch(self, version: ModelVersion, folder: Path) -> Path:
        """Copy the files of a version below `folder` and return its bundle folder, unverified.

        Raises:
            ModelNotReady: the version carries no bundle; the message says how to adopt it.
        """
        ...

    def register(
        self,
        model: str,
        bundle_folder: Path,
        *,
        metrics: Mapping[str, float],
        params: Mapping[str, object],
        tags: Mapping[str, str],
    ) -> ModelVersion:
        """Store a bundle as the next version of `model`, with the record of how it was made."""
        ...

    def set_alias(self, model: str, alias: str, version: str) -> None:
        """Point `alias` of `model` at `version`."""
        ...


def parse_ref(ref: str) -> ModelRef:
    """Read a model reference.

    Raises:
        ModelNotFound: it has none of the forms that name a model.

    >>> parse_ref("adult")
    ModelRef(model='adult', version=None, alias='champion')
    >>> str(parse_ref("models:/adult/3"))
    'adult/3'
    """
    match = _REF.fullmatch(ref)
    if match is None:
        message = (
            f"{ref!r} does not name a model version. Write 'adult@champion', 'adult/3' or 'adult' "
            "(letters, digits, '.', '_' and '-'), with or without 'models:/' in front."
        )
        raise ModelNotFound(message, ref=ref)
    version, alias = match["version"], match["alias"]
    return ModelRef(match["model"], version, alias or (None if version else CHAMPION))
