"""Scores rows of the log with a version that did not answer them, as far as the log has what it reads.

Of columns that the contract hashes or drops the log has no values. A candidate that reads none of them is replayed, and
its rules on them are not asked; one that reads some cannot be, and the reason says which.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.pairs import answered_rows
from twinscore.audit.record import FEATURE
from twinscore.scoring.table import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from twinscore.bundle.files import Bundle
    from twinscore.contract.model import Contract

__all__ = ["Replay", "replay_candidate", "unreadable"]

_BLOCK_ROWS = 4096
"""Rows that are timed together."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of rows of one contract."""

    pairs: pa.Table | None
    """Rows that both scored; None when the candidate cannot be asked."""
    refused: int = 0
    """By the candidate's contract."""
    cached: int = 0
    """Answered from a batch run, which scored the key's features of its own time."""
    unable: str = ""
    """Why the candidate cannot be asked."""


def unreadable(recorded: Contract, candidate: Bundle) -> str:
    """Say what the candidate reads and the log of a contract does not have, or nothing."""
    known = {column.name: column.audit for column in recorded.columns}
    needed = candidate.spec.columns.names
    hidden = [name for name in needed if known.get(name, "keep") != "keep"]
    if hidden:
        return f"the log has no values of {', '.join(hidden)}: the contract hashes or drops what the candidate reads"
    absent = [name for name in needed if name not in known]
    return f"the candidate reads {', '.join(absent)}, which the requests did not have" if absent else ""


def replay_candidate(
    rows: pa.Table, recorded: Contract, candidate: Bundle, *, live: Bundle | None, columns: Sequence[str], block: str
) -> Replay:
    """Score rows of the log with a candidate.

    Args:
        rows: (n_rows, log_schema) with role `live`, under the contract `recorded`.
        candidate: the version.
        live: the version that answered, for the time that it takes on the same rows; None leaves that out.
        columns: features to keep in the pairs.
        block: name of these rows, for those that were timed together.
    """
    answered = rows.filter(pc.field("score").is_valid())
    scored = answered.filter(pc.field("source") != "cache")
    cached = answered.num_rows - scored.num_rows
    if not scored.num_rows:
        return Replay(None, cached=cached)
    unable = unreadable(recorded, candidate)
    if unable:
        return Replay(None, cached=cached, unable=unable)
    marked = {column.name for column in recorded.columns if column.audit != "keep"}
    try:
        features = _features(scored, candidate.contract, marked)
    except pa.ArrowException as error:
        return Replay(None, cached=cached, unable=f"the candidate's contract has other types: {error}")
    accepted = _accepted(features, candidate, marked)
    mask = pa.array(accepted)
    scored, features = scored.filter(mask), features.filter(mask)
    if not scored.num_rows:
        return Replay(None, refused=len(accepted), cached=cached)
    known = None
    if live is not None and not unreadable(recorded, live):
        known = _features(scored, live.contract, marked)
    again, times = _timed(features, candidate, known, live)
    pairs = answered_rows(scored, recorded.key, columns).drop_columns(["live_us", "live_row_us"])
    starts = np.arange(scored.num_rows) // _BLOCK_ROWS
    own = {
        "candidate_score": again["score"],
        "candidate_decision": again["decision"],
        "candidate_row_us": pa.array(times[0][starts]),
        "live_row_us": pa.array(times[1][starts], mask=np.isnan(times[1][starts])),
        "block": pa.array([f"{block}-{number}" for number in range(len(times[0]))]).take(pa.array(starts)),
    }
    for name, column in own.items():
        pairs = pairs.append_column(name, column)
    return Replay(pairs, refused=int(len(accepted) - accepted.sum()), cached=cached)


def _features(rows: pa.Table, contract: Contract, marked: set[str]) -> pa.Table:
    """Return the cells that the log has in a contract's form: (n_rows, contract columns), null where it has none."""
    cells = []
    for column in contract.columns:
        name = f"{FEATURE}{column.name}"
        there = name in rows.column_names and column.name not in marked
        cells.append(rows[name].cast(column.type) if there else pa.nulls(rows.num_rows, column.type))
    return pa.table(cells, schema=contract.schema)


def _accepted(features: pa.Table, candidate: Bundle, marked: set[str]) -> NDArray[np.bool_]:
    """Return which rows the candidate's contract accepts, by the rules on columns that the log has."""
    verdict = candidate.checker.check(candidate.checker.conform(features, source="the audit log"))
    if not marked or not verdict.n_refused:
        return verdict.accepted
    asked = pc.and_(
        pc.equal(verdict.faults["severity"], "critical"),
        pc.invert(pc.is_in(verdict.faults["column"], value_set=pa.array(sorted(marked)))),
    )
    accepted = np.ones(features.num_rows, dtype=bool)
    accepted[verdict.faults.filter(asked)["row"].to_numpy()] = False
    return accepted


def _timed(
    features: pa.Table, candidate: Bundle, known: pa.Table | None, live: Bundle | None
) -> tuple[pa.Table, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return the candidate's scores, and the microseconds per row of both versions, block by block, in turns."""
    sides = [(features, candidate)] + ([(known, live)] if known is not None and live is not None else [])
    for table, bundle in sides:
        score(table.slice(0, 1), bundle)  # the first call of a process proves the forest
    found: list[pa.Table] = []
    times = np.full((2, -(-features.num_rows // _BLOCK_ROWS)), np.nan)
    for number in range(times.shape[1]):
        order = range(len(sides)) if number % 2 else reversed(range(len(sides)))
        for side in order:
            table, bundle = sides[side]
            part = table.slice(number * _BLOCK_ROWS, _BLOCK_ROWS)
            began = time.perf_counter()
            scored = score(part, bundle)
            times[side, number] = (time.perf_counter() - began) * 1e6 / part.num_rows
            if side == 0:
                found.append(scored)
    return pa.concat_tables(found), (times[0], times[1])
