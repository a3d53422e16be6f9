"""What is kept of an answered request, and its bytes; knows no files.

A record is a MessagePack array, so that writing one costs a few microseconds; fields are only ever added at the end.
MessagePack has instants but no dates and no times without a zone: those come back as ISO 8601 text, which
`twinscore.audit.rows` turns into the contract's types again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pyarrow as pa

from twinscore.contract.stream import stream_of
from twinscore.errors import AuditDamaged

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OUTPUTS",
    "AuditRecord",
    "Role",
    "TablePacker",
    "decode_record",
    "encode_record",
    "outputs_of",
]

Role = Literal["live", "canary", "challenger", "shadow"]

OUTPUTS = (
    "score",
    "decision",
    "lower",
    "upper",
    "prediction_set",
    "uncertainty",
    "review",
    "review_reason",
    "explanation",
)
"""What `AuditRecord.outputs` has for each scored row, in this order."""

FEATURE = "feature_"
"""What a feature's name begins with in a bulk record and in the compacted log, so that none meets another column."""


class AuditRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answered request, refusals too."""

    request_id: str
    role: Role
    received_us: int
    """Wall clock, microseconds since 1970 in UTC."""
    monotonic_ns: int
    """Clock of the process that never runs backwards, at the same moment."""
    took_us: int
    status: int
    """HTTP status of the answer; 499 when the client had left."""
    code: str = ""
    """Of the problem; empty when there was none."""
    caller: str = ""
    """Id of the key that was used."""
    entity: str = ""
    """What arms are assigned by."""
    model: str = ""
    version: str = ""
    bundle_digest: str = ""
    contract_digest: str = ""
    arm: str = ""
    """Who answered."""
    assigned: str = ""
    """Who should have; another than `arm` after a fallback."""
    reason: str = ""
    """Why the two differ."""
    source: Literal["model", "cache"] = "model"
    run_id: str = ""
    """Batch run of a cached answer."""
    age_s: float | None = None
    """How old a cached answer was."""
    path: str = "predict"
    """Operation of the protocol, such as `predict` or `invocations`."""
    rows: list[list[Any] | None] = []
    """Cells of each row in the contract's order of columns, as scored; None for a row that could not be read."""
    outputs: list[list[Any] | None] = []
    """`OUTPUTS` of each row; None for a refused one."""
    faults: list[tuple[int | None, str, str | None]] = []
    """Row, rule and column of the first critical faults; no value."""
    table: bytes = b""
    """Instead of rows and outputs, for many rows: what `TablePacker` returns."""
    sampling: float = 1.0
    """Share of such requests that is recorded."""
    places: list[int] = []
    """Positions of the rows in the request, where the record has only those that one arm answered."""
    cached: list[tuple[str, float] | None] = []
    """Of a request of several rows: batch run and age of each row that was answered from one, None for the others."""
    call_rows: int = 0
    """Of a shadow: rows of the call that took `took_us`, those of other requests among them."""
    degraded: bool = False
    """Whether the rows were answered in the cheaper way, because full service was too slow."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AuditRecord).decode


def encode_record(record: AuditRecord) -> bytes:
    """Return the bytes of a record."""
    return _encode(record)


def decode_record(data: bytes) -> AuditRecord:
    """Return the record that was encoded.

    Raises:
        AuditDamaged: the bytes are none.
    """
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"An audit record cannot be read: {error}."
        raise AuditDamaged(message) from error


def outputs_of(scored: Mapping[str, Any], explanation: Any = None) -> list[Any]:
    """Return the outputs of a row from what a scorer returned for it."""
    return [
        scored["score"],
        scored["decision"],
        scored["lower"],
        scored["upper"],
        scored["prediction_set"],
        scored["uncertainty"],
        scored["review"],
        scored["review_reason"],
        explanation,
    ]


class TablePacker:
    """Packs tables for `AuditRecord.table`; who packs many of one kind keeps one, and shares it between threads."""

    def __init__(self) -> None:
        nothing = pa.schema([])
        self._known = nothing, nothing, nothing

    def pack(self, features: pa.Table, scored: pa.Table) -> bytes:
        """Return many rows as an Arrow IPC stream.

        Args:
            features: (n_rows, contract columns), masked already.
            scored: (n_rows, SCORE_SCHEMA); a refused row has a null score.
        """
        first, second, both = self._known
        if not (first.equals(features.schema) and second.equals(scored.schema)):
            fields = [(f"{FEATURE}{field.name}", field.type) for field in features.schema]
            both = pa.schema([*fields, *((field.name, field.type) for field in scored.schema)])
            self._known = features.schema, scored.schema, both
        return stream_of([*features.columns, *scored.columns], both)
