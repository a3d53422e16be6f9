"""What says of rows of the log that they were removed on purpose: signed, one file for each removal of a day.

It is written before the first row goes, so that a file that is missing without one was removed by somebody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from twinscore.audit.disk import Disk
from twinscore.audit.places import REMOVED
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RemovedPart", "Tombstone", "encode_tombstone", "is_removed", "read_tombstones", "tombstone_path"]


class RemovedPart(msgspec.Struct, frozen=True):
    """A Parquet file that was removed, as the head of its segment names it."""

    name: str
    """Relative to the folder of the model's audit log."""
    stream: str
    segment: int
    rows: int
    sha256: str
    first_us: int
    """When its first row was received, and its last: microseconds since 1970 in UTC."""
    last_us: int


class Tombstone(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows of one day that were removed on purpose."""

    day: str
    removed_us: int
    by: str
    why: str
    parts: tuple[RemovedPart, ...]
    signature: str = ""


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Tombstone, strict=True).decode


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """Return the tombstone as canonical JSON."""
    return _encode(tombstone)


def read_tombstones(folder: Path, *, disk: Disk | None = None) -> dict[Path, Tombstone]:
    """Return every tombstone of a model's audit log by its file, in the order of their days.

    Raises:
        AuditDamaged: a file is none.
    """
    disk = disk or Disk()
    place = folder / REMOVED
    found: dict[Path, Tombstone] = {}
    for name in disk.names(place):
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            found[place / name] = _decode(disk.read(place / name))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            message = f"The tombstone {place / name} cannot be read: {error}."
            raise AuditDamaged(message, path=str(place / name)) from error
    return found


def tombstone_path(folder: Path, day: str, *, disk: Disk) -> Path:
    """Return where the next tombstone of a day goes."""
    names = disk.names(folder / REMOVED)
    number = 1 + sum(name.startswith(day) and name.endswith(".json") for name in names)
    return folder / REMOVED / f"{day}-{number:03d}.json"


def is_removed(folder: Path, name: str, *, disk: Disk | None = None) -> bool:
    """Tell whether a Parquet file of the log, named relative to its folder, was removed on purpose."""
    return any(part.name == name for one in read_tombstones(folder, disk=disk).values() for part in one.parts)
