"""Finds rows of the compacted log that a new segment may repeat, reading as little as possible; changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.audit.places import STREAMS, file_name, parse_part

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from twinscore.audit.disk import Disk

__all__ = ["EarlierRows"]


class EarlierRows:
    """Rows of finished compactions, around a time.

    Args:
        folder: of the model's audit log.
        within_s: how far from the new rows' times is looked.
    """

    def __init__(self, folder: Path, disk: Disk, within_s: float) -> None:
        self._folder = folder
        self._disk = disk
        self._within = timedelta(seconds=within_s)

    def of(self, table: pa.Table, contract_digest: str) -> list[pa.Table]:
        """Return the rows under the same contract whose request ids are in `table`, file by file."""
        if not table.num_rows:
            return []
        span = pc.min_max(table.column("received_at"))
        first, last = span["min"].as_py() - self._within, span["max"].as_py() + self._within
        found: list[pa.Table] = []
        for path in self._files(first, last, contract_digest):
            with pq.ParquetFile(path) as file:
                groups = [group for group in range(file.num_row_groups) if _overlaps(file, group, first, last)]
                if not groups:
                    continue
                ids = file.read_row_groups(groups, columns=["request_id"]).column("request_id")
                same = pc.is_in(ids, value_set=table.column("request_id"))
                if pc.any(same).as_py():
                    found.append(file.read_row_groups(groups).filter(same))
        return found

    def _files(self, first: datetime, last: datetime, contract_digest: str) -> list[Path]:
        """Return the files of the days that have a head, so that no reader will see them replaced."""
        files: list[Path] = []
        day = first.date()
        while day <= last.date():
            place = self._folder / f"date={day.isoformat()}"
            for name in self._disk.names(place):
                part = parse_part(name)
                if part is None or part.contract != (contract_digest[:12] or "none"):
                    continue
                if (self._folder / STREAMS / part.stream / file_name(part.segment, "head")).exists():
                    files.append(place / name)
            day += timedelta(days=1)
        return files


def _overlaps(file: pq.ParquetFile, group: int, first: datetime, last: datetime) -> bool:
    place = file.schema_arrow.names.index("received_at")  # also its place among the leaves: no list stands before it
    statistics = file.metadata.row_group(group).column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bool(statistics.min <= last and statistics.max >= first)
