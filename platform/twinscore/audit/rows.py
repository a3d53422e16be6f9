"""From records to a typed table, one row per scored or refused row; knows no files.

A feature has its contract's type; one that the contract hashes is text, one that it drops has no column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from twinscore.audit.record import FEATURE, OUTPUTS
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.audit.reader import Entry
    from twinscore.audit.record import AuditRecord
    from twinscore.contract.model import Column, Contract

__all__ = ["CLOCK_TOLERANCE_S", "feature_fields", "log_schema", "table_of"]

CLOCK_TOLERANCE_S = 1.0
"""A record whose wall clock is further off from the others of its segment, by the clock that never jumps, is marked."""

_TEXT = pa.string()
_TEXTS = pa.list_(_TEXT)
_INSTANT = pa.timestamp("us", "UTC")

_FACTS: tuple[tuple[str, pa.DataType, Callable[[AuditRecord], Any]], ...] = (
    ("request_id", pa.string(), lambda record: record.request_id),
    ("role", pa.string(), lambda record: record.role),
    ("received_at", _INSTANT, lambda record: record.received_us),
    ("monotonic_ns", pa.int64(), lambda record: record.monotonic_ns),
    ("took_us", pa.int64(), lambda record: record.took_us),
    ("status", pa.int32(), lambda record: record.status),
    ("code", pa.string(), lambda record: record.code),
    ("caller", pa.string(), lambda record: record.caller),
    ("entity", pa.string(), lambda record: record.entity),
    ("model", pa.string(), lambda record: record.model),
    ("version", pa.string(), lambda record: record.version),
    ("bundle_digest", pa.string(), lambda record: record.bundle_digest),
    ("contract_digest", pa.string(), lambda record: record.contract_digest),
    ("arm", pa.string(), lambda record: record.arm),
    ("assigned", pa.string(), lambda record: record.assigned),
    ("reason", pa.string(), lambda record: record.reason),
    ("source", pa.string(), lambda record: record.source),
    ("run_id", pa.string(), lambda record: record.run_id),
    ("age_s", pa.float64(), lambda record: record.age_s),
    ("path", pa.string(), lambda record: record.path),
    ("sampling", pa.float64(), lambda record: record.sampling),
    ("call_rows", pa.int32(), lambda record: record.call_rows),
    ("degraded", pa.bool_(), lambda record: record.degraded),
)
"""What is the same in all rows of a request."""

_OUTPUT_TYPES: dict[str, pa.DataType] = {
    "score": pa.float64(),
    "decision": pa.string(),
    "lower": pa.float64(),
    "upper": pa.float64(),
    "prediction_set": _TEXTS,
    "uncertainty": pa.float64(),
    "review": pa.bool_(),
    "review_reason": pa.string(),
    "explanation": pa.string(),
}
_json = msgspec.json.Encoder().encode


def feature_fields(contract: Contract | None) -> list[tuple[int, Column, pa.Field]]:
    """Return place in the contract, column and field of every feature that the log has."""
    columns = contract.columns if contract else ()
    return [
        (place, column, pa.field(f"{FEATURE}{column.name}", pa.string() if column.audit == "hash" else column.type))
        for place, column in enumerate(columns)
        if column.audit != "drop"
    ]


def log_schema(contract: Contract | None) -> pa.Schema:
    """Return the columns of the compacted log of records under one contract."""
    return pa.schema(
        [
            *(pa.field(name, kind) for name, kind, _ in _FACTS),
            pa.field("row", pa.int32()),
            *(pa.field(name, _OUTPUT_TYPES[name]) for name in OUTPUTS),
            pa.field("fault_rules", _TEXTS),
            pa.field("fault_columns", _TEXTS),
            *(field for _, _, field in feature_fields(contract)),
            pa.field("stream", pa.string()),
            pa.field("segment", pa.int64()),
            pa.field("sequence", pa.int64()),
            pa.field("clock_suspect", pa.bool_()),
            pa.field("conflict", pa.bool_()),
        ]
    )


def table_of(entries: Sequence[Entry], contract: Contract | None) -> pa.Table:
    """Return the rows of records under one contract: (n_rows, log_schema).

    A request that was refused before its rows were read has one row, whose `row` is null.

    Raises:
        AuditDamaged: a record does not fit the contract.
    """
    few = [entry for entry in entries if not entry.record.table]
    many = [entry for entry in entries if entry.record.table]
    suspect = _clock_suspects(entries)
    schema = log_schema(contract)
    tables = [_few(few, contract)] if few else []
    tables += [_many(entry, contract) for entry in many]
    if not tables:
        return schema.empty_table()
    counts = [len(_row_numbers(entry.record)) for entry in few] + [table.num_rows for table in tables[bool(few) :]]
    owners = pa.array(np.repeat(np.arange(len(entries)), counts))
    ordered = few + many
    repeated: dict[str, pa.Array] = {
        name: pa.array([fact(entry.record) for entry in ordered], pa.int64() if kind == _INSTANT else kind)
        .cast(kind)
        .take(owners)
        for name, kind, fact in _FACTS
    }
    repeated |= {
        "stream": pa.array([entry.stream for entry in ordered], pa.string()).take(owners),
        "segment": pa.array([entry.segment for entry in ordered], pa.int64()).take(owners),
        "sequence": pa.array([entry.sequence for entry in ordered], pa.int64()).take(owners),
        "clock_suspect": pa.array([entry.sequence in suspect for entry in ordered], pa.bool_()).take(owners),
        "conflict": pa.array(np.zeros(len(owners), dtype=bool)),
    }
    if any(entry.record.cached for entry in ordered):
        repeated |= _origins(ordered, counts)
    own = pa.concat_tables(tables).combine_chunks()
    columns = [repeated[name] if name in repeated else own.column(name) for name in schema.names]
    return pa.table(columns, schema=schema)


def _few(entries: Sequence[Entry], contract: Contract | None) -> pa.Table:
    """Return row, outputs, faults and features of records that have their rows one by one."""
    numbers: list[int | None] = []
    cells: list[Sequence[Any]] = []
    outputs: list[Sequence[Any]] = []
    faults: list[list[tuple[str, str | None]]] = []
    n_columns = len(contract.columns) if contract else 0
    no_cells, no_outputs = (None,) * n_columns, (None,) * len(OUTPUTS)
    for entry in entries:
        record = entry.record
        for place, number in enumerate(_row_numbers(record)):
            row = record.rows[place] if 0 <= place < len(record.rows) else None
            if row and len(row) != n_columns:
                message = (
                    f"Audit record {entry.sequence} of stream {entry.stream} has a row of {len(row)} cells; its "
                    f"contract has {n_columns} columns."
                )
                raise AuditDamaged(message, stream=entry.stream, sequence=entry.sequence)
            numbers.append(number)
            cells.append(row or no_cells)
            outputs.append((record.outputs[place] if 0 <= place < len(record.outputs) else None) or no_outputs)
            faults.append([fault[1:] for fault in record.faults if fault[0] == number] if record.faults else [])
    columns: dict[str, pa.Array] = {"row": pa.array(numbers, pa.int32())}
    for name, values in zip(OUTPUTS, zip(*outputs, strict=True), strict=True):
        if name == "explanation":
            columns[name] = pa.array([None if value is None else _json(value).decode() for value in values], _TEXT)
        else:
            columns[name] = pa.array(values, _OUTPUT_TYPES[name])
    columns |= _fault_columns(faults)
    by_place = list(zip(*cells, strict=True)) if n_columns else []
    for place, column, field in feature_fields(contract):
        columns[field.name] = _typed(by_place[place], column.name, field.type)
    return pa.table(columns)


def _origins(entries: Sequence[Entry], counts: Sequence[int]) -> dict[str, pa.Array]:
    """Return source, run and age row by row, because a request may have rows of a batch run beside others."""
    sources: list[str] = []
    runs: list[str] = []
    ages: list[float | None] = []
    for entry, count in zip(entries, counts, strict=True):
        record = entry.record
        for place in range(count):
            cached = record.cached[place] if place < len(record.cached) else None
            sources.append("cache" if cached else record.source)
            runs.append(cached[0] if cached else record.run_id)
            ages.append(cached[1] if cached else record.age_s)
    return {"source": pa.array(sources), "run_id": pa.array(runs), "age_s": pa.array(ages, pa.float64())}


def _many(entry: Entry, contract: Contract | None) -> pa.Table:
    """Return the same of a record that has its rows as an Arrow table."""
    record = entry.record
    try:
        with pa.ipc.open_stream(record.table) as stream:
            table = stream.read_all()
    except (pa.ArrowException, OSError) as error:
        message = f"The rows of audit record {entry.sequence} of stream {entry.stream} cannot be read: {error}."
        raise AuditDamaged(message, stream=entry.stream, sequence=entry.sequence) from error
    by_row: dict[int | None, list[tuple[str, str | None]]] = {}
    for number, rule, column_name in record.faults:
        by_row.setdefault(number, []).append((rule, column_name))
    places = record.places or np.arange(table.num_rows)
    columns: dict[str, Any] = {"row": pa.array(places, pa.int32())}
    for name in OUTPUTS:
        kind = _OUTPUT_TYPES[name]
        there = name in table.column_names
        columns[name] = table.column(name).cast(kind) if there else pa.nulls(table.num_rows, kind)
    columns |= _fault_columns([by_row.get(number, []) for number in range(table.num_rows)])
    for _, column, field in feature_fields(contract):
        if field.name not in table.column_names:
            message = f"The rows of audit record {entry.sequence} of stream {entry.stream} have no {column.name!r}."
            raise AuditDamaged(message, stream=entry.stream, sequence=entry.sequence)
        columns[field.name] = table.column(field.name).cast(field.type)
    return pa.table(columns)


def _row_numbers(record: AuditRecord) -> Sequence[int | None]:
    if record.places:
        return record.places
    count = max(len(record.rows), len(record.outputs))
    return range(count) if count else (None,)


def _fault_columns(faults: list[list[tuple[str, str | None]]]) -> dict[str, pa.Array]:
    """Return the rules and columns of the faults of each row; null for a row without one."""
    return {
        "fault_rules": pa.array([[rule for rule, _ in row] if row else None for row in faults], _TEXTS),
        "fault_columns": pa.array([[column for _, column in row] if row else None for row in faults], _TEXTS),
    }


def _typed(cells: Sequence[Any], name: str, kind: pa.DataType) -> pa.Array:
    """Return cells as the contract's type; times without a zone and dates come as ISO text."""
    try:
        as_text = pa.types.is_date(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
        return pa.array(cells, _TEXT).cast(kind) if as_text else pa.array(cells, kind)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        message = f"Cells of column {name!r} in the audit log are not {kind}: {error}."
        raise AuditDamaged(message, column=name) from error


def _clock_suspects(entries: Sequence[Entry]) -> set[int]:
    """Return the sequences of records whose two clocks disagree with the rest of their segment."""
    if not entries:
        return set()
    offsets = np.array([entry.record.received_us - entry.record.monotonic_ns // 1000 for entry in entries], np.float64)
    off = np.abs(offsets - np.median(offsets)) > CLOCK_TOLERANCE_S * 1e6
    return {entries[place].sequence for place in np.flatnonzero(off).tolist()}
