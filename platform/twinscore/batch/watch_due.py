"""Which sources of a model there are, pieces of its audit log and runs, and which must be counted; knows no Ray."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from twinscore.audit.places import REMOVED, model_folder
from twinscore.audit.watched import PieceState, is_whole, piece_state
from twinscore.audit.window import Piece, pieces_of
from twinscore.batch.runs import known_runs
from twinscore.batch.watch_labels import labels_token, placed_labels
from twinscore.batch.watch_run import run_state
from twinscore.monitoring.tally import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.ports.window_store import SourceEntry, WindowStore

__all__ = ["Source", "how_of", "sources_of", "unread_pieces", "what_is_due"]

_COUNTS = 2
"""Raised when rows are counted in another way, so that all sources are counted anew."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from; plain values."""

    name: str
    kind: Literal["piece", "run"]
    folder: str = ""
    """Of a run."""
    stream: str = ""
    segment: int = 0
    token: str = ""
    """What tells its content of now from another."""
    chain: str = ""

    @property
    def piece(self) -> Piece:
        """The piece of the log."""
        return Piece(self.stream, self.segment)

    def same_as(self, state: dict[str, Any]) -> bool:
        """Return whether what was counted is what is there."""
        if self.kind == "run":
            return bool(self.token == state["token"])
        return PieceState(self.token, self.chain).same_as(PieceState(state["token"], state["chain"]))


def sources_of(lake: Path, model: str, spec: MonitorSpec) -> Iterator[Source]:
    """Yield every source that there is now: the log's pieces in order, then the runs by id, refused ones too."""
    log = model_folder(lake, model)
    removed_nothing = not (log / REMOVED).is_dir()
    for piece in pieces_of(log) if log.is_dir() else []:
        state = piece_state(log, piece)
        # What was counted of rows that were removed since stays as it is: there is nothing to count it anew from.
        if state is not None and (removed_nothing or is_whole(log, piece)):
            yield Source(
                f"audit-{piece.stream}-{piece.segment:010d}", "piece", stream=piece.stream, segment=piece.segment,
                token=state.token, chain=state.chain,
            )  # fmt: skip
    known = known_runs(lake, model, spec.datasets)
    runs = {run.manifest["run_id"]: run for run in (*known.committed, *known.refused)}
    for run_id, run in sorted(runs.items()):
        yield Source(f"run-{run_id}", "run", folder=str(run.folder), token=run_state(run))


def how_of(spec: MonitorSpec) -> str:
    """Return what decides how rows are counted; where it is another, all sources are counted anew."""
    labels = None if spec.labels is None else asdict(spec.labels)
    facts = [_COUNTS, sorted(PARTS), spec.window, spec.segments, spec.groups, spec.attribution_share, labels]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def unread_pieces(store: WindowStore, lake: Path, model: str, spec: MonitorSpec, *, now: datetime) -> list[Piece]:
    """Return the pieces of a model's log whose rows the next look would read.

    Raises:
        FileUnreadable, SchemaMismatch: the labels cannot be read.
    """
    token = "" if spec.labels is None else labels_token(spec.labels, placed_labels(spec.labels, lake))
    entries = store.entries()
    return [
        source.piece for source in sources_of(lake, model, spec)
        if source.kind == "piece"
        and what_is_due(source, entries.get(source.name), spec, labels_token=token, now=now) is not None
    ]  # fmt: skip


def what_is_due(
    source: Source, entry: SourceEntry | None, spec: MonitorSpec, *, labels_token: str, now: datetime
) -> Literal["count", "glance"] | None:
    """Return what must be done about a source: count it, glance at its outcomes, or nothing."""
    if entry is None or entry.state["how"] != how_of(spec) or not source.same_as(dict(entry.state)):
        return "count"
    if spec.labels is None or not entry.windows:
        return None
    first, last = entry.windows[0][0], max(end for _, end, _ in entry.windows)
    if last < spec.labels.revised_from(now):
        return None
    if entry.state["labels"] != labels_token:
        return "glance"
    before, mature = datetime.fromisoformat(entry.state["mature"]), spec.labels.mature_from(now)
    ripened = before < last and mature > first and mature > before
    return "glance" if ripened and now - mature > timedelta() else None
