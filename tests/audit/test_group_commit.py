"""Group commit: everybody is told once, after the disk; what is too much is declined at once."""

from __future__ import annotations

import errno
import threading
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from twinscore.audit.group_commit import GroupCommit
from twinscore.audit.reader import read_segment
from twinscore.audit.writer import SegmentWriter
from twinscore.errors import AuditUnavailable

from .model_disk import ModelDisk

KEY = b"k" * 32


def told_by(group: GroupCommit, payload: bytes) -> AuditUnavailable | None:
    """Append, wait, and return what was said."""
    said: list[AuditUnavailable | None] = []
    ready = threading.Event()

    def done(error: AuditUnavailable | None) -> None:
        said.append(error)
        ready.set()

    group.append(payload, done)
    assert ready.wait(30)
    (answer,) = said
    return answer


def test_many_appenders_share_syncs(tmp_path: Path) -> None:
    """Each of eight threads is told of each of its records once, and each is on the disk by then."""
    group = GroupCommit(SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=1024))
    told: list[bytes] = []

    def run(name: int) -> None:
        for number in range(50):
            payload = b"%d/%d" % (name, number)
            if told_by(group, payload) is None:
                told.append(payload)

    threads = [threading.Thread(target=run, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    group.close()
    segment = read_segment(tmp_path / "s", 1)

    assert sorted(b"%d/%d" % (name, number) for name in range(8) for number in range(50)) == sorted(told)
    assert sorted(told) == sorted(payload for _, payload in segment.payloads())
    assert (400, 400, 0) == (group.appended, group.durable, group.failed)
    assert 400 >= group.batches
    assert segment.head is not None


def test_what_waits_goes_into_one_batch() -> None:
    """While one sync runs, all that comes is taken by the next."""
    running, go_on = threading.Event(), threading.Event()
    armed = [False]

    def hold(name: str, _: int) -> None:
        if name == "fdatasync" and armed[0]:
            running.set()
            assert go_on.wait(30)

    writer = SegmentWriter(Path("/audit"), stream="s", key=KEY, disk=ModelDisk(fail=hold), reserve_bytes=1)
    group = GroupCommit(writer, most_bytes=250)
    armed[0] = True
    told: list[object] = []
    group.append(b"first", told.append)
    assert running.wait(30)
    group.append(b"x" * 100, told.append)
    group.append(b"y" * 100, told.append)
    with pytest.raises(AuditUnavailable, match="behind by 200 bytes"):
        group.append(b"z" * 100, told.append)
    told_before = list(told)
    go_on.set()
    group.close()

    assert [] == told_before
    assert [None, None, None] == told
    assert (2, 3) == (group.batches, group.durable)


def test_a_failed_sync_is_told_to_all_of_its_batch() -> None:
    """EIO reaches every caller of the batch as an error, and the counters tell."""
    broken = [False]
    disk = ModelDisk(
        fail=lambda name, _: OSError(errno.EIO, "I/O error") if broken[0] and name == "fdatasync" else None
    )
    group = GroupCommit(SegmentWriter(Path("/audit"), stream="s", key=KEY, disk=disk, reserve_bytes=1))
    good = told_by(group, b"one")
    broken[0] = True
    bad = told_by(group, b"two")
    broken[0] = False
    again = told_by(group, b"three")
    group.close()

    assert (None, None) == (good, again)
    assert isinstance(bad, AuditUnavailable)
    assert (3, 2, 1) == (group.appended, group.durable, group.failed)


def test_a_mistake_of_one_caller_takes_nobody_elses_answer(log: list[MutableMapping[str, Any]]) -> None:
    """A callback that raises is logged, and the next is called."""
    group = GroupCommit(SegmentWriter(Path("/audit"), stream="s", key=KEY, disk=ModelDisk(), reserve_bytes=1))

    def wrong(error: AuditUnavailable | None) -> None:
        raise ValueError(error)

    group.append(b"one", wrong)
    told = told_by(group, b"two")
    group.close()

    assert told is None
    assert ["audit_done_failed"] == [line["event"] for line in log]


def test_nothing_is_taken_after_the_end() -> None:
    """A closed log declines, so that no caller waits for ever."""
    group = GroupCommit(SegmentWriter(Path("/audit"), stream="s", key=KEY, disk=ModelDisk(), reserve_bytes=1))
    group.close()

    with pytest.raises(AuditUnavailable, match="closed"):
        group.append(b"late", print)
