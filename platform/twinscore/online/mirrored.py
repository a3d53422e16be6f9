"""What a shadow is told of an answered request: its rows as they were read, and what the live version made of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from twinscore.contract.stream import stream_of
from twinscore.online.hybrid import by_key_alone

if TYPE_CHECKING:
    from twinscore.contract.rows import RowDecoder
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.endpoint import Endpoint

__all__ = ["LiveRow", "Mirrored", "decode_mirrored", "encode_mirrored"]

_OUTPUTS = ["score", "decision"]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class LiveRow(NamedTuple):
    """One row that the live version answered."""

    row: int
    """Its place in the request."""
    score: float | None
    decision: str | None
    cells: Mapping[str, Any]
    """Typed, in the order of the live version's contract."""


class Mirrored(NamedTuple):
    """The rows of one request, and the live version that answered them."""

    request_id: str
    version: str
    digest: str
    rows: list[LiveRow]


def encode_mirrored(endpoint: Endpoint, asked: Asked, outcome: Outcome, request_id: str) -> tuple[bytes, int]:
    """Return a message, and how many rows are in it: those that the live version answered itself.

    Rows that were sent as a key alone stay out: no other version can be asked about them. The message never
    leaves the machine: a process of the same version of this code reads it, which knows the contract.
    """
    head = request_id, endpoint.version, endpoint.bundle.digest
    if outcome.predictions is None:
        assert outcome.table is not None
        assert outcome.scored is not None
        assert outcome.accepted is not None
        places = np.flatnonzero(outcome.accepted)
        table = outcome.table if len(places) == outcome.table.num_rows else outcome.table.take(pa.array(places))
        outputs = outcome.scored.select(_OUTPUTS)
        streams = [stream_of(one.columns, one.schema) for one in (table, outputs)]
        parts = *streams, places.tobytes()
        return _encode((*head, None, parts)), len(places)
    cells = asked.rows if asked.table is None else asked.table.to_pylist()
    rows = [
        (one.row, one.score, one.decision, row)
        for one, row in zip(outcome.predictions, cells, strict=True)
        if not one.errors and (one.arm is msgspec.UNSET or one.arm == "live") and not by_key_alone(row)
    ]
    return _encode((*head, rows, None)), len(rows)


def decode_mirrored(message: bytes, decoder_of: Callable[[str], RowDecoder]) -> Mirrored:
    """Return what `encode_mirrored` was given, of the rows that are in the message.

    Args:
        message: of a ring.
        decoder_of: gives what reads rows of the live version's contract, by the digest of its bundle.
    """
    request_id, version, digest, rows, parts = _decode(message)
    if parts is not None:
        table, outputs = (pa.ipc.open_stream(part).read_all() for part in parts[:2])
        places = np.frombuffer(parts[2], dtype=np.intp).tolist()
        scores, decisions = (outputs[name].to_pylist() for name in _OUTPUTS)
        cells = table.to_pylist()
    else:
        places, scores, decisions, sent = zip(*rows, strict=True) if rows else ((), (), (), ())
        cells, _ = decoder_of(digest).decode(sent)  # dates have become text
    found = [LiveRow(*one) for one in zip(places, scores, decisions, cells, strict=True)]
    return Mirrored(request_id, version, digest, found)
