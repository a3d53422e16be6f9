"""A disk in memory that keeps over a power cut only what was synced, and whatever else the test decides."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from twinscore.audit.disk import Disk

# ruff: noqa: D102 - what each call does is said where it is defined


class PowerCut(BaseException):
    """The machine stopped; nothing of the program runs on."""


class File:
    """Bytes as programs see them, and as they are on the platter."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.kept = b""


class ModelDisk(Disk):
    """Files in memory, one flat namespace of paths; counts calls, and fails or stops where told.

    Args:
        stop_at: the call before which the power is cut, counted from 1.
        fail: asked at each call with its name and number; an error that it returns is raised.
        room: bytes that all files together may have.
    """

    def __init__(
        self,
        *,
        stop_at: int | None = None,
        fail: Callable[[str, int], OSError | None] | None = None,
        room: int | None = None,
        largest_write: int | None = None,
    ) -> None:
        self.stop_at = stop_at
        self.fail = fail
        self.room = room
        self.largest_write = largest_write
        self.calls = 0
        self.files: dict[Path, File] = {}
        self.named: dict[Path, File] = {}
        self.handles: dict[int, tuple[Path, File]] = {}
        self.dead: set[int] = set()
        """Handles whose sync failed once: to sync them again would be a lie."""

    def after_power_cut(self, tear: Callable[[Path, bytes, bytes], bytes] | None = None) -> ModelDisk:
        """Return the disk as the next program finds it.

        Args:
            tear: from a path, the bytes that were synced and those that were written, makes what is there.
        """
        disk = ModelDisk()
        for path, file in self.named.items():
            fresh = File()
            kept = tear(path, file.kept, bytes(file.seen)) if tear else file.kept
            fresh.seen, fresh.kept = bytearray(kept), kept
            disk.files[path] = disk.named[path] = fresh
        return disk

    def prepare(self, folder: Path) -> None:
        self._call("prepare")

    def lock(self, path: Path) -> int:
        return self._open(path, File())

    def names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self.files if path.parent == folder)

    def read(self, path: Path) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return bytes(self.files[path].seen)

    def create(self, path: Path) -> int:
        self._call("create")
        if path in self.files:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        self.files[path] = File()
        return self._open(path, self.files[path])

    def write(self, handle: int, data: memoryview, at: int) -> int:
        self._call("write")
        file = self.handles[handle][1]
        assert at <= len(file.seen), "a hole is left in the file"
        size = min(len(data), self.largest_write or len(data))
        if self.room is not None:
            size = min(size, self.room - self.used + len(file.seen) - at)
            if size <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
        file.seen[at : at + size] = data[:size]
        return size

    def truncate(self, handle: int, size: int) -> None:
        self._call("truncate")
        del self.handles[handle][1].seen[size:]

    def fdatasync(self, handle: int) -> None:
        assert handle not in self.dead, "a file is synced again after its sync failed"
        try:
            self._call("fdatasync")
        except OSError:
            self.dead.add(handle)
            raise
        file = self.handles[handle][1]
        file.kept = bytes(file.seen)

    def allocate(self, handle: int, size: int) -> None:
        self._call("allocate")
        if self.room is not None and self.used + size > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.handles[handle][1].seen += bytes(size)

    def close(self, handle: int) -> None:
        del self.handles[handle]

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename")
        self.files[new] = self.files.pop(old)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        self.files.pop(path, None)

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder")
        self.named = dict(self.files)

    @property
    def used(self) -> int:
        """Bytes of all files."""
        return sum(len(file.seen) for file in self.files.values())

    def _open(self, path: Path, file: File) -> int:
        handle = max(self.handles, default=2) + 1
        self.dead.discard(handle)
        self.handles[handle] = (path, file)
        return handle

    def _call(self, name: str) -> None:
        self.calls += 1
        if self.stop_at is not None and self.calls >= self.stop_at:
            raise PowerCut
        error = self.fail(name, self.calls) if self.fail else None
        if error is not None:
            raise error
