"""Bundles in a local folder, one sub-folder per digest; knows nothing of registries.

    <lake>/bundles/<sha256>/...    files read-only, appears by one rename

A publisher copies into a private sibling, verifies the copy (not the original, which may still change), and renames.
One that is killed leaves its sibling, which a later publisher takes away after an hour.
Folders stay writable, so that their owner can delete the lake; what guards a bundle is its digest, checked when loaded.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from pathlib import Path

from twinscore.errors import BundleInvalid, StoreUnavailable

__all__ = ["BundleFolder"]

_DIGEST = re.compile(r"[0-9a-f]{64}")
_STAGED = ".incoming-"
_LEFT_S = 3600.0
"""After which nobody can still be publishing what lies in a private folder."""


class BundleFolder:
    """A bundle store on local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, digest: str) -> bool:
        """Tell whether the bundle with this SHA-256 is here, whole."""
        return self._folder(digest).is_dir()

    def digests(self) -> list[str]:
        """Return the digests of the bundles that are here, in order."""
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(path.name for path in found if _DIGEST.fullmatch(path.name))

    def path(self, digest: str) -> Path:
        """Return the folder of a bundle that is here."""
        folder = self._folder(digest)
        if not folder.is_dir():
            message = f"No bundle {digest[:12]}... under {self._root}; load its version once with the registry up."
            raise BundleInvalid(message, digest=digest, root=str(self._root))
        return folder

    def publish(self, folder: Path) -> str:
        """Verify the bundle in `folder`, keep a copy under its digest, and return the digest."""
        from twinscore.bundle.files import read_bundle

        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            staging = Path(tempfile.mkdtemp(prefix=_STAGED, dir=self._root))
        except OSError as error:
            message = f"The bundle store {self._root} cannot be written: {error.strerror}."
            raise StoreUnavailable(message, root=str(self._root)) from error
        try:
            copy = staging / "bundle"
            # symlinks=True keeps a link a link, so that verification sees and refuses it.
            shutil.copytree(folder, copy, symlinks=True)
            digest = read_bundle(copy).digest
            _seal(copy)
            with contextlib.suppress(OSError):  # another publisher of the same digest was first
                copy.rename(self._folder(digest))
            if not self.has(digest):
                message = f"The bundle {digest[:12]}... could not be moved into {self._root}; check disk and rights."
                raise StoreUnavailable(message, digest=digest, root=str(self._root))
            _sync(self._root)
            return digest
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _sweep(self) -> None:
        """Take away what publishers that were killed have left."""
        for left in self._root.glob(f"{_STAGED}*"):
            with contextlib.suppress(OSError):  # its publisher took it away itself
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    shutil.rmtree(left, ignore_errors=True)

    def _folder(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            message = f"{digest!r} is not a SHA-256 digest in hex (64 letters 0-9 and a-f)."
            raise BundleInvalid(message, digest=digest)
        return self._root / digest


def _seal(folder: Path) -> None:
    """Put every file on disk and take the right to write it away."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
