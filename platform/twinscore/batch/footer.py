"""The footer of a Parquet file: where it is, whether it is whole, and its digest; knows nothing of contracts."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.batch.place import Place

__all__ = ["read_footer", "read_footer_at"]

_MAGIC = b"PAR1"
_TAIL = 65_536
"""Bytes read at first; the footer of most files lies in them, so one request is enough."""


def read_footer(path: Path | str) -> tuple[int, str, pq.FileMetaData]:
    """Return the size of a Parquet file of this machine, the SHA-256 of its footer, and what the footer says.

    Raises:
        FileUnreadable: the file is missing, empty, truncated or not Parquet.
    """
    shown = str(path)
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(handle).st_size
            start = max(size - _TAIL, 0)
            tail = os.pread(handle, _TAIL, start)
            head = tail[: len(_MAGIC)] if not start else os.pread(handle, len(_MAGIC), 0)
            length = _footer_length(shown, size, head, tail)
            if length > len(tail):
                tail = os.pread(handle, length, size - length)
        finally:
            os.close(handle)
    except OSError as error:
        raise _unreadable(shown, f"cannot be read: {error.strerror or error}") from error
    return size, *_parsed(shown, tail[-length:])


def read_footer_at(place: Place, name: str) -> tuple[int, str, pq.FileMetaData, pa.NativeFile]:
    """Do the same for a file of a store, and return it open as well.

    Raises:
        FileUnreadable: the file is missing, empty, truncated or not Parquet.
        StoreUnavailable: the store does not answer.
    """
    shown = place.shown(name)
    file = place.open(name)
    try:
        size = file.size()
        start = max(size - _TAIL, 0)
        tail = file.read_at(size - start, start)
        # The first four bytes would cost a request of their own; a file that only ends well fails while it is read.
        length = _footer_length(shown, size, _MAGIC if start else tail[: len(_MAGIC)], tail)
        if length > len(tail):
            tail = file.read_at(length, size - length)
    except (OSError, pa.ArrowException) as error:
        raise place.failed(error, name) from error
    return size, *_parsed(shown, tail[-length:]), file


def _footer_length(shown: str, size: int, head: bytes, tail: bytes) -> int:
    """Return how many bytes at the end of the file are its footer, with length and magic number."""
    if size < 3 * len(_MAGIC):
        raise _unreadable(shown, "is empty (0 bytes)" if not size else f"is truncated ({size} bytes)")
    if head != _MAGIC:
        raise _unreadable(shown, "is not Parquet: it does not begin with PAR1")
    length = int.from_bytes(tail[-8:-4], "little")
    if tail[-4:] != _MAGIC or length > size - 12:
        raise _unreadable(shown, "is truncated or corrupt: it does not end with a Parquet footer")
    return length + 8


def _parsed(shown: str, footer: bytes) -> tuple[str, pq.FileMetaData]:
    try:
        metadata = pq.read_metadata(pa.BufferReader(footer))
    except (pa.ArrowException, OSError, ValueError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise _unreadable(shown, f"has a corrupt footer: {problem}") from error
    return hashlib.sha256(footer).hexdigest(), metadata


def _unreadable(shown: str, problem: str) -> FileUnreadable:
    return FileUnreadable(f"The file {shown} {problem}.", path=shown)
