"""A thread that writes and syncs files without Python's lock, so that an event loop goes on meanwhile.

Handing a batch to a Python thread and back takes the lock four times from the loop that is at work, each time at the
end of a callback at the earliest: with a quick disk that costs more than the sync itself. This thread waits, writes,
syncs and tells in compiled code; to the loop it is a file that becomes readable.
"""

# mypy: disable-error-code="untyped-decorator,assignment,attr-defined,no-untyped-call"
# numba has no types, and its integers are not Python's.

from __future__ import annotations

import os
import select
import threading
from typing import Any

import numba
import numpy as np
from numba import types

from twinscore.scoring.kernels import compiled

__all__ = ["MOST_BYTES", "Appender"]

MOST_BYTES = 64 * 1024
"""Longest piece; what is longer is better left to a thread that may take its time."""

_HANDLE, _BYTES, _OFFSET, _FAILED = 0, 1, 2, 3
_ASK, _DONE = 4, 5
_NO_ANSWER = 5  # EIO: for a call that failed without saying why
_EINTR = 4
_UNDER_WAY = -1

_read: Any = types.ExternalFunction("read", types.intp(types.intc, types.voidptr, types.uintp))
_write: Any = types.ExternalFunction("write", types.intp(types.intc, types.voidptr, types.uintp))
_pwrite: Any = types.ExternalFunction("pwrite", types.intp(types.intc, types.voidptr, types.uintp, types.int64))
_fdatasync: Any = types.ExternalFunction("fdatasync", types.intc(types.intc))
_errno: Any = types.ExternalFunction("__errno_location", types.CPointer(types.int32)())


@compiled
def _serve(job: Any, piece: Any, word: Any) -> None:
    """Append what the job says whenever it is asked to, until the handle is negative.

    job: int64 (6,): handle, bytes, offset, then what failed (0 or errno), and the event files for asking and telling.
    piece: uint8 (MOST_BYTES,). word: uint64 (2,): what is read from an event file, and the 1 that is written to one.
    """
    while True:
        if _read(job[_ASK], word[:1].ctypes, 8) != 8:
            continue  # interrupted by a signal
        handle = job[_HANDLE]
        if handle < 0:
            return
        failed = 0
        done = 0
        while done < job[_BYTES]:
            taken = _pwrite(handle, piece[done:].ctypes, job[_BYTES] - done, job[_OFFSET] + done)
            if taken > 0:
                done += taken
                continue
            failed = _NO_ANSWER if taken == 0 else numba.carray(_errno(), 1)[0]
            if failed != _EINTR:
                break
            failed = 0
        if failed == 0 and _fdatasync(handle) != 0:
            failed = numba.carray(_errno(), 1)[0]
        job[_FAILED] = failed
        _write(job[_DONE], word[1:].ctypes, 8)


class Appender:
    """Puts one piece after another on the disk; belongs to the thread that starts and finishes them.

    Raises:
        OSError: the system gives no event files.
    """

    def __init__(self) -> None:
        self._ask = os.eventfd(1, os.EFD_CLOEXEC)
        self.done = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """A file that is readable while a piece is done and not finished."""
        self._job = np.array([-1, 0, 0, 0, self._ask, self.done], np.int64)
        self._told = self._job.data
        self._piece = np.empty(MOST_BYTES, np.uint8)
        self._view = self._piece.data
        arguments = self._job, self._piece, np.array([0, 1], np.uint64)
        _serve(*arguments)  # compiled, or loaded, before anybody waits for it; ends at once
        self._thread = threading.Thread(target=_serve, args=arguments, name="audit-append", daemon=True)
        self._thread.start()

    def start(self, handle: int, data: bytes, offset: int) -> None:
        """Begin to write `data`, at most `MOST_BYTES`, at a place of a file and to sync it; one at a time."""
        self._view[: len(data)] = data
        self._job[: _FAILED + 1] = handle, len(data), offset, _UNDER_WAY
        os.eventfd_write(self._ask, 1)

    def over(self) -> bool:
        """Tell whether a piece is done, a look at memory and no call of the system."""
        return bool(self._told[_FAILED] != _UNDER_WAY)

    def finish(self, timeout_s: float = 0.0) -> OSError | None:
        """Return what went wrong with the piece that is done, or None; the data is on the disk then.

        Raises:
            TimeoutError: it is not done.
        """
        if timeout_s:
            select.select([self.done], [], [], timeout_s)
        try:
            os.eventfd_read(self.done)
        except BlockingIOError:
            message = "The disk has not taken the records yet."
            raise TimeoutError(message) from None
        failed = int(self._job[_FAILED])
        return OSError(failed, os.strerror(failed)) if failed else None

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread; a piece that is under way is finished before. What hangs is left to the system."""
        self._job[_HANDLE] = -1
        os.eventfd_write(self._ask, 1)
        self._thread.join(timeout_s)
        if not self._thread.is_alive():
            os.close(self._ask)
            os.close(self.done)
