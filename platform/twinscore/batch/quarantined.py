"""A look into a run's quarantine: counts by rule, then lines; a file in memory at a time; knows files, no Ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.batch.manifest import committed_run
from twinscore.batch.read import CommittedRun, open_run
from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from twinscore.batch.read import QuarantinePart

__all__ = ["Look", "look", "quarantine_lines", "refused_or_committed"]

STATE = "state"
"""Column that says what became of the row: `refused`, `home` or `refused again`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a quarantine holds."""

    run_id: str
    rules: dict[str, int] = field(default_factory=dict)
    """Rows by the rule that they broke, most first; a row may break several."""
    columns: dict[str, int] = field(default_factory=dict)
    """The same by the column that was at fault."""
    rows: int = 0
    """Rows with a line that was asked for."""
    rows_home: int = 0
    """Rows that linked runs brought home, whatever was asked for."""
    files: tuple[dict[str, Any], ...] = ()
    """Files that were set aside whole, as the manifest has them; their rows are not among `rows`."""


def refused_or_committed(folder: Path) -> CommittedRun:
    """Open the run at `folder`; where none was committed, the last one that was refused beside it.

    Raises:
        FileUnreadable: there is neither.
        StoreConflict: something is there that is no run.
    """
    if committed_run(folder) is None:
        beside = []
        for place in folder.parent.glob("*.refused-*"):
            if place.name.startswith(f"{folder.name}.refused-"):
                run = open_run(place)
                beside.append((run.manifest.get("finished_at", ""), place.name, run))
        if beside:
            return max(beside, key=lambda one: one[:2])[2]
    return open_run(folder)


def look(run: CommittedRun, *, rule: str | None = None, column: str | None = None, home: bool = False) -> Look:
    """Count the rows in quarantine by rule and by column.

    Args:
        rule: only rows that broke it: its id, or a part of it.
        column: only rows with a fault in it.
        home: count rows that a retry brought home, and reasons that a later refusal replaced, as well.

    Raises:
        SettingsInvalid: no row has such a rule or column; what is near is named.
    """
    rules: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    everything: tuple[set[str], set[str]] = (set(), set())
    rows = came_home = 0
    for part in run.quarantine_parts():
        number = _row_numbers(part.lines)
        came_home += len(np.unique(number[part.home]))
        kept = np.ones(len(number), bool) if home else part.current
        for names, name in zip(everything, ("rule", "column"), strict=True):
            names.update(pc.unique(part.lines[name]).to_pylist())
        kept = kept & _asked(part.lines, rule, column)
        rows += len(np.unique(number[kept]))
        _count(rules, part.lines["rule"], number, kept)
        _count(columns, part.lines["column"], number, kept)
    if rule is not None and not any(rule in known for known in everything[0]):
        _refuse_unknown("rule", rule, everything[0], run)
    if column is not None and column not in everything[1]:
        _refuse_unknown("column", column, everything[1], run)
    files = tuple(run.manifest["input"].get("set_aside", ()))
    return Look(run.manifest["run_id"], _sorted(rules), _sorted(columns), rows, came_home, files)


def quarantine_lines(
    run: CommittedRun, *, rule: str | None = None, column: str | None = None, home: bool = False, limit: int = 0
) -> Iterator[pa.Table]:
    """Yield the lines of the quarantine with `run_id` (who refused) and `state` after them, a file at a time.

    Args:
        rule, column, home: as for `look`; unknown ones yield nothing.
        limit: most lines in all; 0 is all.
    """
    left = limit
    for part in run.quarantine_parts():
        kept = np.ones(part.lines.num_rows, bool) if home else part.current
        rows = np.flatnonzero(kept & _asked(part.lines, rule, column))
        rows = rows[:left] if limit else rows
        if len(rows):
            yield _marked(part).take(pa.array(rows))
        left -= len(rows)
        if limit and left <= 0:
            return


def _marked(part: QuarantinePart) -> pa.Table:
    words = pa.array(["refused", "home", "refused again"])
    state = words.take(pa.array(np.where(part.home, 1, np.where(part.replaced, 2, 0))))
    run_id = pa.repeat(pa.scalar(part.run_id, pa.string()), part.lines.num_rows)
    return part.lines.append_column("run_id", run_id).append_column(STATE, state)


def _asked(lines: pa.Table, rule: str | None, column: str | None) -> NDArray[np.bool_]:
    asked = np.ones(lines.num_rows, bool)
    if rule is not None:
        asked &= pc.match_substring(lines["rule"], rule).to_numpy()
    if column is not None:
        asked &= pc.equal(lines["column"], column).to_numpy()
    return asked


def _row_numbers(lines: pa.Table) -> NDArray[np.int64]:
    """Return a number per line that lines of the same row share: (n_lines,)."""
    files = lines["file"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    _, numbers = np.unique(np.stack([files, lines["row"].to_numpy()]), axis=1, return_inverse=True)
    return np.asarray(numbers.reshape(-1), np.int64)


def _count(counts: Counter[str], names: pa.ChunkedArray, numbers: NDArray[np.int64], kept: NDArray[np.bool_]) -> None:
    """Add the rows by name: each row once per name, however many lines say so."""
    table = pa.table({"name": names, "row": pa.array(numbers)}).filter(pa.array(kept))
    once = table.group_by(["name", "row"]).aggregate([])
    for item in pc.value_counts(once["name"]).to_pylist():
        counts[item["values"]] += item["counts"]


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _refuse_unknown(kind: str, name: str, known: set[str], run: CommittedRun) -> NoReturn:
    message = f"No row in the quarantine of run {run.manifest['run_id']} has the {kind} {name!r}. {near(name, known)}"
    raise SettingsInvalid(message, **{kind: name})
