"""The writer on real files: one process per stream, seals, rolls, a full disk, and what a killed one leaves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twinscore.audit.head import load_secret, signed_by
from twinscore.audit.places import numbers
from twinscore.audit.reader import read_segment
from twinscore.audit.writer import SegmentWriter
from twinscore.clock import FixedClock
from twinscore.errors import AuditUnavailable, StoreUnavailable

KEY = b"k" * 32


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 of 8 MiB on a loop device; skipped where none may be mounted."""
    image, place = tmp_path / "image", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(8 << 20)
    for command in (
        ["mkfs.ext4", "-q", "-O", "^has_journal", str(image)],
        ["mount", "-o", "loop", str(image), str(place)],
    ):
        try:
            ran = subprocess.run(command, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"there is no {command[0]} here")
        if ran.returncode:
            pytest.skip(f"no file system may be mounted here: {ran.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def payloads_in(folder: Path) -> list[bytes]:
    found: list[bytes] = []
    for number in numbers([path.name for path in folder.iterdir()], "segment"):
        found += [payload for _, payload in read_segment(folder, number).payloads()]
    return found


def test_a_full_disk_fails_closed_and_recovers(small_disk: Path) -> None:
    """On a real full disk the batch in hand is kept from the reserve, new ones are refused, and room ends it."""
    writer = SegmentWriter(small_disk, stream="s", key=KEY, reserve_bytes=1 << 20, ahead_bytes=8192)
    acked = [b"%d " % number + b"x" * 60_000 for number in range(20)]
    for payload in acked:
        writer.commit([payload])
    ready_before = writer.ready
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 65_536):
                pass
        except OSError as error:
            full = error.strerror
    in_hand = b"in hand " + b"y" * 300_000
    writer.commit([in_hand])
    ready_when_full = (writer.ready, writer.recover(), writer.reason)
    with pytest.raises(AuditUnavailable, match="No space left on device"):
        writer.commit([b"z" * 4_000_000])
    filler.unlink()
    ready_again = writer.recover()
    writer.commit([b"later"])
    writer.close()

    assert "No space left on device" == full
    assert ready_before
    assert (False, False, "No space left on device") == ready_when_full
    assert ready_again
    assert [*acked, in_hand, b"later"] == payloads_in(small_disk / "s")


def test_a_stream_has_one_writer(tmp_path: Path) -> None:
    """A second writer is refused, and may have the stream when the first has closed."""
    first = SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=1)
    with pytest.raises(AuditUnavailable, match="held by another process"):
        SegmentWriter(tmp_path, stream="s", key=KEY, lock_wait_s=0.1)
    first.commit([b"one"])
    first.close()
    second = SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=1)
    second.commit([b"two"])
    second.close()
    second.close()

    assert [b"one", b"two"] == payloads_in(tmp_path / "s")
    with pytest.raises(AuditUnavailable, match="closed"):
        second.commit([b"three"])


def test_segments_end_by_size_and_by_age(tmp_path: Path) -> None:
    """A large segment ends with the next batch, an old one when the writer is tended; each is sealed and signed."""
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    writer = SegmentWriter(
        tmp_path, stream="s", key=KEY, segment_bytes=500, segment_age_s=60, reserve_bytes=1, clock=clock
    )
    writer.commit([b"x" * 600])
    writer.commit([b"y"])
    clock.advance(61)
    writer.recover()
    clock.advance(61)
    writer.recover()
    writer.commit([b"z"])
    writer.close()
    heads = [read_segment(tmp_path / "s", number).head for number in (1, 2, 3)]

    assert [1, 1, 1] == [head.records for head in heads if head]
    assert [True] * 3 == [head is not None and signed_by(head, KEY) for head in heads]
    assert [False] * 3 == [head is not None and signed_by(head, b"other") for head in heads]
    assert [1, 2, 3] == [head.first_sequence for head in heads if head]
    assert {"0000000001.segment", "0000000002.segment", "0000000003.segment", "lock"} == {
        path.name for path in (tmp_path / "s").iterdir()
    }


def test_a_torn_tail_is_cut_and_the_segment_sealed(tmp_path: Path) -> None:
    """What a killed writer left is sealed by the next, which appends to a file of its own."""
    folder = tmp_path / "s"
    writer = SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=1, ahead_bytes=0)
    writer.commit([b"one", b"two"])
    writer._disk.close(writer._lock)  # as the end of the process would
    path = folder / "0000000001.segment"
    path.write_bytes(path.read_bytes() + b"half a fra")
    following = SegmentWriter(tmp_path, stream="s", key=KEY, reserve_bytes=1)
    following.commit([b"three"])
    following.close()
    first = read_segment(folder, 1)

    assert first.head is not None
    assert (True, 10, 2) == (first.head.recovered, first.head.cut_bytes, first.head.records)
    assert [b"one", b"two", b"three"] == payloads_in(folder)


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "x" * 129, "naïve"])
def test_a_stream_needs_a_plain_name(tmp_path: Path, name: str) -> None:
    """A name that is no file name is refused before anything is made."""
    with pytest.raises(AuditUnavailable, match="cannot name an audit stream"):
        SegmentWriter(tmp_path, stream=name, key=KEY)


def test_a_secret_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    """The key file is made at first use, mode 0400, and stays; a wrong one is refused by name."""
    path = tmp_path / "keys" / "audit.key"
    first = load_secret(path)
    again = load_secret(path)
    mode = path.stat().st_mode & 0o777
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(StoreUnavailable, match="has 5 bytes, not 32"):
        load_secret(path)

    assert first == again
    assert (32, 0o400) == (len(first), mode)
    assert ["audit.key"] == [item.name for item in path.parent.iterdir()]
