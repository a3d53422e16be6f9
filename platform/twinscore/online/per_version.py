"""What is made once for each version that a gateway holds, and let go of with it; knows not what that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twinscore.online.endpoint import Endpoint

__all__ = ["PerVersion"]

Made = TypeVar("Made")


class PerVersion(Generic[Made]):
    """Makes something of an endpoint when it is first asked for; may be asked by several threads.

    By number and digest: the same bundle may be live under two numbers, one after the other.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[Endpoint], Made]) -> None:
        self._make = make
        self._made: dict[tuple[str, str], Made] = {}

    def of(self, endpoint: Endpoint) -> Made:
        """Return what was made for a version, made now if it was not."""
        key = endpoint.version, endpoint.bundle.digest
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(endpoint)
        return found

    def forget_but(self, kept: Iterable[Endpoint]) -> None:
        """Let go of every other version; one that still answers has it made again."""
        keys = {(endpoint.version, endpoint.bundle.digest) for endpoint in kept}
        self._made = {key: made for key, made in self._made.copy().items() if key in keys}
