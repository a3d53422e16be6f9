"""A disk that is full or read-only: the run says so, shows nothing, and ends when there is room again."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import PublishSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import StoreUnavailable
from twinscore.settings import Settings

from .conftest import Run, model_version, workers_here


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, of which mounting is allowed here or the test is skipped."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def remount(place: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{','.join(options)}", str(place)], check=True)


def test_a_full_disk(small_disk: Path, settings: Settings, bundle: Bundle, data: Path) -> None:
    """Nothing is visible; with more room the same call goes on with the finished shards."""
    spec = ScoreSpec(model="demo", input=str(data), output=str(small_disk / "out"), shard_rows=400)
    with pytest.raises(StoreUnavailable, match=r"cannot be written: .*[Nn]o space left"):
        run_version(settings, spec, model_version(bundle), bundle, workers=workers_here)
    seen = (small_disk / "out").exists()
    remount(small_disk, "size=16m")
    report = run_version(settings, spec, model_version(bundle), bundle, workers=workers_here)
    open_run(report.folder).verify()

    assert not seen
    assert 3_000 == report.rows_in == report.rows_scored
    assert report.manifest["rows_kept"] > 0


def test_a_full_disk_inside_a_sink(small_disk: Path, run: Run, tmp_path: Path) -> None:
    """The run stays committed, no row of it is in the table, and the same call publishes when there is room."""
    place = small_disk / "scores.db"
    publish = (PublishSpec(to=f"sqlite:///{place}", table="scores"),)
    with pytest.raises(StoreUnavailable) as caught:
        run(publish=publish)
    with closing(sqlite3.connect(place)) as connection:
        before = [
            connection.execute(f"select count(*) from {table}").fetchone()[0] for table in ("scores", "twinscore_runs")
        ]
    open_run(tmp_path / "out").verify()
    remount(small_disk, "size=16m")
    again = run(publish=publish)
    with closing(sqlite3.connect(place)) as connection:
        (rows,) = connection.execute("select count(*) from scores").fetchone()

    assert "is committed at" in caught.value.message
    assert "database or disk is full. Make room on the disk." in caught.value.message
    assert caught.value.message.endswith("Run the same again to publish it.")
    assert [0, 0] == before
    assert (True, False, 3_000) == (again.already_committed, again.published[0].already_there, rows)


def test_a_read_only_disk(small_disk: Path, settings: Settings, bundle: Bundle, data: Path) -> None:
    """A place that may not be written is named before a row is scored."""
    remount(small_disk, "ro")
    spec = ScoreSpec(model="demo", input=str(data), output=str(small_disk / "out"))

    with pytest.raises(StoreUnavailable, match=r"cannot be written: Read-only file system"):
        run_version(settings, spec, model_version(bundle), bundle, workers=workers_here)
