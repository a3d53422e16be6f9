"""SIGKILL of a writing process, again and again: what was acknowledged is in the log, and nothing was made up."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from twinscore.audit.places import STREAMS
from twinscore.audit.reader import read_model
from twinscore.audit.verify import verify_model

from .logs import KEY

WRITER = """
import os, sys, threading
from pathlib import Path
from twinscore.audit.record import AuditRecord, encode_record
from twinscore.audit.writer import SegmentWriter

folder, life = Path(sys.argv[1]), sys.argv[2]
writer = SegmentWriter(folder, stream="s", key=b"k" * 32, segment_bytes=20_000, reserve_bytes=4096)

def run(name):
    for number in range(1_000_000):
        ident = f"{life}-{name}-{number}"
        record = AuditRecord(ident, "live", 0, 0, 0, 200, rows=[[1.0] * (number % 40)])
        os.write(1, f"sent {ident}\\n".encode())
        writer.commit([encode_record(record)])
        os.write(1, f"acked {ident}\\n".encode())

for name in range(4):
    threading.Thread(target=run, args=(name,), daemon=True).start()
threading.Event().wait()
"""


@pytest.mark.parametrize("lives", [20, pytest.param(200, marks=[pytest.mark.chaos, pytest.mark.timeout(1_800)])])
def test_no_acknowledged_record_is_lost(tmp_path: Path, lives: int) -> None:
    """One stream, many lives: every id that a caller was told of is in the log once, and none that was never sent."""
    rng = random.Random(7)
    sent: set[str] = set()
    acked: set[str] = set()
    for life in range(lives):
        command = [sys.executable, "-c", WRITER, str(tmp_path / STREAMS), str(life)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines: list[str] = []
            reader = threading.Thread(target=lambda source=process.stdout, into=lines: into.extend(source))
            reader.start()
            until = time.monotonic() + 60
            while len(lines) < 20 and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            reader.join()
        words = [line.split() for line in lines if line.endswith("\n")]
        sent |= {word[1] for word in words if word[0] == "sent"}
        acked |= {word[1] for word in words if word[0] == "acked"}
    found = [entry.record.request_id for entry in read_model(tmp_path)]
    (state,) = verify_model(tmp_path, KEY)

    assert len(acked) > 5 * lives
    assert acked - set(found) == set()
    assert set(found) - sent == set()
    assert len(found) == len(set(found))
    assert () == state.faults
    assert lives - 1 <= state.segments
