"""Scored rows of committed runs in the form of the audit log, for people to look at; knows no Ray.

Rows are read beside the input that they were scored from. Of a run whose input is gone or changed, and of rows that a
retry brought home, the features are not known, so there is nothing to look at. Columns that the contract keeps out of
the audit log are kept out here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.audit.record import FEATURE, OUTPUTS
from twinscore.batch.runs import instant, known_runs
from twinscore.batch.watch_run import rows_beside_input

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from twinscore.audit.window import Window
    from twinscore.batch.read import CommittedRun
    from twinscore.bundle.files import Bundle

__all__ = ["rows_of_run", "runs_between"]


def runs_between(lake: Path, model: str, datasets: Sequence[str], window: Window) -> list[CommittedRun]:
    """Return the runs that were committed in a span of time, by their ids; a window's end is not in it."""
    found = []
    for run in known_runs(lake, model, datasets).committed:
        at = instant(run.manifest["finished_at"])
        first, last = window.bounds
        if first <= at < last:
            found.append(run)
    return sorted(found, key=lambda run: str(run.manifest["run_id"]))


def rows_of_run(run: CommittedRun, bundle_of: Callable[[str], Bundle]) -> tuple[str, Iterator[pa.Table]]:
    """Return why a run has no rows to look at, or nothing, and its rows: (n_rows, facts, outputs and features).

    `request_id` is the run's id, `row` a row's place among the run's scored rows, `received_at` when it was scored.

    Raises:
        BundleInvalid: the bundle that scored it is not at hand.
        FileUnreadable: a file of the run cannot be read.
    """
    bundle = bundle_of(run.manifest["bundle_digest"])
    note, tables = rows_beside_input(run, bundle)
    return note, iter(()) if note else _rows(run, bundle, tables)


def _rows(run: CommittedRun, bundle: Bundle, tables: Iterator[tuple[pa.Table, pa.Table]]) -> Iterator[pa.Table]:
    hidden = {column.name for column in bundle.contract.columns if column.audit != "keep"}
    place = 0
    for columns, scored in tables:
        n_rows = scored.num_rows
        places = np.arange(place, place + n_rows)
        place += n_rows
        if not set(bundle.spec.columns.names) <= set(columns.column_names):
            continue
        facts = {
            "request_id": run.manifest["run_id"], "version": run.manifest["version"], "role": "batch",
            "bundle_digest": run.manifest["bundle_digest"],
        }  # fmt: skip
        made = {name: pa.repeat(pa.scalar(value, pa.string()), n_rows) for name, value in facts.items()}
        made |= {"row": pa.array(places, pa.int64()), "received_at": scored["scored_at"]}
        made |= {name: scored[name] for name in OUTPUTS if name in scored.column_names}
        made |= {f"{FEATURE}{name}": columns[name] for name in columns.column_names if name not in hidden}
        yield pa.table(made)
