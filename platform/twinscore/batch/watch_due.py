"""Which sources of a model there are, pieces of its audit log and runs, and which must be counted; knows no Ray."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twinscore.audit.places import model_folder
from twinscore.audit.watched import PieceState, piece_state
from twinscore.audit.window import Piece, pieces_of
from twinscore.batch.manifest import MANIFEST
from twinscore.batch.read import open_run
from twinscore.batch.watch_run import run_state
from twinscore.errors import TwinscoreError
from twinscore.monitoring.spec import period
from twinscore.monitoring.tally import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinscore.monitoring.spec import MonitorSpec, WatchedLabels
    from twinscore.ports.window_store import SourceEntry

__all__ = ["Source", "how_of", "mature_from", "runs_of", "sources_of", "what_is_due"]

_COUNTS = 1
"""Raised when rows are counted in another way, so that all sources are counted anew."""
_PREDICTIONS = "predictions"


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
    """Yield every source that there is now: the log's pieces in order, then the runs by id."""
    log = model_folder(lake, model)
    for piece in pieces_of(log) if log.is_dir() else []:
        state = piece_state(log, piece)
        if state is not None:
            yield Source(
                f"audit-{piece.stream}-{piece.segment:010d}", "piece", stream=piece.stream, segment=piece.segment,
                token=state.token, chain=state.chain,
            )  # fmt: skip
    for run_id, folder in sorted(runs_of(lake, model, spec).items()):
        yield Source(f"run-{run_id}", "run", folder=str(folder), token=run_state(open_run(folder)))


def runs_of(lake: Path, model: str, spec: MonitorSpec) -> dict[str, Path]:
    """Return the folder of each of a model's runs that is watched, refused ones too, by run id.

    Looked at are the folders of the lake that `monitor.datasets` names, or all of `predictions`.
    """
    found: dict[str, Path] = {}
    for place in spec.datasets or (_PREDICTIONS,):
        for top, folders, files in os.walk(lake / place):
            if MANIFEST not in files:
                folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
                continue
            folders.clear()
            try:
                manifest = open_run(Path(top)).manifest
            except TwinscoreError:
                continue  # nothing that a run left
            if manifest.get("model") == model and "finished_at" in manifest:
                found.setdefault(manifest["run_id"], Path(top))
    return found


def how_of(spec: MonitorSpec) -> str:
    """Return what decides how rows are counted; where it is another, all sources are counted anew."""
    labels = None if spec.labels is None else asdict(spec.labels)
    facts = [_COUNTS, sorted(PARTS), spec.window, spec.segments, spec.groups, labels]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def mature_from(labels: WatchedLabels, now: datetime) -> datetime:
    """Return the instant from which on rows are too young for an outcome."""
    return now if labels.maturity.strip() in ("0", "0s") else now - period(labels.maturity, "labels.maturity")


def what_is_due(
    source: Source, entry: SourceEntry | None, spec: MonitorSpec, *, labels_token: str, now: datetime
) -> Literal["count", "glance"] | None:
    """Return what must be done about a source: count it, glance at its outcomes, or nothing."""
    if entry is None or entry.state["how"] != how_of(spec) or not source.same_as(dict(entry.state)):
        return "count"
    if spec.labels is None or not entry.windows:
        return None
    first, last = entry.windows[0][0], max(end for _, end, _ in entry.windows)
    if last < now - period(spec.labels.horizon, "labels.horizon"):
        return None
    if entry.state["labels"] != labels_token:
        return "glance"
    before, mature = datetime.fromisoformat(entry.state["mature"]), mature_from(spec.labels, now)
    ripened = before < last and mature > first and mature > before
    return "glance" if ripened and now - mature > timedelta() else None
