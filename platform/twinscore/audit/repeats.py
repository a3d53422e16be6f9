"""A request that was sent again is one row: identical repeats collapse, different ones are kept and marked; pure.

An edge sends a request again when a replica died, so an answered request may have been recorded twice. What a row is
known by: request id, row, model, version, role, caller, operation, and whether it was scored. Callers choose ids, so
two of them may choose the same; what an edge sends again has caller and operation of the first time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.record import FEATURE, OUTPUTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Settled", "settle_repeats"]

_IDENTITY = ("request_id", "row", "model", "version", "role", "caller", "path")
_CONTENT = ("status", "code", *OUTPUTS, "fault_rules", "fault_columns")
_NUMBERS = {32: pa.int32(), 64: pa.int64()}
"""What a time of so many bits is compared as."""
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Settled:
    """Rows as the log shows them."""

    table: pa.Table
    collapsed: int
    """Rows left out, because the same row is there already."""
    conflicts: tuple[str, ...]
    """Request ids of rows that were kept beside a different one, and are marked."""


def settle_repeats(table: pa.Table, earlier: Sequence[pa.Table] = ()) -> Settled:
    """Leave out what is there already.

    Args:
        table: (n_rows, log_schema), in the order of the log.
        earlier: rows that readers see already, of the same columns; only those of the same requests matter.
    """
    suspects = _suspects(table, earlier)
    if not len(suspects):
        return Settled(table, 0, ())
    seen: dict[tuple[Any, ...], set[bytes]] = {}
    for other in earlier:
        for _, identity, content in _of(other, suspects):
            seen.setdefault(identity, set()).add(content)
    gone: list[int] = []
    marked: list[int] = []
    conflicts: dict[str, None] = {}
    for place, identity, content in _of(table, suspects):
        known = seen.setdefault(identity, set())
        if content in known:
            gone.append(place)
            continue
        if known:
            marked.append(place)
            conflicts[identity[0]] = None
        known.add(content)
    places = pa.array(range(table.num_rows))
    flags = pc.is_in(places, value_set=pa.array(marked, pa.int64()))
    table = table.set_column(table.column_names.index("conflict"), "conflict", flags)
    kept = table.filter(pc.invert(pc.is_in(places, value_set=pa.array(gone, pa.int64()))))
    return Settled(kept, len(gone), tuple(conflicts))


def _suspects(table: pa.Table, earlier: Sequence[pa.Table]) -> pa.Array:
    """Return the ids of requests that have a row more than once."""
    counts = table.group_by(list(_IDENTITY)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts.column("count_all"), 1)).column("request_id")
    there = [other.column("request_id") for other in earlier]
    mine = table.column("request_id")
    again = [ids.filter(pc.is_in(ids, value_set=mine)) for ids in there]
    return pc.unique(pa.chunked_array([chunk for ids in (twice, *again) for chunk in ids.chunks], pa.string()))


def _of(table: pa.Table, suspects: pa.Array) -> Iterator[tuple[int, tuple[Any, ...], bytes]]:
    """Yield place, identity and content of the rows of these requests."""
    places = pc.indices_nonzero(pc.is_in(table.column("request_id"), value_set=suspects))
    rows = table.take(places)
    features = [name for name in table.column_names if name.startswith(FEATURE)]
    identities = rows.select(list(_IDENTITY)).to_pylist()
    contents = _plain(rows.select([*_CONTENT, *features])).to_pylist()
    for place, identity, content in zip(places.to_pylist(), identities, contents, strict=True):
        scored = content["score"] is not None
        yield place, (*identity.values(), scored), _encode(list(content.values()))


def _plain(table: pa.Table) -> pa.Table:
    """Return times as whole numbers, because Arrow has times that Python has not: those after the year 9999."""
    fields = [pa.field(one.name, _NUMBERS.get(one.type.bit_width, one.type)) if pa.types.is_temporal(one.type) else one
              for one in table.schema]  # fmt: skip
    return table.cast(pa.schema(fields))
