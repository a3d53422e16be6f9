"""Rows of the log as pairs: what the live version answered beside what another made of the same row; pure.

The columns are those of `twinscore.comparison.pairs`. Rows that the edge had sent again are one row here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.record import FEATURE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["answered_rows", "join_shadow", "main_version", "shadow_rows"]

_KEY = ("request_id", "row")
_ROW_US = pa.float64()


def answered_rows(rows: pa.Table, key: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Return what the live version answered of rows of the log that have a score.

    Args:
        rows: (n_rows, log_schema), of one contract.
        key: its key; where the log has it, rows of the same key are one unit, else those of one request.
        columns: features to keep, for segments; those that the log does not have are left out.
    """
    numbered = rows["request_id"].combine_chunks().dictionary_encode()
    codes = numbered.indices.to_numpy(zero_copy_only=False)
    per_request = np.bincount(codes)[codes] if len(codes) else np.zeros(0)
    took = rows["took_us"].to_numpy().astype(np.float64)
    found = {
        "request_id": rows["request_id"],
        "row": rows["row"],
        "unit": _units(rows, key),
        "live_version": rows["version"],
        "live_digest": rows["bundle_digest"],
        "live_score": rows["score"],
        "live_decision": rows["decision"],
        "live_us": rows["took_us"],
        "live_row_us": pa.array(took / np.maximum(per_request, 1), _ROW_US),
    }
    kept = [f"{FEATURE}{name}" for name in columns if f"{FEATURE}{name}" in rows.column_names]
    return pa.table({**found, **{name: rows[name] for name in kept}})


def shadow_rows(rows: pa.Table) -> pa.Table:
    """Return what a shadow answered: rows of the log, (n_rows, log_schema), a refused row with a null score."""
    calls = np.maximum(pc.fill_null(rows["call_rows"], 1).to_numpy(), 1) if rows.num_rows else np.ones(0)
    return pa.table(
        {
            "request_id": rows["request_id"],
            "row": rows["row"],
            "candidate_score": rows["score"],
            "candidate_decision": rows["decision"],
            "candidate_us": rows["took_us"],
            "candidate_row_us": pa.array(rows["took_us"].to_numpy().astype(np.float64) / calls, _ROW_US),
            "block": pc.binary_join_element_wise(
                rows["stream"], pc.cast(rows["monotonic_ns"], pa.string()), "/"
            ),
        }
    )  # fmt: skip


def join_shadow(live: pa.Table, shadow: pa.Table) -> pa.Table:
    """Return the rows of which the log has both, in no order: (n_pairs, columns of both)."""
    return _once(live).join(_once(shadow), keys=list(_KEY), join_type="inner")


def main_version(pairs: pa.Table) -> str | None:
    """Return the digest of the live version that answered most rows, or None without a row."""
    counts = pc.value_counts(pairs["live_digest"]).to_pylist()
    return max(counts, key=lambda one: (one["counts"], one["values"]))["values"] if counts else None


def _once(rows: pa.Table) -> pa.Table:
    """Return the first row of each request and place; the same request may have been recorded twice."""
    placed = rows.append_column("place", pa.array(np.arange(rows.num_rows)))
    first = placed.group_by(list(_KEY)).aggregate([("place", "min")])["place_min"].to_numpy()
    return rows if len(first) == rows.num_rows else rows.take(pa.array(np.sort(first)))


def _units(rows: pa.Table, key: Sequence[str]) -> pa.ChunkedArray | pa.Array:
    names = [f"{FEATURE}{name}" for name in key]
    if not names or any(name not in rows.column_names or rows[name].null_count for name in names):
        return rows["request_id"]
    return pc.binary_join_element_wise(*(pc.cast(rows[name], pa.string()) for name in names), "|")
