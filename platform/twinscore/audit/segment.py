"""The bytes of a segment: a header, frames of records, a seal; knows no files and not what a record says.

    header   magic, format, stream, number, first sequence, chain value so far, crc32c
    frame    crc32c, kind, length, sequence, chain value, payload
    seal     a frame whose payload is the signed head

A chain value is SHA-256 of the one before, the sequence and the payload, so no record can be changed, dropped or moved
without changing every later value. The first frame of each batch is marked: a batch is written only after the one
before it was put on disk, so what is torn before a marked frame was damaged, and what is torn after the last one may
be a write that a crash cut short. Zeros behind the last frame are room that was made for further ones.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from google_crc32c import extend, value

from twinscore.audit.head import Head, decode_head, encode_head
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "FORMAT",
    "FRAME_BYTES",
    "Bound",
    "Header",
    "Segment",
    "first_chain",
    "frame_batch",
    "header_size",
    "last_frame",
    "pack_header",
    "scan",
    "seal_frame",
    "unpack_header",
]

FORMAT = 1
"""Version of what is described here."""

MAGIC = b"TSAUDIT\x00"
BATCH, RECORD, SEAL = b"\xf4BAT", b"\xf4REC", b"\xf4END"

_HEADER = struct.Struct("<8sHHQQq32s")
_CRC = struct.Struct("<I")
_REST = struct.Struct("<4sIQ32s")
_SEQUENCE = struct.Struct("<Q")
FRAME_BYTES = _CRC.size + _REST.size
"""What a frame has beside its payload."""


class Bound(NamedTuple):
    """Where a segment ends according to the header of the next one."""

    sequence: int
    """Of the first record that is not in it."""
    chain: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the beginning of a segment says."""

    stream: str
    number: int
    first_sequence: int
    previous_chain: bytes
    created_us: int

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return header_size(self.stream)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was read and found whole."""

    header: Header
    data: bytes = field(repr=False)
    places: tuple[tuple[int, int], ...] = field(repr=False)
    """First and last byte of each payload."""
    chain: bytes
    """Of the last record."""
    end: int
    """Byte behind the last record."""
    head: Head | None
    """What the seal says; None when the writer did not come to it."""
    torn_bytes: int
    """Behind the last record of a segment without a seal, zeros not counted: never acknowledged, and cut."""

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.places)

    def chain_at(self, place: int) -> bytes:
        """Return the chain value of a record, counted from 0 in the segment."""
        start = self.places[place][0]
        return self.data[start - 32 : start]

    def payloads(self) -> Iterator[tuple[int, bytes]]:
        """Yield the sequence and payload of each record, in order."""
        for sequence, (start, stop) in enumerate(self.places, self.header.first_sequence):
            yield sequence, self.data[start:stop]


def first_chain(stream: str) -> bytes:
    """Return the chain value before the first record of a stream."""
    return hashlib.sha256(b"twinscore audit stream " + stream.encode()).digest()


def header_size(stream: str) -> int:
    """Return how many bytes the header takes in a segment of this stream."""
    return _HEADER.size + len(stream.encode()) + _CRC.size


def pack_header(header: Header) -> bytes:
    """Return the bytes that a segment begins with."""
    name = header.stream.encode()
    fixed = _HEADER.pack(
        MAGIC,
        FORMAT,
        len(name),
        header.number,
        header.first_sequence,
        header.created_us,
        header.previous_chain,
    )
    return fixed + name + _CRC.pack(value(fixed + name))


def unpack_header(data: bytes, source: str) -> Header:
    """Return the header of a segment.

    Raises:
        AuditDamaged: it is cut or changed, or of a format that this version does not read.
    """
    if len(data) < _HEADER.size:
        _refuse(source, 0, None, "the header is cut")
    magic, version, length, number, first, created, chain = _HEADER.unpack_from(data)
    end = _HEADER.size + length
    if magic != MAGIC or len(data) < end + _CRC.size or _CRC.unpack_from(data, end)[0] != value(data[:end]):
        _refuse(source, 0, None, "the header is cut or changed")
    if version != FORMAT:
        _refuse(source, 0, None, f"the format is {version}, this version reads {FORMAT}")
    return Header(data[_HEADER.size : end].decode(), number, first, chain, created)


def frame_batch(payloads: Sequence[bytes], sequence: int, chain: bytes) -> tuple[bytes, bytes]:
    """Return the frames of a batch as one text of bytes, and the chain value behind it.

    Args:
        sequence: of the first payload.
        chain: value before it.
    """
    parts: list[bytes] = []
    kind = BATCH
    for payload in payloads:
        link = hashlib.sha256(chain + _SEQUENCE.pack(sequence))
        link.update(payload)  # a record of many rows is not copied for it
        chain = link.digest()
        rest = _REST.pack(kind, len(payload), sequence, chain)
        parts += (_CRC.pack(extend(value(rest), payload)), rest, payload)
        kind = RECORD
        sequence += 1
    return b"".join(parts), chain


def seal_frame(head: Head, chain: bytes) -> bytes:
    """Return the frame that ends a segment; `chain` is that of its last record."""
    payload = encode_head(head)
    rest = _REST.pack(SEAL, len(payload), head.first_sequence + head.records, chain)
    return _CRC.pack(extend(value(rest), payload)) + rest + payload


def scan(data: bytes, source: str, *, last: bool, bound: Bound | None = None) -> Segment:
    """Read a whole segment and check every frame of it.

    Args:
        source: what messages call it.
        last: whether it is the last of its stream, so that its tail may be a write cut short by a crash.
        bound: what the next segment says about its end; records from there on were never acknowledged.

    Raises:
        AuditDamaged: a record was changed, removed or moved; `fields` have path, offset and sequence.
    """
    header = unpack_header(data, source)
    offset, sequence, chain = header.size, header.first_sequence, header.previous_chain
    places: list[tuple[int, int]] = []
    head: Head | None = None
    total = len(data)
    while offset < total:
        frame = _frame_at(data, offset)
        if frame is None:
            break
        kind, found, value_, start, stop = frame
        if bound is not None and sequence == bound.sequence and kind != SEAL:
            break
        if found != sequence:
            _refuse(source, offset, sequence, f"record {found} stands where record {sequence} belongs")
        if kind == SEAL:
            head = decode_head(data[start:stop], source)
            if value_ != chain or data[stop:].strip(b"\0"):
                _refuse(source, offset, sequence, "the seal does not fit what stands before or behind it")
            break
        chain = hashlib.sha256(chain + _SEQUENCE.pack(sequence) + data[start:stop]).digest()
        if chain != value_:
            _refuse(source, offset, sequence, f"record {sequence} does not continue the chain")
        places.append((start, stop))
        offset, sequence = stop, sequence + 1
    if bound is not None:
        if (sequence, chain) != bound:
            _refuse(source, offset, sequence, f"the next segment begins with record {bound.sequence}, "
                                              f"this one ends before record {sequence}")  # fmt: skip
    elif head is None and offset < total and (not last or _was_synced(data, offset)):
        _refuse(source, offset, sequence, f"record {sequence} is cut or changed")
    if head is not None and (head.records, head.first_sequence) != (len(places), header.first_sequence):
        _refuse(source, offset, sequence, f"the seal counts {head.records} records, there are {len(places)}")
    torn = 0 if head is not None else len(data[offset:].rstrip(b"\0"))
    return Segment(header, data, tuple(places), chain, offset, head, torn)


def last_frame(data: bytes) -> tuple[int, bytes] | None:
    """Return sequence and chain value of the last whole record anywhere in a damaged segment, or None."""
    found: tuple[int, bytes] | None = None
    for kind in (RECORD, BATCH):
        stop = len(data)
        while (place := data.rfind(kind, _CRC.size, stop)) >= 0:
            frame = _frame_at(data, place - _CRC.size)
            if frame is not None:
                found = max(found or (-1, b""), (frame[1], frame[2]))
                break
            stop = place + len(kind) - 1
    return found


def _frame_at(data: bytes, offset: int) -> tuple[bytes, int, bytes, int, int] | None:
    """Return kind, sequence, chain value and the payload's first and last byte; None when it is not whole."""
    start = offset + FRAME_BYTES
    if start > len(data):
        return None
    kind, length, sequence, chain = _REST.unpack_from(data, offset + _CRC.size)
    stop = start + length
    if kind not in (BATCH, RECORD, SEAL) or stop > len(data):
        return None
    if _CRC.unpack_from(data, offset)[0] != value(data[offset + _CRC.size : stop]):
        return None
    return kind, sequence, chain, start, stop


def _was_synced(data: bytes, offset: int) -> bool:
    """Tell whether a later batch, or a seal, stands behind the place, so that what was there had been put on disk."""
    for kind in (BATCH, SEAL):
        place = data.find(kind, offset + _CRC.size + 1)
        while place >= 0:
            if _frame_at(data, place - _CRC.size) is not None:
                return True
            place = data.find(kind, place + 1)
    return False


def _refuse(source: str, offset: int, sequence: int | None, why: str) -> NoReturn:
    message = f"The audit segment {source} is damaged at byte {offset}: {why}."
    raise AuditDamaged(message, path=source, offset=offset, sequence=sequence)
