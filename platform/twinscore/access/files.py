"""Files of the folder `<home>/access`: only their owner writes them, whole and under a lock; knows no key.

A file that others could have written is refused, because whoever writes it decides who is let in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from typing import TYPE_CHECKING

from twinscore.errors import SettingsInvalid, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MAY_READ", "MAY_WRITE", "Stamp", "access_folder", "held", "read_guarded", "stamp", "write_private"]

MAY_WRITE = 0o022
"""Bits of a mode by which others could write."""
MAY_READ = 0o077
"""Bits of a mode by which others could do anything."""

_LARGEST_BYTES = 4 * 1024 * 1024

Stamp = tuple[int, int, int, int] | None
"""What changes when a file does; None when there is no file."""


def access_folder(home: Path) -> Path:
    """Return the folder of keys and issuers of a home."""
    return home / "access"


def stamp(path: Path) -> Stamp:
    """Return what changes when the file does, without reading it."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat, once a second in every replica
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)


def read_guarded(path: Path, forbidden: int = MAY_WRITE) -> bytes:
    """Return a file's bytes, unless its mode lets others do what they must not.

    Args:
        forbidden: bits of which the file's mode may have none.

    Raises:
        FileNotFoundError: there is no such file.
        SettingsInvalid: others may change it, it is no file, it is too large or cannot be read.
    """
    try:
        folder_mode = path.parent.stat().st_mode
        # A pipe in its place must not hold up the one who reads.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST_BYTES:
                message = f"{path} must be a file of at most {_LARGEST_BYTES:,} bytes."
                raise SettingsInvalid(message, path=str(path))
            _guard(path, found.st_mode, forbidden)
            _guard(path.parent, folder_mode, MAY_WRITE)
            return file.read(_LARGEST_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        raise SettingsInvalid(message, path=str(path)) from error


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file that is there whole or not at all, on disk, and never readable by others.

    Raises:
        StoreUnavailable: the file system refuses.
    """
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        handle = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        hidden.replace(path)
        _sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        raise _unavailable(path, error) from error


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, closed to others, and let one process at a time change what is in it.

    Raises:
        StoreUnavailable: the file system refuses.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / "keys.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unavailable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _guard(path: Path, mode: int, forbidden: int) -> None:
    if mode & forbidden:
        do, bits = ("change", "w") if forbidden == MAY_WRITE else ("read", "rwx")
        message = f"{path} has mode {stat.S_IMODE(mode):04o}: others could {do} it. Run `chmod go-{bits} {path}`."
        raise SettingsInvalid(message, path=str(path))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unavailable(path: Path, error: OSError) -> StoreUnavailable:
    message = f"{path} cannot be written: {error.strerror or error}. Nothing was changed."
    return StoreUnavailable(message, path=str(path))
