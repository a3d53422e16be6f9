"""What people ask for by moving a model's aliases, and what they are told back; knows no registry product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AliasStore"]


class AliasStore(Protocol):
    """The aliases of a registry's models, and the tags of their versions.

    No registry in use lets a writer say what it expects to replace, so `move` looks and then writes: who moves an alias
    in the milliseconds between is overwritten. What a model's rollout decides by is kept elsewhere; aliases mirror it.
    """

    def models(self) -> Mapping[str, Mapping[str, str]]:
        """Return each model that has an alias, with the version that each of its aliases names.

        One question, however many models there are.

        Raises:
            StoreUnavailable: the registry does not answer.
        """
        ...

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return the version that each alias of one model names.

        Raises:
            ModelNotFound: there is no such model.
            StoreUnavailable: the registry does not answer.
        """
        ...

    def move(self, model: str, alias: str, version: str | None, *, expected: str | None) -> bool:
        """Point an alias at another version, unless somebody moved it since it was looked at.

        Args:
            version: where to; None takes the alias away.
            expected: the version that it named when the caller decided; None when it did not exist.

        Returns:
            Whether the alias now names `version`. Nothing is written when it does already, or when it names neither
            that nor `expected`.

        Raises:
            ModelNotFound: there is no such model or version.
            SettingsInvalid: the registry does not take the name of the alias.
            StoreUnavailable: the registry does not answer.
        """
        ...

    def tag(self, model: str, version: str, key: str, value: str | None) -> bool:
        """Write a tag of a version, or take it away with None, and tell whether anything was written.

        A tag that is as wanted already is left alone, so that repeating this makes no noise.

        Raises:
            ModelNotFound: there is no such version.
            StoreUnavailable: the registry does not answer.
        """
        ...
