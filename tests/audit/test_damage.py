"""Whatever is done to the bytes of the log: what was acknowledged is read, or the place is named."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.audit.places import STREAMS, file_name, numbers
from twinscore.audit.reader import read_segment, read_stream
from twinscore.audit.record import AuditRecord, encode_record
from twinscore.audit.verify import verify_model, verify_stream
from twinscore.audit.writer import SegmentWriter
from twinscore.errors import AuditDamaged

from .model_disk import ModelDisk

FOLDER = Path("/audit")
STREAM = FOLDER / "s"
KEY = b"k" * 32
PAYLOADS = [b"%d " % number + b"x" * (number * 7 % 50) for number in range(24)]


def written(*, sealed: bool = True) -> ModelDisk:
    """Return a disk with three segments of two batches each; the last one without a seal unless told."""
    disk = ModelDisk()
    writer = SegmentWriter(FOLDER, stream="s", key=KEY, segment_bytes=500, reserve_bytes=1, disk=disk)
    for start in range(0, len(PAYLOADS), 4):
        writer.commit(PAYLOADS[start : start + 4])
    if sealed:
        writer.close()
    return disk


def read_back(disk: ModelDisk) -> list[bytes]:
    """Return every payload that is read without a complaint, segment by segment."""
    found: list[bytes] = []
    for number in numbers(disk.names(STREAM), "segment"):
        with contextlib.suppress(AuditDamaged):
            found += [payload for _, payload in read_segment(STREAM, number, disk=disk).payloads()]
    return found


def complaints(disk: ModelDisk) -> int:
    """Return how many segments cannot be read."""
    count = 0
    for number in numbers(disk.names(STREAM), "segment"):
        try:
            read_segment(STREAM, number, disk=disk)
        except AuditDamaged:
            count += 1
    return count


def size_of(disk: ModelDisk, number: int) -> int:
    return len(disk.read(STREAM / file_name(number, "segment")))


def test_the_log_that_is_damaged_below() -> None:
    """Untouched, it is read whole, and verifies."""
    disk = written()
    state = verify_stream(STREAM, KEY, disk=disk)

    assert [1, 2, 3] == numbers(disk.names(STREAM), "segment")
    assert read_back(disk) == PAYLOADS
    assert (24, 3, ()) == (state.records, state.segments, state.faults)


def test_every_flipped_byte_is_noticed() -> None:
    """Each byte of each sealed segment, header and seal included: reading raises, and `verify` names the file."""
    for number in (1, 2, 3):
        disk = written()
        file = disk.files[STREAM / file_name(number, "segment")]
        for place in range(len(file.seen)):
            file.seen[place] ^= 0x41
            state = verify_stream(STREAM, KEY, disk=disk)
            file.seen[place] ^= 0x41

            assert any(file_name(number, "segment") in fault for fault in state.faults) or (
                # A seal that is cut off a file looks like a writer that was killed; no record is touched.
                state.records == 24 and (number == 3 or not state.faults)
            ), (number, place)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["flip", "cut", "drop", "swap", "twice"]),
            st.integers(1, 3),
            st.floats(0, 1),
            st.floats(0, 1),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_only_what_was_acknowledged_is_read(damage: list[tuple[str, int, float, float]], sealed: bool) -> None:
    """Bytes flipped, cut off, dropped, exchanged or doubled anywhere: what is read was acknowledged, in its order."""
    disk = written(sealed=sealed)
    for kind, number, one, two in damage:
        file = disk.files[STREAM / file_name(number, "segment")]
        size = len(file.seen)
        start, stop = sorted((int(one * size), int(two * size)))
        part = bytes(file.seen[start:stop])
        if kind == "flip" and start < size:
            file.seen[start] ^= 1 + int(two * 254)
        elif kind == "cut":
            del file.seen[start:]
        elif kind == "drop":
            del file.seen[start:stop]
        elif kind == "swap":
            file.seen[start:stop] = part[len(part) // 2 :] + part[: len(part) // 2]
        elif kind == "twice":
            file.seen[stop:stop] = part
    found = read_back(disk)
    rest = iter(PAYLOADS)

    assert all(any(payload == other for other in rest) for payload in found)
    # Only the end of the last segment can go without a complaint.
    assert found[:16] == PAYLOADS[:16] or complaints(disk)


def frames(disk: ModelDisk, number: int) -> list[tuple[int, int]]:
    """Return first and last byte of each frame of records."""
    segment = read_segment(STREAM, number, disk=disk)
    return [(start - 52, stop) for start, stop in segment.places]


@pytest.mark.parametrize("how", ["edit", "remove", "move"])
def test_verify_names_the_first_record_that_was_touched(how: str) -> None:
    """A record edited with a right checksum, taken out, or moved is named with its file and sequence."""
    import struct

    from google_crc32c import value

    disk = written()
    path = STREAM / file_name(2, "segment")
    file = disk.files[path]
    places = frames(disk, 2)
    start, stop = places[2]
    frame = bytearray(file.seen[start:stop])
    if how == "edit":
        frame[-1] ^= 1
        frame[:4] = struct.pack("<I", value(bytes(frame[4:])))
        file.seen[start:stop] = frame
    elif how == "remove":
        del file.seen[start:stop]
    else:
        later_start, later_stop = places[4]
        later = file.seen[later_start:later_stop]
        del file.seen[later_start:later_stop]
        file.seen[start:start] = later
    state = verify_stream(STREAM, KEY, disk=disk)
    first = read_segment(STREAM, 1, disk=disk).records

    assert 1 == len(state.faults)
    assert str(path) in state.faults[0]
    assert f"record {first + 3}" in state.faults[0]


def test_verify_names_a_missing_moved_or_foreign_segment() -> None:
    """A segment that is gone, that stands in another's place, or whose seal another key signed."""
    gone = written()
    del gone.files[STREAM / file_name(2, "segment")]
    moved = written()
    one, two = (STREAM / file_name(number, "segment") for number in (1, 2))
    moved.files[one], moved.files[two] = moved.files[two], moved.files[one]

    assert ["0000000002.segment is missing"] == [
        fault.rsplit("/", 1)[1].rstrip(".") for fault in verify_stream(STREAM, KEY, disk=gone).faults
    ]
    assert verify_stream(STREAM, KEY, disk=moved).faults
    assert 3 == len(verify_stream(STREAM, b"another", disk=written()).faults)


def test_an_end_that_was_removed_is_seen_with_what_was_known() -> None:
    """Nothing in the stream speaks of what followed; an earlier count and chain value do."""
    disk = written()
    known = verify_stream(STREAM, KEY, disk=disk)
    del disk.files[STREAM / file_name(3, "segment")]
    without = verify_stream(STREAM, KEY, disk=disk)
    held_against = verify_stream(STREAM, KEY, known=(known.records, known.chain), disk=disk)
    rewritten = verify_stream(STREAM, KEY, known=(3, "00" * 32), disk=disk)

    assert () == without.faults
    assert ["its end was removed"] == [fault.split(": ")[1].rstrip(".") for fault in held_against.faults]
    assert ["another record 3" in fault for fault in rewritten.faults] == [True]


def test_damage_stops_neither_the_next_writer_nor_its_sequence() -> None:
    """A writer that finds its last segment damaged leaves it, begins the next, and uses no sequence twice."""
    disk = written(sealed=False)
    last = disk.files[STREAM / file_name(3, "segment")]
    last.seen[120] ^= 1
    damaged = bytes(last.seen)
    writer = SegmentWriter(FOLDER, stream="s", key=KEY, reserve_bytes=1, disk=disk)
    writer.commit([b"after"])
    writer.close()
    state = verify_stream(STREAM, KEY, disk=disk)

    assert damaged == disk.read(STREAM / file_name(3, "segment"))
    assert (25, 1) == (state.records, len(state.faults))
    assert file_name(3, "segment") in state.faults[0]


def test_a_stream_that_is_gone_is_named(tmp_path: Path) -> None:
    """Verification of a model names streams that were known and are no longer there."""
    writer = SegmentWriter(tmp_path / STREAMS, stream="s", key=KEY, reserve_bytes=1)
    writer.commit([b"one"])
    writer.close()
    (state, missing) = verify_model(tmp_path, KEY, known={"t": (1, "")})

    assert (("s", 1, ()), "t") == ((state.stream, state.records, state.faults), missing.stream)
    assert [f"{tmp_path / STREAMS / 't'} is missing."] == list(missing.faults)


def test_whole_bytes_that_are_no_record_are_named() -> None:
    """What was written as it stands, but is no record, is told with its file, byte and sequence."""
    with pytest.raises(AuditDamaged, match=r"Record 1 of /audit/s/0000000001\.segment, at byte") as raised:
        list(read_stream(STREAM, disk=written()))

    assert (1, str(STREAM / file_name(1, "segment"))) == (raised.value.fields["sequence"], raised.value.fields["path"])


def test_reading_goes_on_behind_damage(tmp_path: Path) -> None:
    """With somebody to tell, a damaged segment is told and the records of the others are read."""
    writer = SegmentWriter(tmp_path, stream="s", key=KEY, segment_bytes=300, reserve_bytes=1)
    for number in range(9):
        writer.commit([encode_record(AuditRecord(f"q-{number}", "live", 0, 0, 0, 200, entity="x" * 100))])
    writer.close()
    path = tmp_path / "s" / file_name(2, "segment")
    data = bytearray(path.read_bytes())
    data[150] ^= 1
    path.write_bytes(data)
    told: list[AuditDamaged] = []
    found = [entry.record.request_id for entry in read_stream(tmp_path / "s", on_damage=told.append)]

    assert [str(path)] == [damaged.fields["path"] for damaged in told]
    assert found == [f"q-{number}" for number in range(9) if f"q-{number}" in found]
    assert 9 > len(found) > 3
    assert {"q-0", "q-8"} <= set(found)
