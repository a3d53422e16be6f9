"""Holds a whole audit log against its chains and signatures; changes nothing.

What it cannot see: records cut off the end of a stream together with all that followed, because nothing later speaks
of them. Keep what `verify` printed elsewhere, and give it as `known`: then it sees that, too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from twinscore.audit.disk import Disk
from twinscore.audit.head import decode_head, signed_by
from twinscore.audit.places import REMOVED, STREAMS, file_name, numbers, streams
from twinscore.audit.reader import read_segment
from twinscore.audit.segment import first_chain
from twinscore.audit.tombstone import read_tombstones
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.audit.tombstone import RemovedPart

__all__ = ["StreamState", "file_digest", "removed_parts", "verify_model", "verify_stream"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is known of a stream when it was found whole, or up to its first fault."""

    stream: str
    segments: int
    records: int
    chain: str
    """Chain value of the last record, in hex; proves, when kept elsewhere, that nothing before it went."""
    torn_bytes: int
    """Of a last write that a crash cut short, or that is being written now."""
    faults: tuple[str, ...]
    """The first fault of each segment, in order, naming its file and record; empty when all is well."""
    removed_rows: int = 0
    """Rows that were removed on purpose: signed tombstones name their files."""


def verify_model(
    folder: Path, key: bytes, *, known: Mapping[str, tuple[int, str]] | None = None, disk: Disk | None = None
) -> list[StreamState]:
    """Verify every stream of a model's audit log.

    Args:
        folder: of the model's audit log.
        key: that heads are signed with.
        known: by stream, how many records an earlier verification counted, and the chain value it ended with.
    """
    known = known or {}
    removed, faults = removed_parts(folder, key, disk=disk)
    states = [
        verify_stream(stream, key, known=known.get(stream.name), removed=removed, disk=disk)
        for stream in streams(folder)
    ]
    if faults:
        states.append(StreamState(REMOVED, 0, 0, "", 0, faults))
    missing = sorted(set(known) - {state.stream for state in states})
    return states + [StreamState(name, 0, 0, "", 0, (f"{folder / STREAMS / name} is missing.",)) for name in missing]


def removed_parts(
    folder: Path, key: bytes, *, disk: Disk | None = None
) -> tuple[dict[tuple[str, str], RemovedPart], tuple[str, ...]]:
    """Return what signed tombstones name, by name and digest, and what is wrong with others."""
    try:
        stones = read_tombstones(folder, disk=disk)
    except AuditDamaged as damaged:
        return {}, (damaged.message,)
    parts = [part for stone in stones.values() if signed_by(stone, key) for part in stone.parts]
    faults = tuple([f"{path} was not signed with this key." for path, one in stones.items() if not signed_by(one, key)])
    return {(part.name, part.sha256): part for part in parts}, faults


def verify_stream(
    folder: Path,
    key: bytes,
    *,
    known: tuple[int, str] | None = None,
    removed: Mapping[tuple[str, str], RemovedPart] | None = None,
    disk: Disk | None = None,
) -> StreamState:
    """Verify one stream: chain, sequence, seals, missing segments, and the Parquet files of compacted ones.

    Args:
        known: how many records an earlier verification counted, and the chain value it ended with.
        removed: files that were removed on purpose, see `removed_parts`.
    """
    removed = removed or {}
    disk = disk or Disk()
    names = disk.names(folder)
    heads, segments = set(numbers(names, "head")), set(numbers(names, "segment"))
    expected: tuple[int, bytes] | None = (1, first_chain(folder.name))
    records = torn = gone = 0
    faults: list[str] = []
    for number in range(1, max(heads | segments, default=0) + 1):
        path = folder / file_name(number, "head" if number in heads else "segment")
        try:
            found = _head_link(disk, path, key, removed) if number in heads else _segment_link(disk, path, key, known)
        except AuditDamaged as damaged:
            faults.append(damaged.message)
            expected = None
            continue
        except FileNotFoundError as error:
            faults.append(f"{error.filename} is missing.")
            expected = None
            continue
        if expected is not None and expected != (found.first, found.previous):
            faults.append(
                f"{path} begins with record {found.first} and does not continue the chain behind record {records}: "
                "a segment was removed, replaced or moved."
            )
        records, torn = found.first - 1 + found.records, found.torn_bytes
        gone += found.removed_rows
        expected = (records + 1, found.chain)
    if known is not None and known[0] > records and not faults:
        faults.append(f"{folder} has {records} records, and had {known[0]}: its end was removed.")
    last = "" if expected is None else expected[1].hex()
    return StreamState(folder.name, len(heads | segments), records, last, torn, tuple(faults), gone)


class _Link(NamedTuple):
    """What a segment, or what is left of it, says of its place in the chain."""

    first: int
    previous: bytes
    records: int
    chain: bytes
    torn_bytes: int
    removed_rows: int = 0


def _segment_link(disk: Disk, path: Path, key: bytes, known: tuple[int, str] | None) -> _Link:
    segment = read_segment(path.parent, int(path.stem), disk=disk)
    header = segment.header
    if (header.stream, header.number) != (path.parent.name, int(path.stem)):
        _refuse(path, f"says that it is segment {header.number} of stream {header.stream}")
    if segment.head is not None and not signed_by(segment.head, key):
        _refuse(path, "has a seal that was not signed with this key")
    place = 0 if known is None else known[0] - header.first_sequence
    if known is not None and 0 <= place < segment.records and segment.chain_at(place).hex() != known[1]:
        _refuse(path, f"has another record {known[0]}, or another before it, than was known")
    return _Link(header.first_sequence, header.previous_chain, segment.records, segment.chain, segment.torn_bytes)


def _head_link(disk: Disk, path: Path, key: bytes, removed: Mapping[tuple[str, str], RemovedPart]) -> _Link:
    head = decode_head(disk.read(path), str(path))
    if not signed_by(head, key):
        _refuse(path, "was not signed with this key")
    if (head.stream, head.segment) != (path.parent.name, int(path.stem)):
        _refuse(path, f"says that it is of segment {head.segment} of stream {head.stream}")
    gone = 0
    for part in head.parts or ():
        file = path.parent.parent.parent / part.name
        if (part.name, part.sha256) in removed and not file.exists():
            gone += part.rows
        elif file_digest(file) != part.sha256:
            _refuse(file, "is not the file that compaction wrote")
    return _Link(
        head.first_sequence, bytes.fromhex(head.previous_chain), head.records, bytes.fromhex(head.chain), 0, gone
    )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse(path: Path, why: str) -> NoReturn:
    message = f"{path} {why}."
    raise AuditDamaged(message, path=str(path))
