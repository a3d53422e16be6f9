"""Rows that cases of an audit are drawn from: of the audit log, or of committed runs, with outcomes where known."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.audit.operate import contracts_in, open_log
from twinscore.audit.record import FEATURE
from twinscore.audit.window import pieces_of, read_piece
from twinscore.batch.run_cases import rows_of_run, runs_between
from twinscore.batch.watch_labels import KnownLabels, placed_labels
from twinscore.bundle.files import read_bundle
from twinscore.errors import TwinscoreError
from twinscore.wiring import bundle_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from twinscore.audit.window import Window
    from twinscore.bundle.files import Bundle
    from twinscore.contract.model import Contract
    from twinscore.monitoring.order import Order
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.settings import Settings

__all__ = ["OUTCOME", "AuditRows"]

OUTCOME = "outcome"
"""Column of what became of a row, where that is known and a class."""
_ROLES = ("live", "canary", "challenger")


@dataclass(slots=True)
class AuditRows:
    """Rows of a window, those of the path that the incident is about.

    Args:
        settings: where the lake is.
        order: the incident.
        spec: what is watched of the model; says where outcomes come from.
        window: of time.
        seed: decides in which order sources are read.
        now: outcomes that are not due by then are not known.
    """

    settings: Settings
    order: Order
    spec: MonitorSpec
    window: Window
    seed: int
    now: datetime
    sources: list[int] = field(default_factory=lambda: [0, 0])
    """Pieces of the log, or runs: read, and there in all."""
    trouble: list[str] = field(default_factory=list)
    """What could not be read, and why."""

    @property
    def of_runs(self) -> bool:
        """Whether rows are those of runs."""
        return bool(self.order.details.get("path") == "batch")

    def tables(self) -> Iterator[pa.Table]:
        """Yield rows: (n_rows, facts, outputs, features, and OUTCOME where labels are watched).

        Raises:
            StoreUnavailable, BundleInvalid: they cannot be read now.
        """
        bundles = bundle_store(self.settings)
        bundle_of = cache(lambda digest: read_bundle(bundles.path(digest)))
        contract_of = contracts_in(bundles.path, bundles.digests)
        labels = None
        if self.spec.labels is not None:
            path = placed_labels(self.spec.labels, self.settings.lake.resolve())
            labels = KnownLabels(self.spec.labels, path, self.now)
        for table in self._of_runs(bundle_of) if self.of_runs else self._of_log(contract_of):
            told = table
            if labels is not None and table.num_rows:
                try:
                    told = _with_outcome(table, labels, contract_of)
                except TwinscoreError as error:  # cases are drawn all the same
                    self.trouble.append(error.message)
                    labels = None
            yield told

    def _of_log(self, contract_of: Callable[[str], Contract]) -> Iterator[pa.Table]:
        log = open_log(self.settings.lake, self.order.model)
        pieces = _shuffled(pieces_of(log), self.seed)
        role = str(self.order.details.get("role") or "")
        for self.sources in ([place + 1, len(pieces)] for place in range(len(pieces))):
            yield from read_piece(
                log, pieces[self.sources[0] - 1], contract_of, window=self.window, roles=[role] if role else _ROLES,
                on_damage=lambda found: self.trouble.append(found.message),
            )  # fmt: skip

    def _of_runs(self, bundle_of: Callable[[str], Bundle]) -> Iterator[pa.Table]:
        lake = self.settings.lake.resolve()
        runs = _shuffled(runs_between(lake, self.order.model, self.spec.datasets, self.window), self.seed)
        for place, run in enumerate(runs):
            self.sources = [place + 1, len(runs)]
            note, tables = rows_of_run(run, bundle_of)
            if note:
                self.trouble.append(f"run {run.manifest['run_id']}: {note}")
            yield from tables


def _with_outcome(table: pa.Table, labels: KnownLabels, contract_of: Callable[[str], Contract]) -> pa.Table:
    """Return rows with their outcomes; numbers are no strata, so rows without a decision are left as they are."""
    if table["decision"].null_count == table.num_rows:
        return table
    digest = next((one for one in table["bundle_digest"].to_pylist() if one), None)
    if digest is None:
        return table
    names = [name for name in table.column_names if name.startswith(FEATURE)]
    raw = table.select(names).rename_columns([name.removeprefix(FEATURE) for name in names])
    known = labels.outcomes(raw, contract_of(digest), table["request_id"], table["received_at"])
    return table.append_column(OUTCOME, known.value.cast(pa.string()))


def _shuffled(sources: Sequence[Any], seed: int) -> list[Any]:
    found = list(sources)
    random.Random(seed).shuffle(found)
    return found
