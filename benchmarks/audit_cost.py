"""What the audit log costs: a record's bytes, its frame, a synced batch, shared syncs, compaction and replay.

    python benchmarks/audit_cost.py [--place FOLDER] [--seconds 3]

A record is that of a one-row request with 20 float64 columns. `--place` names the disk to write to; whatever else
writes to that disk is in the figures, so read the syncs beside the bare one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from twinscore.audit.compaction import compact_model
from twinscore.audit.places import STREAMS
from twinscore.audit.reader import read_model
from twinscore.audit.record import AuditRecord, encode_record
from twinscore.audit.segment import frame_batch
from twinscore.audit.writer import Piece, SegmentWriter
from twinscore.contract.model import Column, Contract
from twinscore.online.reply_gate import ReplyGate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = b"k" * 32
CONTRACT = Contract("bench", 1, tuple(Column(f"x{n}", pa.float64()) for n in range(20)), ("x0",), ())
DIGEST = CONTRACT.digest
RECORDS = 50_000


def make_record(number: int, cells: list[float]) -> AuditRecord:
    """Return a record as an endpoint makes it."""
    facts: dict[str, Any] = {"bundle_digest": "a" * 64, "contract_digest": DIGEST, "arm": "live"}
    outputs = [[0.31, "no", None, None, ["no", "yes"], 0.31, True, "ambiguous_set", None]]
    return AuditRecord(
        f"{number:032x}", "live", 1_767_261_600_000_000 + number * 100, number * 100_000, 250, 200, caller="key-1",
        entity="c-17", model="bench", version="7", assigned="live", rows=[cells], outputs=outputs, **facts,
    )  # fmt: skip


def best_us(call: Callable[[], object], n_calls: int) -> float:
    """Return the smallest mean processor time of a call, over several series, in microseconds."""
    found = []
    for _ in range(7):
        start = time.process_time_ns()
        for _ in range(n_calls):
            call()
        found.append((time.process_time_ns() - start) / n_calls / 1e3)
    return min(found)


def show(name: str, seconds: list[float]) -> None:
    """Print median and 99th percentile of waits."""
    spent = np.array(seconds) * 1e6
    print(f"{name:<44}{np.median(spent):>9,.0f} us   p99 {np.quantile(spent, 0.99):>9,.0f} us")


def bare_syncs(place: Path, payload: bytes, count: int) -> list[float]:
    """Return how long `fdatasync` of one record takes without anything of ours."""
    handle = os.open(place / "bare", os.O_WRONLY | os.O_CREAT)
    found = []
    for _ in range(count):
        os.write(handle, payload)
        start = time.perf_counter()
        os.fdatasync(handle)
        found.append(time.perf_counter() - start)
    os.close(handle)
    return found


def batches(writer: SegmentWriter, payload: bytes, size: int, count: int) -> list[float]:
    """Return how long a commit of `size` records takes in the calling thread."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        writer.commit([payload] * size)
        found.append(time.perf_counter() - start)
    return found


def appenders(writer: SegmentWriter, payload: bytes, count: int, seconds: float) -> tuple[list[float], int]:
    """Return how long each of `count` callers on one event loop waits until its record is durable, and the batches."""
    found: list[float] = []
    batches = 0

    class Counted:
        """The writer, and how many batches came to it."""

        end = staticmethod(writer.end)

        def commit(self, payloads: Sequence[bytes]) -> None:
            nonlocal batches
            writer.commit(payloads)
            batches += 1

        def begin(self, payloads: Sequence[bytes]) -> Piece | None:
            nonlocal batches
            piece = writer.begin(payloads)
            batches += piece is not None
            return piece

    async def run(gate: ReplyGate, until: float) -> None:
        while time.monotonic() < until:
            start = time.perf_counter()
            await gate.durable([payload])
            found.append(time.perf_counter() - start)

    async def all_of_them() -> None:
        log = Counted()
        gate = ReplyGate(log.commit, asyncio.get_running_loop(), log)
        until = time.monotonic() + seconds
        await asyncio.gather(*[run(gate, until) for _ in range(count)])
        gate.close()

    asyncio.run(all_of_them())
    return found, batches


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    structlog.configure(processors=[structlog.dev.ConsoleRenderer()])
    place = Path(tempfile.mkdtemp(dir=given.place))
    cells = np.random.default_rng(7).random((RECORDS, 20)).tolist()
    payload = encode_record(make_record(1, cells[0]))
    record = make_record(1, cells[0])
    print(f"record: {len(payload)} bytes; processor time:")
    print(f"{'make and encode a record':<44}{best_us(lambda: encode_record(make_record(1, cells[0])), 5_000):>9.2f} us")
    print(f"{'encode a record':<44}{best_us(lambda: encode_record(record), 20_000):>9.2f} us")
    for size in (1, 8, 64):
        batch = [os.urandom(700)] * size
        spent = best_us(lambda batch=batch: frame_batch(batch, 1, KEY), 20_000 // size) / size  # type: ignore[misc]
        print(f"{f'frame of 700 bytes, {size} at once':<44}{spent:>9.2f} us")
    print("wall time:")
    show("bare fdatasync of a record", bare_syncs(place, payload, 300))
    writer = SegmentWriter(place / STREAMS, stream="bench", key=KEY)
    for size in (1, 8, 64):
        show(f"commit in the calling thread, {size} at once", batches(writer, payload, size, 300))
    for count in (1, 8, 64):
        waits, synced = appenders(writer, payload, count, given.seconds)
        name = f"held replies, {count} callers"
        show(f"{name} ({len(waits) / given.seconds:,.0f}/s, {len(waits) / synced:.1f} a batch)", waits)
    writer.close()
    shutil.rmtree(place)
    compaction(place, cells)
    shutil.rmtree(place)


def compaction(place: Path, cells: list[list[float]]) -> None:
    """Print how fast records are read, and become Parquet."""
    writer = SegmentWriter(place / STREAMS, stream="bench", key=KEY, segment_bytes=8 << 20)
    payloads = [encode_record(make_record(number, row)) for number, row in enumerate(cells)]
    for start in range(0, RECORDS, 1_000):
        writer.commit(payloads[start : start + 1_000])
    writer.close()
    start_ns = time.process_time_ns()
    count = sum(1 for _ in read_model(place))
    print(f"{'read, with every check':<44}{count / (time.process_time_ns() - start_ns) * 1e9:>9,.0f} records/s")
    start_ns = time.process_time_ns()
    done = compact_model(place, KEY, lambda _: CONTRACT)
    print(f"{'compact':<44}{done.rows / (time.process_time_ns() - start_ns) * 1e9:>9,.0f} records/s")
    files = list(place.glob("date=*/*.parquet"))
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    print(f"{'Parquet':<44}{sum(path.stat().st_size for path in files) / rows:>9,.0f} bytes a row")


if __name__ == "__main__":
    main()
