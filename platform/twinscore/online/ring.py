"""Messages from one process to another of the same machine through memory that both map: no call and no wait.

Who writes pays for a copy into memory and never waits: what does not fit is dropped and counted. Who reads looks as
often as it likes. The memory is a file without a name (`memfd_create(2)`), so nothing is left when the processes end,
and one that is started anew goes on where the one before it stopped reading.

Each number in the header has one writer, and eight bytes that are aligned are written at once on the machines that
Linux runs Python on. That a message is there before the number that announces it is what letting go of a lock
promises.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import threading
from pathlib import Path

__all__ = ["Ring"]

_MAGIC = 0x7473_7269_6E67_0001
_HEADER = 4096
_TOLD = 256 * 1024
"""Room for what the reader tells; there are two, so that one is whole while the other is written."""
_DATA = _HEADER + 2 * _TOLD
_LENGTH = struct.Struct("<II")
_SKIP = 0xFFFF_FFFF
"""Instead of a length: the rest up to the end is empty."""
_, _WRITTEN, _READ, _SENT, _TAKEN, _DROPPED, _CLOSED, _ENDED, _TELLS = range(9)
"""Places in the header, after what it is: bytes written and read, rows sent, taken and dropped, whether either side is
through, and how often the reader has told."""
_TOLD_BYTES = 9


class Ring:
    """One side of a ring; the one that made it writes, the one that opened it reads.

    Args:
        fd: of the memory; it belongs to the ring from now on.
        size: of the messages' part, in bytes; a multiple of 8.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self._map = mmap.mmap(fd, _DATA + size)
        self._words = memoryview(self._map)[:_HEADER].cast("Q")
        self._lock = threading.Lock()
        self._fence = threading.Lock()

    @classmethod
    def make(cls, size: int) -> Ring:
        """Return the writing side of a new ring with room for `size` bytes of messages; takes memory as it is used."""
        fd = os.memfd_create("twinscore-ring")
        size = (size + 7) & ~7
        os.ftruncate(fd, _DATA + size)
        os.pwrite(fd, _MAGIC.to_bytes(8, sys.byteorder), 0)
        return cls(fd, size)

    @classmethod
    def open(cls, path: str | Path) -> Ring:
        """Return the reading side of a ring by its `path`.

        Raises:
            OSError: the process that made it has ended, or is another user's.
            ValueError: there is something else.
        """
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        if os.pread(fd, 8, 0) != _MAGIC.to_bytes(8, sys.byteorder):
            os.close(fd)
            message = f"{path} is no ring of this version."
            raise ValueError(message)
        return cls(fd, os.fstat(fd).st_size - _DATA)

    @property
    def path(self) -> str:
        """Where another process of this machine and user can open it, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def push(self, message: bytes, n_rows: int) -> bool:
        """Append a message of some rows; False when there is no room, and then the rows are counted as dropped."""
        length = _LENGTH.size + len(message)
        room = (length + 7) & ~7
        words = self._words
        with self._lock:
            written = words[_WRITTEN]
            at = written % self._size
            rest = self._size - at
            skipped = rest if room > rest else 0  # a message is never in two pieces
            if written + skipped + room - words[_READ] > self._size:
                words[_DROPPED] += n_rows
                return False
            with self._fence:
                if skipped:
                    _LENGTH.pack_into(self._map, _DATA + at, _SKIP, 0)
                    at = 0
                _LENGTH.pack_into(self._map, _DATA + at, len(message), n_rows)
                self._map[_DATA + at + _LENGTH.size : _DATA + at + length] = message
            words[_WRITTEN] = written + skipped + room
            words[_SENT] += n_rows
        return True

    def drop(self, n_rows: int) -> None:
        """Count rows that could not be sent for another reason."""
        with self._lock:
            self._words[_DROPPED] += n_rows

    def take(self, most_rows: int) -> list[bytes]:
        """Return the oldest messages, until they have `most_rows` rows or more; only the reader may."""
        found: list[bytes] = []
        n_rows = 0
        words = self._words
        read, written = words[_READ], words[_WRITTEN]
        with self._fence:
            while read < written and n_rows < most_rows:
                at = read % self._size
                length, rows = _LENGTH.unpack_from(self._map, _DATA + at)
                if length == _SKIP:
                    read += self._size - at
                    continue
                begin = _DATA + at + _LENGTH.size
                found.append(self._map[begin : begin + length])
                n_rows += rows
                read += (_LENGTH.size + length + 7) & ~7
        words[_READ] = read
        words[_TAKEN] += n_rows
        return found

    @property
    def waiting(self) -> tuple[int, int]:
        """Rows and bytes that nobody has taken yet."""
        words = self._words
        return max(0, words[_SENT] - words[_TAKEN]), max(0, words[_WRITTEN] - words[_READ])

    @property
    def dropped(self) -> int:
        """Rows that were not sent."""
        return self._words[_DROPPED]

    def tell(self, message: bytes) -> bool:
        """Leave the newest word of the reader for the writer; False when it is longer than there is room."""
        if len(message) > _TOLD:
            return False
        words = self._words
        number = words[_TELLS] + 1
        at = _HEADER + number % 2 * _TOLD
        with self._fence:
            self._map[at : at + len(message)] = message
            words[_TOLD_BYTES + number % 2] = len(message)
        words[_TELLS] = number
        return True

    def told(self) -> bytes | None:
        """Return the newest word of the reader, whole; None before there is one."""
        words = self._words
        for _ in range(100):
            number = words[_TELLS]
            if not number:
                return None
            at = _HEADER + number % 2 * _TOLD
            with self._fence:
                found = self._map[at : at + words[_TOLD_BYTES + number % 2]]
            if words[_TELLS] == number:  # not overwritten meanwhile: the next goes to the other place
                return found
        return None

    def close(self) -> None:
        """Tell the reader that nothing more comes."""
        self._words[_CLOSED] = 1

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return bool(self._words[_CLOSED])

    def end(self) -> None:
        """Tell the writer that the reader is through."""
        self._words[_ENDED] = 1

    @property
    def ended(self) -> bool:
        """Whether the reader is through."""
        return bool(self._words[_ENDED])

    def leave(self) -> None:
        """Give the memory back; the ring is not to be used afterwards."""
        with self._lock:
            self._words.release()
            self._map.close()
            os.close(self._fd)
