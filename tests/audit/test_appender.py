"""The thread that appends without Python's lock: the bytes are where they should be, and every error has its number."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.audit.appender import MOST_BYTES, Appender

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def appender() -> Iterator[Appender]:
    """One thread for all tests of this file."""
    made = Appender()
    yield made
    made.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=MOST_BYTES), max_size=8))
def test_pieces_become_the_file(
    appender: Appender, tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    """One behind the other, empty ones too."""
    path = tmp_path_factory.mktemp("pieces") / "file"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    offset = 0
    for piece in pieces:
        appender.start(handle, piece, offset)
        assert appender.finish(PATIENCE_S) is None
        offset += len(piece)
    os.close(handle)

    assert path.read_bytes() == b"".join(pieces)


@pytest.mark.parametrize(
    ("path", "flags", "expected"),
    [
        ("/dev/full", os.O_WRONLY, errno.ENOSPC),
        ("/dev/null", os.O_RDONLY, errno.EBADF),
        ("/dev/null", os.O_WRONLY, errno.EINVAL),
    ],
    ids=["write: full", "write: not open for it", "sync: not of a disk"],
)
def test_what_went_wrong_is_told(appender: Appender, path: str, flags: int, expected: int) -> None:
    """Of the write as of the sync; the next piece is well again."""
    handle = os.open(path, flags)
    appender.start(handle, b"record", 0)
    failed = appender.finish(PATIENCE_S)
    os.close(handle)

    assert failed is not None
    assert failed.errno == expected


def test_a_loop_sees_when_it_is_done(appender: Appender, tmp_path: Path) -> None:
    """Its event file, and `over`, say the same; what is not done cannot be finished."""
    with pytest.raises(TimeoutError):
        appender.finish()
    handle = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    appender.start(handle, b"record", 0)
    while not appender.over():
        pass

    assert appender.finish(PATIENCE_S) is None
    os.close(handle)


def test_it_ends_when_it_is_closed() -> None:
    """And leaves neither a thread nor a file behind."""
    before = set(threading.enumerate())
    made = Appender()
    assert set(threading.enumerate()) - before
    made.close()

    assert not set(threading.enumerate()) - before
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(made.done)
