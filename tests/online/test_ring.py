"""Messages through shared memory: in order, whole, never more than there is room for, whoever ends or begins anew."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twinscore.online.ring import Ring

SIZE = 512
STEPS = st.lists(
    st.one_of(st.tuples(st.just("push"), st.binary(max_size=200)), st.tuples(st.just("take"), st.integers(1, 5))),
    max_size=80,
)


@given(steps=STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_ring_is_a_bounded_queue(steps: list[tuple[str, bytes | int]]) -> None:
    """Whatever is pushed and taken in turns: what was accepted comes out once, in order; what was not is counted."""
    writer = Ring.make(SIZE)
    reader = Ring.open(writer.path)
    waiting: deque[bytes] = deque()
    refused = 0
    for kind, what in steps:
        if isinstance(what, bytes):
            accepted = writer.push(what, 2)
            if accepted:
                waiting.append(what)
            else:
                refused += 2
                assert sum(len(one) + 16 for one in waiting) + len(what) + 16 > SIZE // 2, "half of it always fits"
        else:
            found = reader.take(what)
            assert [waiting.popleft() for _ in found] == found
            assert (len(found) >= (what + 1) // 2) or not waiting, kind
        rows, n_bytes = writer.waiting
        assert (2 * len(waiting), refused) == (rows, reader.dropped)
        assert n_bytes <= SIZE
    reader.leave()
    writer.leave()


def test_messages_of_two_threads_arrive_whole() -> None:
    """Two writers and a reader that runs beside them: each writer's messages in its order, none torn or lost."""
    writer = Ring.make(1 << 14)
    reader = Ring.open(writer.path)
    sent = {name: [bytes([name]) * (1 + number % 300) for number in range(3_000)] for name in (1, 2)}
    found: dict[int, list[bytes]] = {1: [], 2: []}

    def write(name: int) -> None:
        for message in sent[name]:
            while not writer.push(message, 1):
                pass

    threads = [threading.Thread(target=write, args=(name,)) for name in sent]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or reader.waiting[0]:
        for message in reader.take(50):
            found[message[0]].append(message)

    assert sent == found


def test_another_process_reads_on_where_one_stopped() -> None:
    """Killed after some messages, the next reader gets the rest; the writer reads what the last one told."""
    writer = Ring.make(SIZE)
    for number in range(10):
        assert writer.push(b"message %d" % number, 1)
    code = (
        "import os, sys; from twinscore.online.ring import Ring; ring = Ring.open(sys.argv[1]);"
        " found = ring.take(4); ring.tell(b'|'.join(found)); os._exit(9)"
    )
    told = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, writer.path], check=False, timeout=60)
        told.append((done.returncode, writer.told()))

    assert [
        (9, b"message 0|message 1|message 2|message 3"),
        (9, b"message 4|message 5|message 6|message 7"),
        (9, b"message 8|message 9"),
    ] == told
    assert (0, 0) == writer.waiting


def test_the_newest_word_is_whole_while_the_next_is_written() -> None:
    """Told again and again by a thread: what is read is always one word, never parts of two."""
    writer = Ring.make(SIZE)
    reader = Ring.open(writer.path)
    over = threading.Event()

    def tell() -> None:
        number = 0
        while not over.is_set():
            number += 1
            reader.tell(bytes([number % 250]) * (1 + number % 5_000))

    assert writer.told() is None
    thread = threading.Thread(target=tell)
    thread.start()
    try:
        words = {frozenset(word) for _ in range(5_000) if (word := writer.told())}
    finally:
        over.set()
        thread.join()

    assert 1 == max(len(word) for word in words)
    assert not reader.tell(b"x" * 300_000)


def test_what_is_no_ring_is_refused() -> None:
    """Memory of something else, or of another version, is not read."""
    fd = os.memfd_create("other")
    os.truncate(fd, 1 << 20)
    path = f"/proc/{os.getpid()}/fd/{fd}"

    with pytest.raises(ValueError, match="is no ring of this version"):
        Ring.open(path)
    os.close(fd)
    with pytest.raises(FileNotFoundError):
        Ring.open(path)
