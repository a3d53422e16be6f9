"""Scores the rows of a past request again with the very version that answered, and compares every bit.

A version's files are addressed by digest and its scorer has the same bits in bulk as row by row, so what differs is a
record that was changed, or a machine that computes otherwise. Explanations are not compared. Neither is what was
answered from a batch run: that run scored the key's features of its own time, and has its own manifest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.record import FEATURE, OUTPUTS
from twinscore.scoring.table import check_and_score

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

__all__ = ["Difference", "Replayed", "logged_features", "replay_rows", "unable_to_replay"]

_NOTHING = "no row was scored"
_COMPARED = tuple(name for name in OUTPUTS if name != "explanation")


@dataclass(frozen=True, slots=True)
class Difference:
    """One output that is not what was recorded."""

    request_id: str
    row: int | None
    output: str
    recorded: Any
    replayed: Any


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found."""

    rows: int
    """Scored again."""
    refused: int
    """Rows that had no score to compare."""
    differences: tuple[Difference, ...]
    unable: str
    """Why nothing could be scored again; empty when it was."""


def replay_rows(rows: pa.Table, bundle: Bundle) -> Replayed:
    """Score rows of the log again.

    Args:
        rows: (n_rows, log_schema), all answered by `bundle`.
        bundle: the version, read by the digest that the rows have.
    """
    answered = rows.filter(pc.is_valid(rows.column("score")))
    refused = rows.num_rows - answered.num_rows
    cached = pc.equal(answered.column("source"), "cache")
    scored = answered.filter(pc.invert(cached))
    if not scored.num_rows:
        runs = sorted(set(answered.column("run_id").to_pylist()))
        return Replayed(0, refused, (), f"the answer was taken from batch run {', '.join(runs)}" if runs else _NOTHING)
    unable = unable_to_replay(scored, bundle)
    if unable:
        return Replayed(0, refused, (), unable)
    features = logged_features(scored, bundle)
    verdict, again = check_and_score(features, bundle)
    differences: list[Difference] = []
    ids, numbers = scored.column("request_id").to_pylist(), scored.column("row").to_pylist()
    refused_now = [place for place, accepted in enumerate(verdict.accepted.tolist()) if not accepted]
    differences += [Difference(ids[place], numbers[place], "accepted", True, False) for place in refused_now]
    then = scored.filter(pa.array(verdict.accepted))
    places = [place for place, accepted in enumerate(verdict.accepted.tolist()) if accepted]
    for name in _COMPARED:
        recorded, replayed = then.column(name).to_pylist(), again.column(name).to_pylist()
        differences += [
            Difference(ids[place], numbers[place], name, old, new)
            for place, old, new in zip(places, recorded, replayed, strict=True)
            if _bits(old) != _bits(new)
        ]
    return Replayed(scored.num_rows, refused, tuple(differences), "")


def logged_features(rows: pa.Table, bundle: Bundle) -> pa.Table:
    """Return the cells of rows of the log as the version reads them: (n_rows, contract columns)."""
    contract = bundle.contract
    cells = [rows.column(f"{FEATURE}{column.name}").cast(column.type) for column in contract.columns]
    return bundle.checker.conform(pa.table(cells, schema=contract.schema), source="the audit log")


def unable_to_replay(scored: pa.Table, bundle: Bundle) -> str:
    """Say why the rows cannot be scored again, or nothing."""
    hidden = [column.name for column in bundle.contract.columns if column.audit != "keep"]
    if hidden:
        return f"the log has no values of {', '.join(hidden)}: the contract hashes or drops them"
    keys = [f"{FEATURE}{name}" for name in bundle.contract.key]
    if any(name in scored.column_names and scored.column(name).null_count == scored.num_rows for name in keys):
        return "the log has the features beside the live version's answer, whose contract hashes or drops some of them"
    digests = set(scored.column("bundle_digest").to_pylist()) - {bundle.digest}
    if digests:
        return f"rows are of bundle {min(digests)[:12]}, not {bundle.digest[:12]}"
    absent = [column.name for column in bundle.contract.columns if f"{FEATURE}{column.name}" not in scored.column_names]
    return f"the log has no column {', '.join(absent)}" if absent else ""


def _bits(value: Any) -> Any:
    return struct.pack("<d", value) if isinstance(value, float) else value
