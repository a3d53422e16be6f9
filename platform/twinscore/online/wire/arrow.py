"""Arrow IPC streams in and out, for bulk calls: no text, no Python value per cell; decides nothing about rows.

A stream comes from outside, so it is looked at before Arrow builds anything from it. Compressed buffers, extension
types (other packages of this process may have registered readers that run code) and more rows than allowed are refused
from the metadata alone; what is left is validated in full, and dictionaries are measured before they are spelled out.
Source: Arrow columnar format 1.5, "IPC streaming format", and its Message.fbs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.contract.model import type_name
from twinscore.contract.stream import stream_of
from twinscore.contract.verdict import Fault, pointer
from twinscore.errors import RequestMalformed, RequestTooLarge, SchemaMismatch, near
from twinscore.online.answer import Answer, as_bytes
from twinscore.online.asked import Asked, Outcome, RowsRefusedError
from twinscore.online.request import body_too_large
from twinscore.online.scored import DEGRADED, columns_of, degraded_rows, errors_of
from twinscore.online.wire.texts import measure_texts
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from twinscore.contract.model import Contract
    from twinscore.online.endpoint import Endpoint

__all__ = ["ARROW_STREAM", "ERRORS_FIELD", "read_stream", "write_stream"]

ARROW_STREAM = "application/vnd.apache.arrow.stream"
_AT = "/rows"
_SPARE_COLUMNS = 1_000
_EXTENSION = b"ARROW:extension:name"

ERRORS_FIELD = pa.field(
    "errors",
    pa.list_(pa.struct([(name, pa.string()) for name in ("path", "rule", "expected", "value")])),
    nullable=False,
)
"""The column of a partial answer that tells why a row was refused; empty for the others."""


def read_stream(body: bytes, endpoint: Endpoint, *, partial: bool) -> Asked:
    """Return the rows of a stream, conformed to the contract without losing a bit.

    Raises:
        RequestMalformed: it is no stream, or one with compression or extension types.
        RequestTooLarge: more bytes, rows or characters than are read.
        RowsRefusedError: columns are missing, unknown, of another type or out of range, or there are no rows.
    """
    limits = endpoint.limits
    if len(body) > limits.max_body_bytes:
        raise body_too_large(limits)
    try:
        _inspect(body, limits.max_rows)
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            if len(reader.schema) > endpoint.n_columns + _SPARE_COLUMNS:
                message = f"The stream has {len(reader.schema)} columns; the contract has {endpoint.n_columns}."
                raise RequestTooLarge(message, columns=len(reader.schema))
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, struct.error, OSError) as error:
        message = "The body is not an Arrow IPC stream; write it with pyarrow.ipc.new_stream, or as in the docs."
        raise RequestMalformed(message, problem="bad_stream") from error
    return Asked((), at=_AT, table=_conformed(table, endpoint), partial=partial)


def write_stream(endpoint: Endpoint, outcome: Outcome, request_id: str, arm: str, *, partial: bool) -> Answer:
    """Return key columns, SCORE_SCHEMA and, where a partial answer was asked for, `errors`: one row per row sent."""
    contract = endpoint.bundle.contract
    fields = [contract.schema.field(name) for name in contract.key]
    columns: list[Any]
    if outcome.predictions is not None:
        columns = [pa.array([row.key.get(field.name) for row in outcome.predictions], field.type) for field in fields]
    else:
        assert outcome.table is not None
        columns = [outcome.table.column(field.name) for field in fields]
    if outcome.scored is not None and outcome.accepted is not None and outcome.accepted.all():
        columns += outcome.scored.columns
    else:
        cells = columns_of(outcome)
        columns += [pa.array(cells[field.name], field.type) for field in SCORE_SCHEMA]
    fields += list(SCORE_SCHEMA)
    if partial:
        fields.append(ERRORS_FIELD)
        rows = [[{name: getattr(error, name) for name in ("path", "rule", "expected", "value")} for error in errors]
                for errors in errors_of(outcome)]  # fmt: skip
        columns.append(pa.array(rows, ERRORS_FIELD.type))
    if outcome.degraded:
        fields.append(pa.field(DEGRADED, pa.bool_(), nullable=False))
        columns.append(pa.array(degraded_rows(outcome), pa.bool_()))
    facts = {"request_id": request_id, "model": endpoint.model, "version": endpoint.version, "arm": arm}
    schema = pa.schema(fields, metadata={f"twinscore.{name}": value for name, value in facts.items()})
    return as_bytes(stream_of(columns, schema), ARROW_STREAM, request_id)


def _inspect(body: bytes, max_rows: int) -> None:
    """Refuse by the messages' metadata what must not be read at all."""
    n_rows = 0
    reader = pa.ipc.MessageReader.open_stream(pa.py_buffer(body))
    for message in reader:
        metadata = message.metadata.to_pybytes()
        if message.type == "schema":
            if _EXTENSION in metadata:
                text = "The stream has a column of an extension type; send plain types."
                raise RequestMalformed(text, problem="bad_stream")
            continue
        if message.type not in ("record batch", "dictionary"):
            text = f"The stream has a message of type {message.type!r}; send record batches."
            raise RequestMalformed(text, problem="bad_stream")
        batch = _follow(metadata, _follow(metadata, 0), 2)
        if message.type == "dictionary":
            batch = _follow(metadata, batch, 1)
        else:
            place = _slot(metadata, batch, 0)
            n_rows += struct.unpack_from("<q", metadata, place)[0] if place else 0
        if _slot(metadata, batch, 3):
            text = "The stream is compressed; send it without compression, which the limit on bytes is about."
            raise RequestMalformed(text, problem="bad_stream")
        if n_rows > max_rows:
            text = f"The request has more than {max_rows} rows; send fewer at a time."
            raise RequestTooLarge(text, max_rows=max_rows)


def _slot(data: bytes, table: int, number: int) -> int:
    """Return where a field of a flatbuffer table stands, or 0 when it is left out."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    entry = 4 + 2 * number
    if entry >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", data, vtable + entry)[0]
    return table + offset if offset else 0


def _follow(data: bytes, table: int, number: int | None = None) -> int:
    """Return the table that a field points to; without a number the root table."""
    place = table if number is None else _slot(data, table, number)
    return place + int(struct.unpack_from("<I", data, place)[0])


def _conformed(table: pa.Table, endpoint: Endpoint) -> pa.Table:
    contract = endpoint.bundle.contract
    fits = table.schema.equals(contract.schema)
    if not fits:
        _compare_names(table, contract)
    if table.num_rows == 0:
        expected = f"1 to {endpoint.limits.max_rows} rows"
        raise RowsRefusedError([Fault(_AT, None, "row_count", expected, "no rows", "critical")], 1, 0)
    measure_texts(table.select(endpoint.text_columns) if fits else table, endpoint.limits.max_body_bytes)
    try:
        conformed = endpoint.bundle.checker.conform(table, source="The stream")
        return conformed if fits and conformed.column(0).num_chunks == 1 else conformed.combine_chunks()
    except SchemaMismatch as error:
        told = zip(error.fields["rules"], error.fields["faults"], strict=True)
        faults = [Fault(_AT, None, rule, text[:300], "", "critical") for rule, text in told]
        raise RowsRefusedError(faults, len(faults), table.num_rows) from None


def _compare_names(table: pa.Table, contract: Contract) -> None:
    """Refuse a table that lacks columns of the contract, or has others."""
    names, sent = contract.schema.names, table.column_names
    faults = [
        Fault(pointer(_AT, name), name, "missing_column", type_name(contract.schema.field(name).type), "absent",
              "critical") for name in names if name not in sent
    ]  # fmt: skip
    for name in sent:
        if name not in names:
            hint = f"a column of the contract. {near(name[:80], names)}"
            faults.append(Fault(pointer(_AT, name[:80]), None, "unknown_column", hint, name[:80], "critical"))
    if faults:
        raise RowsRefusedError(faults, len(faults), table.num_rows)
