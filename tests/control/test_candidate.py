"""Looks at versions in real processes with real limits, and what is remembered of them."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.adapters.mlflow_client import connect
from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.control.candidate import Candidates, CheckLimits, _settled, check_candidate
from twinscore.rollout.candidate import Checked
from twinscore.settings import Settings
from twinscore.wiring import alias_store

from .patience import until
from .test_examine import bundle_in, sealed

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

    from .conftest import Register

_PATIENCE_S = 120


def wait_until(told: Callable[[], Checked], wanted: Callable[[Checked], bool]) -> Checked:
    """Ask until the answer is as wanted."""
    deadline = time.monotonic() + _PATIENCE_S
    while not wanted(found := told()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def examiners() -> list[int]:
    """Return the processes of looks that this one started and that still run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            mine = parent == os.getpid() and "twinscore.control.examine" in (folder / "cmdline").read_text()
        except OSError:
            continue
        found += [int(folder.name)] if mine else []
    return found


@pytest.fixture(scope="module")
def black_hole(platform: Settings) -> Iterator[str]:
    """A model whose artifact store takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = connect(platform.embedded_registry_uri)
        client.create_registered_model("hole")
        client.create_model_version(
            "hole", f"http://127.0.0.1:{server.getsockname()[1]}/api/2.0/mlflow-artifacts/artifacts/m"
        )
        yield "hole"


def test_a_version_that_eats_memory_dies_alone(platform: Settings, register: Register) -> None:
    """A few kilobytes that unfold into half a gigabyte refuse the version, and leave nothing behind."""
    folder = bundle_in(register("bomb", "d" * 64))
    alias_store(platform).tag("bomb", "1", BUNDLE_TAG, None)
    part = pa.table({"row": pa.array(np.zeros(10_000_000, np.int64))})
    with pq.ParquetWriter(folder / "golden.parquet", part.schema) as writer:
        for _ in range(6):
            writer.write_table(part)
    sealed(folder)
    before = set(Path(tempfile.gettempdir()).glob("twinscore-*"))

    checked = check_candidate(platform, "bomb", "1", limits=CheckLimits(memory_mb=300))

    assert checked.refused.startswith("golden rows: golden.parquet in bomb/1"), checked
    assert "alloc" in checked.refused
    assert set(Path(tempfile.gettempdir()).glob("twinscore-*")) - before == set()


def test_a_store_that_never_answers_is_left(platform: Settings, black_hole: str) -> None:
    """A look that is still fetching when its time is over ends, and says so; no process of it stays."""
    checked = check_candidate(platform, black_hole, "1", time_s=4.0)

    assert "fetch: looking at hole/1 ended without a verdict, for it took longer than 4 s." == checked.waiting
    assert [] == examiners()


def test_a_look_goes_on_until_the_files_are_there(platform: Settings, register: Register, bundle: Bundle) -> None:
    """While the files are away the version waits; once they are back it is fit, stays so, and whoever waits is told."""
    files = register("late", "e" * 64)
    alias_store(platform).tag("late", "1", BUNDLE_TAG, None)
    away = files.rename(files.with_name("away"))

    told: list[str] = []
    limits = CheckLimits(deadline_s=_PATIENCE_S, retry_s=2.0)

    with closing(Candidates(platform, limits=limits, on_verdict=told.append)) as candidates:
        assert "check" == candidates.look("late", "1").piece
        waiting = wait_until(lambda: candidates.look("late", "1"), lambda found: found.piece == "fetch")
        assert [] == told
        away.rename(files)
        fit = wait_until(lambda: candidates.look("late", "1"), lambda found: found.fit)

        assert "could not read the files of late/1" in waiting.waiting
        assert Checked(version="1", digest=bundle.digest) == fit == candidates.look("late", "1")
        until(lambda: told == ["late"])


def test_a_missing_registry_refuses_nothing(platform: Settings, free_port: int) -> None:
    """While the registry is away a version waits, for that says nothing about it."""
    away = platform.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{free_port}"})

    with closing(Candidates(away, limits=CheckLimits(deadline_s=40.0, retry_s=60.0))) as candidates:
        found = wait_until(lambda: candidates.look("late", "1"), lambda found: found.piece != "check")

        assert "registry" == found.piece
        assert not found.refused


@pytest.mark.parametrize(
    ("found", "waited_s", "expected"),
    [
        (Checked(version="1", waiting="fetch: no answer."), 10.0, Checked(version="1", waiting="fetch: no answer.")),
        (
            Checked(version="1", waiting="fetch: no answer."),
            47.0,
            Checked(version="1", refused="fetch: no answer. This went on for 47 s."),
        ),
        (Checked(version="1", waiting="registry: away."), 900.0, Checked(version="1", waiting="registry: away.")),
        (Checked(version="1", waiting="lake: full."), 900.0, Checked(version="1", waiting="lake: full.")),
        (Checked(version="1", refused="bundle: none."), 0.0, Checked(version="1", refused="bundle: none.")),
        (Checked(version="1", digest="a" * 64), 900.0, Checked(version="1", digest="a" * 64)),
    ],
)
def test_only_files_that_stay_away_are_refused_late(found: Checked, waited_s: float, expected: Checked) -> None:
    """When no time is left for another look, a version is refused for its files; our own trouble is waited for."""
    assert expected == _settled(found, waited_s, CheckLimits(deadline_s=50.0, retry_s=2.0))


def test_closing_leaves_no_process(platform: Settings, black_hole: str) -> None:
    """What looks when everything ends is ended, too."""
    candidates = Candidates(platform)
    wait_until(lambda: candidates.look(black_hole, "1"), lambda _: bool(candidates._busy))
    candidates.close()

    threads = [thread for thread in threading.enumerate() if thread.name == "candidate"]
    for thread in threads:
        thread.join(_PATIENCE_S)
    assert [] == examiners()
