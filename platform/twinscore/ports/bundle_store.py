"""Where verified bundles are kept by their digest; knows no file system."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BundleStore"]


class BundleStore(Protocol):
    """Immutable bundles, addressed by content: once there, a digest always means the same bytes."""

    def has(self, digest: str) -> bool:
        """Tell whether the bundle with this SHA-256 is here, whole."""
        ...

    def digests(self) -> list[str]:
        """Return the digests of the bundles that are here, in order."""
        ...

    def publish(self, folder: Path) -> str:
        """Verify the bundle in `folder`, keep a copy under its digest, and return the digest.

        Publishing what is already there changes nothing.

        Raises:
            BundleInvalid: a file is missing, changed or not allowed.
        """
        ...

    def path(self, digest: str) -> Path:
        """Return the folder of a bundle that is here.

        Raises:
            BundleInvalid: it is not here.
        """
        ...
