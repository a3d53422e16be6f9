"""A retry that is killed: nothing is visible, and the next call completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.read import open_run
from twinscore.batch.retry import retry_with
from twinscore.bundle.files import Bundle

from .conftest import Run, change, make_input, write_rows

DRIVER = """
import os, signal, sys
from pathlib import Path
from twinscore.batch import linked, retry
from twinscore.batch.read import open_run
from twinscore.bundle.files import read_bundle

where, bundle, run, repaired = sys.argv[1:]

def die(*args, **more):
    os.kill(os.getpid(), signal.SIGKILL)

def after(module, name):
    real = getattr(module, name)
    def call(*args, **more):
        real(*args, **more)
        die()
    setattr(module, name, call)

if where == "locked":
    linked.LinkedWriter.staging = die
elif where == "scored":
    after(retry, "score_shard")
elif where == "moved":
    linked.write_whole = die
elif where == "written":
    after(linked, "write_whole")
elif where == "committed":
    linked.LinkedWriter.__exit__ = die
retry.retry_with(open_run(Path(run)), read_bundle(Path(bundle)), repaired)
"""


@pytest.mark.parametrize("where", ["locked", "scored", "moved", "written", "committed"])
def test_killed_retry_is_all_or_nothing(run: Run, data: Path, bundle: Bundle, tmp_path: Path, where: str) -> None:
    """Killed at any step: readers see the run as it was until the one rename, and the next call ends the work."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", {3: -5, 4: -5, 5: -5}))
    folder = run().folder
    table = change(make_input(seed=0).take(pa.array([3, 4])), "age", {1: -9})
    write_rows(tmp_path / "fixed.parquet", table)
    words = [sys.executable, "-c", DRIVER, where, str(bundle.folder), str(folder), str(tmp_path / "fixed.parquet")]
    died = subprocess.run(words, env=dict(os.environ), capture_output=True, text=True, check=False)
    made = open_run(folder)
    committed = where == "committed"

    assert died.returncode == -signal.SIGKILL, died.stderr
    made.verify()
    assert len(made.linked) == int(committed)
    assert len(pd.read_parquet(folder)) == made.predictions().num_rows == 2_997 + int(committed)
    assert sorted(made.quarantine()["row_id"].to_pylist()) == ["r0-3", "r0-4", "r0-5"][int(committed) :]

    report = retry_with(made, bundle, str(tmp_path / "fixed.parquet"))
    made.verify()
    assert report.already_committed == committed
    assert (report.rows_scored, report.rows_quarantined) == (1, 1)
    assert pq.read_table(folder).num_rows == 2_998
    assert [path.name for path in (folder / "_linked").iterdir() if path.is_dir()] == []
