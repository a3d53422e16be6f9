"""The writer on a disk that keeps only what was synced: whenever the power goes, what was acknowledged is there."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.audit.places import file_name, numbers
from twinscore.audit.reader import read_segment
from twinscore.audit.writer import SegmentWriter
from twinscore.errors import AuditUnavailable

from .model_disk import ModelDisk, PowerCut

FOLDER = Path("/audit")
KEY = b"k" * 32
BATCHES = [[b"a" * 40], [b"b" * 10, b"c" * 300, b"d"], [b"e" * 90], [b"f"] * 5, [b"g" * 200], [b"h", b"i" * 99]]


def write(disk: ModelDisk, batches: list[list[bytes]], acked: list[bytes], sent: list[bytes], ahead: int = 0) -> None:
    """Commit every batch with one writer, which rolls often, and keep a ledger of what it acknowledged."""
    writer = SegmentWriter(
        FOLDER, stream="s", key=KEY, segment_bytes=400, reserve_bytes=500, ahead_bytes=ahead, disk=disk
    )
    for batch in batches:
        sent += batch
        try:
            writer.commit(batch)
        except AuditUnavailable:
            writer.recover()
        else:
            acked += batch
    writer.close()


def read_back(disk: ModelDisk) -> list[bytes]:
    """Return all payloads of the stream, in order; damage raises."""
    found: list[bytes] = []
    for number in numbers(disk.names(FOLDER / "s"), "segment"):
        found += [payload for _, payload in read_segment(FOLDER / "s", number, disk=disk).payloads()]
    return found


def in_order(part: list[bytes], whole: list[bytes]) -> bool:
    """Tell whether `part` is what is left of `whole` when some are left out."""
    rest = iter(whole)
    return all(any(item == other for other in rest) for item in part)


def labelled(batches: list[list[bytes]], round_: int) -> list[list[bytes]]:
    """Return the batches with a number in each payload, so that no two are alike."""
    return [[b"%d/%d/%d " % (round_, n, m) + item for m, item in enumerate(batch)] for n, batch in enumerate(batches)]


def partly(share: float) -> Callable[[Path, bytes, bytes], bytes]:
    """Return a tear that keeps this share of what was written and not synced."""

    def tear(_: Path, kept: bytes, seen: bytes) -> bytes:
        pairs = enumerate(zip(kept, seen, strict=False))
        start = next((place for place, (one, other) in pairs if one != other), min(len(kept), len(seen)))
        cut = start + int(share * (max(len(seen), len(kept)) - start))
        return seen[:cut] + kept[cut:]

    return tear


def holes(_: Path, kept: bytes, seen: bytes) -> bytes:
    """Keep every other piece of what was written and not synced: pages reach the disk in any order."""
    old = kept + bytes(max(0, len(seen) - len(kept)))
    return bytes([old[place] if (place // 16) % 2 else byte for place, byte in enumerate(seen)])


def failing_at(calls: set[int], code: int) -> Callable[[str, int], OSError | None]:
    """Return what makes these calls fail."""
    return lambda _, number: OSError(code, "told to fail") if number in calls else None


def fill(writer: SegmentWriter) -> None:
    for _ in range(100):
        writer.commit([b"z" * 100])


def calls_of_a_whole_run(ahead: int = 0) -> int:
    disk = ModelDisk()
    write(disk, labelled(BATCHES, 0), [], [], ahead)
    return disk.calls


@pytest.mark.parametrize("ahead", [0, 90])
@pytest.mark.parametrize(
    "tear", [partly(0.0), partly(1.0), partly(0.5), holes], ids=["nothing", "all", "half", "holes"]
)
def test_a_power_cut_at_every_call(tear: Callable[[Path, bytes, bytes], bytes], ahead: int) -> None:
    """Every acknowledged record is read back, nothing is invented, and the next writer goes on from there."""
    for stop_at in range(1, calls_of_a_whole_run(ahead) + 1):
        disk = ModelDisk(stop_at=stop_at)
        acked: list[bytes] = []
        sent: list[bytes] = []
        with pytest.raises(PowerCut):
            write(disk, labelled(BATCHES, 0), acked, sent, ahead)
        disk = disk.after_power_cut(tear)
        before = read_back(disk)
        write(disk, labelled(BATCHES, 1), acked, sent, ahead)
        after = read_back(disk)

        assert in_order(before, sent), stop_at
        assert in_order(acked, after), stop_at
        assert in_order(after, sent), stop_at


@given(
    lives=st.lists(
        st.tuples(
            st.integers(1, 60),
            st.floats(0, 1),
            st.sets(st.integers(1, 60), max_size=4),
            st.sampled_from([errno.EIO, errno.ENOSPC]),
        ),
        max_size=6,
    ),
    batches=st.lists(st.lists(st.binary(max_size=300), min_size=1, max_size=5), min_size=1, max_size=8),
    largest_write=st.sampled_from([None, 7, 100]),
    ahead=st.sampled_from([0, 90]),
)
def test_many_lives(
    lives: list[tuple[int, float, set[int], int]], batches: list[list[bytes]], largest_write: int | None, ahead: int
) -> None:
    """Writer after writer meets failing calls and is cut off at any, with any part of the last write kept."""
    disk = ModelDisk()
    acked: list[bytes] = []
    sent: list[bytes] = []
    for life, (stop_after, share, failing, code) in enumerate([*lives, (10**9, 0.0, set(), 0)]):
        disk.stop_at = disk.calls + stop_after
        disk.fail = failing_at({disk.calls + at for at in failing}, code)
        disk.largest_write = largest_write
        try:
            write(disk, labelled(batches, life), acked, sent, ahead)
        except PowerCut:
            disk = disk.after_power_cut(partly(share))
        except AuditUnavailable:  # not even the folder could be made; the process ends
            disk = disk.after_power_cut(partly(1.0))
        found = read_back(disk)

        assert in_order(acked, found)
        assert in_order(found, sent)


@pytest.mark.parametrize("ahead", [0, 90])
@pytest.mark.parametrize("call", ["write", "truncate", "fdatasync", "create", "sync_folder", "unlink"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_call(call: str, code: int, ahead: int) -> None:
    """A call that fails once loses no acknowledged record, never syncs the same file again, and passes by itself."""
    for at in range(1, calls_of_a_whole_run(ahead) + 1):
        failed: list[int] = []

        def fail(name: str, number: int, at: int = at, failed: list[int] = failed) -> OSError | None:
            if name == call and number >= at and not failed:
                failed.append(number)
                return OSError(code, "told to fail")
            return None

        disk = ModelDisk(fail=fail)
        acked: list[bytes] = []
        sent: list[bytes] = []
        write(disk, labelled(BATCHES, 0), acked, sent, ahead)
        found = read_back(disk)

        assert in_order(acked, found), at
        assert in_order(found, sent), at
        assert len(sent) - len(acked) <= max(len(batch) for batch in BATCHES)


def test_a_failed_sync_is_never_acknowledged() -> None:
    """After EIO the batch is refused, the writer is not ready until it recovered, and a new segment begins."""
    broken = [False]
    disk = ModelDisk(
        fail=lambda name, _: OSError(errno.EIO, "I/O error") if name == "fdatasync" and broken[0] else None
    )
    writer = SegmentWriter(FOLDER, stream="s", key=KEY, disk=disk, reserve_bytes=10)
    writer.commit([b"first"])
    broken[0] = True
    with pytest.raises(AuditUnavailable, match="I/O error"):
        writer.commit([b"lost"])
    while_broken = (writer.ready, writer.recover())
    broken[0] = False
    recovered = writer.recover()
    writer.commit([b"second"])
    names = disk.names(FOLDER / "s")
    found = read_back(disk)
    writer.close()

    assert (False, False) == while_broken
    assert recovered
    assert [1, 2] == numbers(names, "segment")
    assert [b"first", b"second"] == found


def test_a_full_disk_still_takes_what_is_being_answered() -> None:
    """The reserve is given back for the batch in hand, readiness goes, and comes again with room."""
    disk = ModelDisk()
    writer = SegmentWriter(FOLDER, stream="s", key=KEY, disk=disk, reserve_bytes=2_000, ahead_bytes=0)
    writer.commit([b"x" * 100])
    disk.room = disk.used + 50
    writer.commit([b"y" * 100])
    ready_when_full = (writer.ready, writer.recover())
    with pytest.raises(AuditUnavailable, match="No space left"):
        fill(writer)
    disk.room = None
    ready_again = writer.recover()
    writer.commit([b"later"])
    found = read_back(disk)
    writer.close()

    assert (False, False) == ready_when_full
    assert ready_again
    assert [b"x" * 100, b"y" * 100] == found[:2]
    assert b"later" == found[-1]
    assert "reserve" not in disk.names(FOLDER / "s")


def test_the_first_segment_is_number_one() -> None:
    """Names are numbers of ten digits, so that their order is the order of the stream."""
    disk = ModelDisk()
    SegmentWriter(FOLDER, stream="s", key=KEY, disk=disk).close()
    write(disk, [[b"one"]], [], [])

    assert [file_name(1, "segment"), "lock"] == [*disk.names(FOLDER / "s"), "lock"]
