"""A disk that is full or read-only: the run says so, shows nothing, and ends when there is room again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import StoreUnavailable
from twinscore.settings import Settings

from .conftest import model_version, workers_here


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


def test_a_read_only_disk(small_disk: Path, settings: Settings, bundle: Bundle, data: Path) -> None:
    """A place that may not be written is named before a row is scored."""
    remount(small_disk, "ro")
    spec = ScoreSpec(model="demo", input=str(data), output=str(small_disk / "out"))

    with pytest.raises(StoreUnavailable, match=r"cannot be written: Read-only file system"):
        run_version(settings, spec, model_version(bundle), bundle, workers=workers_here)
