"""Finds the rows of past requests, compacted or not, in the one form of the compacted log; changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.audit.contracts import contract_for
from twinscore.audit.places import parse_part
from twinscore.audit.reader import read_model
from twinscore.audit.rows import table_of
from twinscore.audit.tombstone import is_removed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twinscore.audit.reader import Entry
    from twinscore.contract.model import Contract
    from twinscore.errors import AuditDamaged

__all__ = ["find_request", "last_entries"]


def find_request(
    folder: Path,
    request_id: str,
    contract_of: Callable[[str], Contract],
    *,
    on_damage: Callable[[AuditDamaged], None] | None = None,
) -> list[pa.Table]:
    """Return the rows of a request, a table for each record or file that has some: (n_rows, log_schema).

    Args:
        folder: of the model's audit log.
        request_id: as the answer said it.
        contract_of: the contract of a bundle, by the bundle's digest, or one by its own.
        on_damage: is told of a segment that cannot be read; None raises.

    Raises:
        BundleInvalid: no bundle at hand has the contract of a record.
    """
    found: list[pa.Table] = []
    for path in sorted(folder.glob("date=*/part-*.parquet")):
        if parse_part(path.name) is None:
            continue
        try:
            table = pq.ParquetFile(path).read() if _may_have(path, request_id) else None
        except FileNotFoundError:
            if is_removed(folder, path.relative_to(folder).as_posix()):
                continue  # meanwhile
            raise
        if table is not None:
            found.append(table.filter(pc.equal(table.column("request_id"), request_id)))
    for entry in read_model(folder, on_damage=on_damage):
        record = entry.record
        if record.request_id == request_id:
            found.append(table_of([entry], contract_for(record.contract_digest, [entry], contract_of)))
    return found


def last_entries(folder: Path, limit: int, *, on_damage: Callable[[AuditDamaged], None] | None = None) -> list[Entry]:
    """Return the latest records that are not compacted yet, oldest first."""
    entries = sorted(read_model(folder, on_damage=on_damage), key=lambda entry: entry.record.received_us)
    return entries[-limit:] if limit else entries


def _may_have(path: Path, request_id: str) -> bool:
    """Tell whether the request is in the file, by its one column."""
    with pq.ParquetFile(path) as file:
        ids = file.read(columns=["request_id"]).column("request_id")
    return bool(pc.any(pc.equal(ids, request_id)).as_py())
