"""Where the parts of a model's audit log lie, by name; opens nothing.

<lake>/audit/<model>/date=YYYY-MM-DD/part-<stream>-<segment>-<contract>.parquet    compacted rows
<lake>/audit/<model>/_streams/<stream>/0000000001.segment                          as written by one replica
<lake>/audit/<model>/_streams/<stream>/0000000001.head                             what is left of a compacted one
<lake>/audit/<model>/_streams/<stream>/0000000001.damaged                          why one was set aside
<lake>/audit/<model>/_removed/YYYY-MM-DD-001.json                                  what of a day was removed on purpose
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from twinscore.errors import AuditUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = [
    "LOCK",
    "REMOVED",
    "RESERVE",
    "STREAMS",
    "PartName",
    "day_folder",
    "days",
    "file_name",
    "model_folder",
    "numbers",
    "parse_part",
    "part_name",
    "stream_name",
    "streams",
]

STREAMS = "_streams"
"""Folder of what is not compacted yet; readers of Parquet skip names that begin with `_`."""
REMOVED = "_removed"
"""Folder of tombstones."""
LOCK = "lock"
RESERVE = "reserve"

_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DAY = re.compile(r"date=(\d{4}-\d\d-\d\d)")
_PART = re.compile(r"part-(.+)-(\d{10})-([0-9a-f]{12}|none)\.parquet")
_FILE = re.compile(r"(\d{10})\.(segment|head|damaged)")


def model_folder(lake: Path, model: str) -> Path:
    """Return the folder of a model's audit log."""
    return lake / "audit" / model


def stream_name(text: str) -> str:
    """Return the name when it can be one of a stream.

    Raises:
        AuditUnavailable: it is empty, too long, or has characters that are not for file names.
    """
    if not _STREAM.fullmatch(text):
        message = f"{text!r} cannot name an audit stream: 1 to 128 letters, digits, dots, dashes and underscores."
        raise AuditUnavailable(message, stream=text)
    return text


def streams(folder: Path) -> list[Path]:
    """Return the folders of all streams of a model's audit log, in the order of their names."""
    place = folder / STREAMS
    return sorted(path for path in place.iterdir() if path.is_dir()) if place.is_dir() else []


def file_name(number: int, kind: str) -> str:
    """Return the name of a file of a segment.

    >>> file_name(7, "head")
    '0000000007.head'
    """
    return f"{number:010d}.{kind}"


def numbers(names: Iterable[str], kind: str) -> list[int]:
    """Return the numbers of the segments that have a file of this kind.

    >>> numbers(["0000000002.segment", "0000000001.segment", "lock"], "segment")
    [1, 2]
    """
    found = (_FILE.fullmatch(name) for name in names)
    return sorted(int(match[1]) for match in found if match and match[2] == kind)


def day_folder(day: date) -> str:
    """Return the name of the folder of the rows that were received on a day, in UTC."""
    return f"date={day.isoformat()}"


def days(folder: Path) -> list[date]:
    """Return the days of which a model's audit log has compacted rows, in order."""
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(date.fromisoformat(match[1]) for name in names if (match := _DAY.fullmatch(name)))


def part_name(stream: str, number: int, contract_digest: str) -> str:
    """Return the name of the Parquet file for rows of one segment under one contract."""
    return f"part-{stream}-{number:010d}-{contract_digest[:12] or 'none'}.parquet"


class PartName(NamedTuple):
    """What the name of a Parquet file of the log says."""

    stream: str
    segment: int
    contract: str


def parse_part(name: str) -> PartName | None:
    """Return what a file's name says, or None when it is no part.

    >>> parse_part("part-replica-a-0000000003-none.parquet")
    PartName(stream='replica-a', segment=3, contract='none')
    """
    match = _PART.fullmatch(name)
    return PartName(match[1], int(match[2]), match[3]) if match else None
