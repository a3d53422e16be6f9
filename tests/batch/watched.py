"""A home with a real audit log and versions in its store, and looks at it in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.audit.compaction import Compacted, compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, contracts_in
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.record import AuditRecord, encode_record, outputs_of
from twinscore.audit.writer import SegmentWriter
from twinscore.batch.watch import Look, watch_once
from twinscore.batch.watch_count import count_here
from twinscore.batch.watch_windows import window_tallies
from twinscore.bundle.files import Bundle
from twinscore.clock import FixedClock
from twinscore.monitoring.figure import Figure
from twinscore.monitoring.spec import MonitorSpec, period
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.window_key import WindowKey
from twinscore.scoring.table import score
from twinscore.settings import Settings
from twinscore.testing.models import make_rows
from twinscore.wiring import bundle_store, window_store

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
MODEL = "loans"


@dataclass
class Watched:
    """One model's log, and what is watched of it."""

    settings: Settings
    bundle: Bundle
    spec: MonitorSpec = field(default_factory=MonitorSpec)
    now: datetime = START + timedelta(days=1)
    model: str = MODEL

    @property
    def log(self) -> Path:
        """The folder of the log."""
        return model_folder(self.settings.lake, self.model)

    def write(
        self, seed: int, rows: int, *, start: datetime = START, step_s: float = 1.0, stream: str = "r1",
        segment_bytes: int = 60_000, close: bool = True, repeat: int = 0, role: str = "live",
        change: Callable[[pa.Table], pa.Table] = lambda rows: rows,
    ) -> SegmentWriter:  # fmt: skip
        """Record answers to `rows` requests of one row, beginning with the ids of `seed`."""
        table = self.bundle.checker.conform(change(make_rows("binary", rows, seed).drop_columns(["label"])))
        outputs = score(table, self.bundle).to_pylist()
        records = []
        for number, row in enumerate(table.to_pylist()):
            at = int((start + timedelta(seconds=number * step_s)).timestamp() * 1e6)
            records.append(self.record(f"q-{seed}-{number}", at, list(row.values()), outputs[number], role=role))
        records += records[:repeat]
        writer = self.writer(stream, segment_bytes)
        for first in range(0, len(records), 20):
            writer.commit([encode_record(one) for one in records[first : first + 20]])
        if close:
            writer.close()
        return writer

    def writer(self, stream: str, segment_bytes: int) -> SegmentWriter:
        """A writer of the log."""
        return SegmentWriter(
            self.log / STREAMS, stream=stream, key=load_secret(audit_key(self.settings.home)),
            segment_bytes=segment_bytes, reserve_bytes=1024,
        )  # fmt: skip

    def record(self, name: str, at_us: int, cells: list[Any] | None, scored: Any, **more: Any) -> AuditRecord:
        """One answered request."""
        facts: dict[str, Any] = {
            "role": "live", "monotonic_ns": at_us * 1000, "took_us": 400 + at_us // 1_000_000 % 7, "status": 200,
            "model": self.model, "version": "1", "bundle_digest": self.bundle.digest,
            "contract_digest": self.bundle.contract_digest, "rows": [] if cells is None else [cells],
            "outputs": [] if scored is None else [outputs_of(scored)],
        }  # fmt: skip
        return AuditRecord(request_id=name, received_us=at_us, **(facts | more))

    def compact(self) -> Compacted:
        """Compact what is sealed."""
        return compact_model(
            self.log, load_secret(audit_key(self.settings.home)), contracts_in(bundle_store(self.settings).path)
        )

    def look(self, **more: Any) -> Look:
        """Look once, in this process."""
        return watch_once(
            self.settings, self.model, self.spec, clock=FixedClock(self.now), **({"count": count_here} | more)
        )

    def tallies(self) -> dict[WindowKey, WindowTally]:
        """Return every window's tally."""
        store = window_store(self.settings.lake, self.model)
        starts = sorted({start for entry in store.entries().values() for start, _, _ in entry.windows})
        found = window_tallies(store, starts, period(self.spec.window, "window"))
        return {key: tally for mine in found.values() for key, tally in sorted(mine.items())}

    def figures(self, metric: str = "", **where: Any) -> list[Figure]:
        """Return figures of a metric."""
        found = window_store(self.settings.lake, self.model).read()
        return [
            one for one in found
            if metric in ("", one.metric) and all(getattr(one, name) == value for name, value in where.items())
        ]  # fmt: skip


def rows_of(watched: Watched, **where: Any) -> dict[str, int]:
    """Scored rows by segment."""
    found: dict[str, int] = {}
    for key, tally in watched.tallies().items():
        if all(getattr(key, name) == value for name, value in where.items()):
            found[key.segment] = found.get(key.segment, 0) + tally.rows
    return found


def labels_file(watched: Watched, name: str, rows: range, seed: int = 1, flip: bool = False, days: int = 0) -> None:
    """Write outcomes of some of a seed's rows, known so many days after the start; a day, or two where they differ."""
    table = make_rows("binary", rows.stop, seed).slice(rows.start)
    label = [{"yes": "no", "no": "yes"}[one] if flip else one for one in table["label"].to_pylist()]
    folder = watched.settings.lake / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    known = pa.array([START + timedelta(days=days or 1 + flip)] * table.num_rows, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"row_id": table["row_id"], "paid": label, "at": known}), folder / name)
