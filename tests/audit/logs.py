"""Audit logs for tests: records of a real model, written by a real writer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from twinscore.audit.places import STREAMS
from twinscore.audit.record import AuditRecord, TablePacker, encode_record, outputs_of
from twinscore.audit.writer import SegmentWriter
from twinscore.bundle.files import Bundle
from twinscore.scoring.table import check_and_score, score
from twinscore.testing.models import make_rows

KEY = b"k" * 32
MORNING_US = 1_767_261_600_000_000
"""2026-01-01 10:00 UTC."""


def record_of(bundle: Bundle, request_id: str, **changes: Any) -> AuditRecord:
    """Return what is the same in every record here."""
    number = int(request_id.rsplit("-", 1)[-1]) if request_id[-1].isdigit() else 0
    facts: dict[str, Any] = {
        "request_id": request_id,
        "role": "live",
        "received_us": MORNING_US + number * 1_000,
        "monotonic_ns": 5_000_000 + number * 1_000_000,
        "took_us": 250,
        "status": 200,
        "caller": "key-1",
        "entity": f"entity-{number}",
        "model": "binary_model",
        "version": "3",
        "bundle_digest": bundle.digest,
        "contract_digest": bundle.contract_digest,
        "arm": "live",
        "assigned": "live",
    }
    return AuditRecord(**(facts | changes))


def scored_records(
    bundle: Bundle, count: int, *, rows_each: int = 1, seed: int = 5, prefix: str = "q"
) -> list[AuditRecord]:
    """Return records of requests that were scored, of one row or some."""
    table = bundle.checker.conform(make_rows("binary", count * rows_each, 5).drop_columns(["label"]))
    _, scored = check_and_score(table, bundle)
    cells = [list(row.values()) for row in table.to_pylist()]
    outputs = [outputs_of(row) for row in scored.to_pylist()]
    return [
        record_of(bundle, f"{prefix}-{number}", rows=cells[start:stop], outputs=outputs[start:stop])
        for number in range(count)
        for start, stop in [(number * rows_each, (number + 1) * rows_each)]
    ]


def bulk_record(bundle: Bundle, request_id: str, rows: int) -> AuditRecord:
    """Return the record of a request of many rows, the second of which was refused."""
    table = bundle.checker.conform(make_rows("binary", rows, 9).drop_columns(["label"]))
    scored = score(table, bundle)
    scored = pa.concat_tables([scored.slice(0, 1), scored.schema.empty_table(), nothing(scored), scored.slice(2)])
    return record_of(bundle, request_id, table=TablePacker().pack(table, scored), faults=[(1, "not_null(age)", "age")])


def nothing(scored: pa.Table) -> pa.Table:
    return pa.table([pa.nulls(1, field.type) for field in scored.schema], schema=scored.schema)


def write_log(
    folder: Path, records: Iterable[AuditRecord], *, stream: str = "r1", batch: int = 7, segment_bytes: int = 4_000
) -> None:
    """Write records with one writer, in batches, and close it."""
    writer = SegmentWriter(folder / STREAMS, stream=stream, key=KEY, segment_bytes=segment_bytes, reserve_bytes=1024)
    payloads = [encode_record(record) for record in records]
    for start in range(0, len(payloads), batch):
        writer.commit(payloads[start : start + batch])
    writer.close()


def log_rows(folder: Path) -> list[dict[str, Any]]:
    """Return every row of the compacted log as a stranger reads it, in the order of streams and records."""
    rows = [row for path in sorted(folder.glob("date=*/*.parquet")) for row in pa.parquet.read_table(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["stream"], row["sequence"], row["row"] or 0))


def visible(folder: Path) -> str:
    """Return the whole content of the compacted log as text, to compare two logs."""
    return json.dumps(log_rows(folder), default=str)
