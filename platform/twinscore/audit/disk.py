"""The few calls of the operating system that the audit log is built on, as an object that a test can stand in for."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Disk", "hold", "write_all", "write_file"]


class Disk:
    """A local file system; every method raises the OSError of its call."""

    @property
    def native(self) -> bool:
        """Whether these are the system's own calls, which others may then make in its place."""
        return type(self) is Disk

    def prepare(self, folder: Path) -> None:
        """Make the folder and those above it."""
        folder.mkdir(parents=True, exist_ok=True)

    def lock(self, path: Path) -> int:
        """Hold the file until the handle is closed or the process ends, however it ends.

        Raises:
            BlockingIOError: another process holds it.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise
        return handle

    def names(self, folder: Path) -> list[str]:
        """Return the names in the folder, sorted; none when there is no folder."""
        try:
            return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
        except FileNotFoundError:
            return []

    def read(self, path: Path) -> bytes:
        """Return all bytes of a file."""
        return path.read_bytes()

    def create(self, path: Path) -> int:
        """Create a file that must not be there, and return its handle."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)

    def write(self, handle: int, data: memoryview, at: int) -> int:
        """Write at a place in the file; return how many bytes were taken, which may be fewer."""
        return os.pwrite(handle, data, at)

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file off behind `size` bytes."""
        os.ftruncate(handle, size)

    def free(self, folder: Path) -> int:
        """Return how many bytes the file system of a folder, or of the nearest one that is there, has to spare."""
        while not folder.exists() and folder.parent != folder:
            folder = folder.parent
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def fdatasync(self, handle: int) -> None:
        """Put the file's bytes on the disk itself."""
        os.fdatasync(handle)

    def allocate(self, handle: int, size: int) -> None:
        """Take space for the file without writing it."""
        os.posix_fallocate(handle, 0, size)

    def close(self, handle: int) -> None:
        """Give the handle back."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file over another, at once."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove a folder, if it is there and empty."""
        with contextlib.suppress(OSError):
            path.rmdir()

    def sync_folder(self, folder: Path) -> None:
        """Put the names in the folder on the disk itself."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def hold(disk: Disk, path: Path, wait_s: float) -> int:
    """Lock a file, and wait for who has it.

    Raises:
        BlockingIOError: somebody had it all the while.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            return disk.lock(path)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(0.02)


def write_all(disk: Disk, handle: int, data: bytes, at: int = 0) -> None:
    """Write every byte from a place on; a short write goes on, and raises the error of the call that takes no more."""
    view = memoryview(data)
    while view:
        taken = disk.write(handle, view, at)
        view, at = view[taken:], at + taken


def write_file(disk: Disk, path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and put it on the disk: temporary, sync, rename, sync of the folder."""
    temporary = path.with_name(f".{path.name}.tmp")  # hidden, so that no reader of the folder takes it
    disk.unlink(temporary)
    handle = disk.create(temporary)
    try:
        write_all(disk, handle, data)
        disk.fdatasync(handle)
    finally:
        disk.close(handle)
    disk.rename(temporary, path)
    disk.sync_folder(path.parent)
