"""Where a stream goes on after its last writer ended, however it ended; knows nothing of what is written next.

Nothing is ever appended to a file whose tail is in doubt. The whole records of a segment without a seal are copied to
a new file, with a seal; the copy is synced and takes the place of the old by a rename. What cannot be read is left as
it is, for `verify` to name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from twinscore.audit.disk import write_file
from twinscore.audit.head import Head, decode_head, signed
from twinscore.audit.places import file_name, numbers
from twinscore.audit.segment import first_chain, header_size, last_frame, scan, seal_frame, unpack_header
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.audit.disk import Disk

__all__ = ["resume_stream", "seal_copy"]

_log = structlog.get_logger("twinscore.audit")

Next = tuple[int, int, bytes]
"""Number of the next segment, sequence of its first record, chain value before it."""


def resume_stream(disk: Disk, folder: Path, stream: str, key: bytes, now_us: int) -> Next:
    """Seal what the last writer left open, and return where the next segment begins.

    The caller holds the stream's lock.

    Raises:
        OSError: the disk fails or is full; calling again goes on.
    """
    names = disk.names(folder)
    for name in names:
        if name.endswith(".tmp"):
            disk.unlink(folder / name)
    heads, segments = numbers(names, "head"), numbers(names, "segment")
    while segments and segments[-1] > max(heads, default=0):
        found = _resume_segment(disk, folder / file_name(segments[-1], "segment"), key, now_us)
        if found is not None:
            return found
        segments.pop()
    return _after_head(disk, folder, stream, heads[-1]) if heads else (1, 1, first_chain(stream))


def seal_copy(disk: Disk, path: Path, key: bytes, now_us: int) -> Head | None:
    """Give the last segment of a stream its seal; None when it had no record and was removed.

    Raises:
        AuditDamaged: it is damaged; nothing was done.
        OSError: the disk fails.
    """
    data = disk.read(path)
    try:
        segment = scan(data, str(path), last=True)
    except AuditDamaged:
        if len(data) <= header_size(path.parent.name):  # killed while it wrote the header, so before any record
            disk.unlink(path)
            return None
        raise
    if segment.head is not None:
        return segment.head
    if not segment.records:
        disk.unlink(path)
        return None
    header = segment.header
    head = signed(
        Head(
            header.stream,
            header.number,
            header.first_sequence,
            segment.records,
            header.previous_chain.hex(),
            segment.chain.hex(),
            header.created_us,
            now_us,
            recovered=True,
            cut_bytes=segment.torn_bytes,
        ),
        key,
    )
    write_file(disk, path, data[: segment.end] + seal_frame(head, segment.chain))
    _log.info("audit_sealed", path=str(path), records=segment.records, cut_bytes=segment.torn_bytes)
    return head


def _resume_segment(disk: Disk, path: Path, key: bytes, now_us: int) -> Next | None:
    """Return where the stream goes on behind this segment; None when there was nothing in it."""
    try:
        head = seal_copy(disk, path, key, now_us)
    except AuditDamaged as damaged:
        _log.error("audit_damaged", **damaged.fields, message=damaged.message)
        return _after_damage(disk.read(path), path)
    if head is None:
        return None
    return head.segment + 1, head.first_sequence + head.records, bytes.fromhex(head.chain)


def _after_head(disk: Disk, folder: Path, stream: str, number: int) -> Next:
    path = folder / file_name(number, "head")
    try:
        head = decode_head(disk.read(path), str(path))
    except AuditDamaged as damaged:
        _log.error("audit_damaged", **damaged.fields, message=damaged.message)
        return number + 1, 1, first_chain(stream)
    return number + 1, head.first_sequence + head.records, bytes.fromhex(head.chain)


def _after_damage(data: bytes, path: Path) -> Next:
    """Go on behind the last whole record, so that no sequence is used twice."""
    number = int(path.stem) + 1
    found = last_frame(data)
    if found is not None:
        return number, found[0] + 1, found[1]
    try:
        header = unpack_header(data, str(path))
    except AuditDamaged:
        return number, 1, first_chain(path.parent.name)
    return number, header.first_sequence, header.previous_chain
