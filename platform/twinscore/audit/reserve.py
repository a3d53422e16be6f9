"""Space that is held on the disk, so that requests in hand can still be recorded when it is full."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.audit.disk import Disk

__all__ = ["Reserve"]


class Reserve:
    """A file of some size that is of no other use; a killed process leaves it, and the next one makes it anew.

    Args:
        disk: the calls of the operating system.
        path: of the file.
        n_bytes: its size.
    """

    def __init__(self, disk: Disk, path: Path, n_bytes: int) -> None:
        self._disk = disk
        self._path = path
        self._n_bytes = n_bytes
        self._held = False

    def take(self) -> None:
        """Hold the space, unless it is held; raises the OSError of a disk that has not so much."""
        if self._held:
            return
        self._disk.unlink(self._path)
        handle = self._disk.create(self._path)
        try:
            self._disk.allocate(handle, self._n_bytes)
            self._held = True
        finally:
            self._disk.close(handle)
            if not self._held:
                self._disk.unlink(self._path)

    def release(self) -> bool:
        """Give the space back; tell whether there was some."""
        was, self._held = self._held, False
        with contextlib.suppress(OSError):
            self._disk.unlink(self._path)
        return was
