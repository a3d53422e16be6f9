"""Reads what writers left in the segments of a model's audit log; changes nothing.

A tail that a crash cut short is left out in silence, because nobody was told that it was kept. Damage anywhere else
raises, or is handed to the caller, who then gets the rest. Segments that compaction has taken are not read here: they
are in the Parquet files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from twinscore.audit.disk import Disk
from twinscore.audit.places import file_name, numbers, streams
from twinscore.audit.record import decode_record
from twinscore.audit.segment import Bound, header_size, scan, unpack_header
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from twinscore.audit.record import AuditRecord
    from twinscore.audit.segment import Segment

__all__ = ["Entry", "entries_of", "read_model", "read_segment", "read_stream"]


class Entry(NamedTuple):
    """One record and where it stands."""

    stream: str
    segment: int
    sequence: int
    record: AuditRecord


def read_segment(folder: Path, number: int, *, disk: Disk | None = None) -> Segment:
    """Read one segment of the stream in `folder`, held against the header of the next one.

    Raises:
        AuditDamaged: it is damaged; the message names file, byte and record.
    """
    disk = disk or Disk()
    later = [other for other in numbers(disk.names(folder), "segment") if other > number]
    following = disk.read(folder / file_name(number + 1, "segment")) if later[:1] == [number + 1] else None
    if later == [number + 1] and following is not None and len(following) < header_size(folder.name):
        later, following = [], None  # just being begun, or its writer was killed then: it says nothing yet
    path = folder / file_name(number, "segment")
    return scan(disk.read(path), str(path), last=not later, bound=None if following is None else _bound(following))


def read_stream(
    folder: Path, *, on_damage: Callable[[AuditDamaged], None] | None = None, disk: Disk | None = None
) -> Iterator[Entry]:
    """Yield the records of one stream that are not compacted yet, in order.

    Args:
        folder: of the stream.
        on_damage: is told of a damaged segment, and reading goes on with the next; None raises.
    """
    disk = disk or Disk()
    names = disk.names(folder)
    taken = set(numbers(names, "head"))
    for number in numbers(names, "segment"):
        if number in taken:
            continue
        try:
            entries = entries_of(read_segment(folder, number, disk=disk), folder)
        except FileNotFoundError:
            continue  # compaction took it meanwhile
        except AuditDamaged as damaged:
            if on_damage is None:
                raise
            on_damage(damaged)
            continue
        yield from entries


def entries_of(segment: Segment, folder: Path) -> list[Entry]:
    """Return the records of a segment that was read from the stream's `folder`.

    Raises:
        AuditDamaged: the bytes are those that were written, and one of them is no record.
    """
    entries: list[Entry] = []
    for (sequence, payload), (start, _) in zip(segment.payloads(), segment.places, strict=True):
        try:
            record = decode_record(payload)
        except AuditDamaged as damaged:
            path = str(folder / file_name(segment.header.number, "segment"))
            message = f"Record {sequence} of {path}, at byte {start}: {damaged.message}"
            raise AuditDamaged(message, path=path, offset=start, sequence=sequence) from damaged
        entries.append(Entry(folder.name, segment.header.number, sequence, record))
    return entries


def read_model(folder: Path, *, on_damage: Callable[[AuditDamaged], None] | None = None) -> Iterator[Entry]:
    """Yield the records of all streams of a model's audit log that are not compacted yet, stream by stream."""
    for stream in streams(folder):
        yield from read_stream(stream, on_damage=on_damage)


def _bound(data: bytes) -> Bound | None:
    """Return where the segment before this one ends; None when the header cannot be read, which is said elsewhere."""
    try:
        header = unpack_header(data, "")
    except AuditDamaged:
        return None
    return Bound(header.first_sequence, header.previous_chain)
