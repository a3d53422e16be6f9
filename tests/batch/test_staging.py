"""How a run becomes visible: once, whole, and never over something else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from twinscore.batch.manifest import committed_run
from twinscore.batch.parts import UNFINISHED
from twinscore.batch.staging import Staging, drop_interrupted, interrupted_runs, is_current
from twinscore.errors import PredictFailed, RunRefused, SchemaMismatch, StoreConflict, StoreUnavailable

from .conftest import everything_below

RUN = "a1" * 8


def fill(staging: Staging, name: str = "part-00000.parquet") -> None:
    (staging.folder / name).write_text(staging.run_id)


def manifest(run_id: str) -> dict[str, object]:
    return {"run_id": run_id, "files": []}


def test_nothing_is_seen_before_the_commit(tmp_path: Path) -> None:
    """The target appears with the manifest in it, and what was hidden is gone."""
    with Staging(tmp_path / "out", "a1") as staging:
        fill(staging)
        before = committed_run(tmp_path / "out"), (tmp_path / "out").exists()
        staging.commit(manifest("a1"))

    assert (None, False) == before
    assert committed_run(tmp_path / "out") == manifest("a1")
    assert everything_below(tmp_path) == {"out", "out/_manifest.json", "out/part-00000.parquet"}


@pytest.mark.parametrize("error", [SchemaMismatch("x"), StoreConflict("x"), RunRefused("x")])
def test_an_error_of_the_data_leaves_nothing(tmp_path: Path, error: Exception) -> None:
    """When the run can never be, neither staging nor lock stays."""

    def fail() -> None:
        with Staging(tmp_path / "deep" / "out", "a1") as staging:
            fill(staging)
            raise error

    with pytest.raises(type(error)):
        fail()

    assert everything_below(tmp_path) == {"deep"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), PredictFailed("x"), StoreUnavailable("x")])
def test_an_error_from_outside_keeps_what_is_done(tmp_path: Path, error: BaseException) -> None:
    """What is finished stays for the next attempt, with the facts of the first; unfinished files go."""

    def fail() -> None:
        with Staging(tmp_path / "out", RUN, {"run_id": RUN, "said": "first"}) as staging:
            fill(staging)
            fill(staging, f".part-00001.parquet.1{UNFINISHED}")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [{"run_id": RUN, "said": "first"}] == interrupted_runs(tmp_path / "out")
    with Staging(tmp_path / "out", RUN, {"run_id": RUN, "said": "second"}) as staging:
        said, resumed = staging.facts["said"], staging.resumed
        assert [] == interrupted_runs(tmp_path / "out")
        staging.commit(manifest(RUN))

    assert ("first", True) == (said, resumed)
    assert everything_below(tmp_path) == {"out", "out/_manifest.json", "out/part-00000.parquet"}


def test_restart_drops_what_is_done(tmp_path: Path) -> None:
    """Asked to, an attempt begins anew."""
    staging = Staging(tmp_path / "out", RUN)
    with pytest.raises(KeyboardInterrupt), staging:
        raise KeyboardInterrupt
    fill(staging)

    with Staging(tmp_path / "out", RUN, restart=True) as staging:
        assert [] == list(staging.folder.glob("part-*"))


def test_a_dropped_run_is_gone(tmp_path: Path) -> None:
    """What an interrupted run left can be deleted by its id; a run that somebody writes stays."""
    with pytest.raises(KeyboardInterrupt), Staging(tmp_path / "out", RUN):
        raise KeyboardInterrupt
    drop_interrupted(tmp_path / "out", RUN)
    after = everything_below(tmp_path)
    with Staging(tmp_path / "out", RUN) as staging:
        drop_interrupted(tmp_path / "out", RUN)
        assert staging.folder.is_dir()

    assert set() == after


def test_an_attempt_knows_whether_it_is_the_last(tmp_path: Path) -> None:
    """A worker of an earlier attempt sees that the folder is no longer its own."""
    with Staging(tmp_path / "out", RUN) as first:
        before = is_current(first.folder, first.attempt)
    with Staging(tmp_path / "out", RUN) as second:
        seen = is_current(second.folder, first.attempt), is_current(second.folder, second.attempt)

    assert (True, (False, True)) == (before, seen)
    assert not is_current(second.folder, second.attempt)


def test_the_second_of_two_runs_is_superseded(tmp_path: Path) -> None:
    """Two runs for one target: the first to commit stays, the other is told by name and leaves nothing."""
    with Staging(tmp_path / "out", "a1") as first, Staging(tmp_path / "out", "b2") as second:
        fill(first)
        fill(second)
        first.commit(manifest("a1"))
        with pytest.raises(StoreConflict, match="Run b2 is superseded by run a1"):
            second.commit(manifest("b2"))

    assert (tmp_path / "out" / "part-00000.parquet").read_text() == "a1"
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_fifty_races_have_one_winner_each(tmp_path: Path) -> None:
    """However two runs interleave, one commits and the other is refused."""
    for race in range(50):
        target = tmp_path / str(race)
        outcomes: list[str] = []
        barrier = threading.Barrier(2)

        def contend(
            run_id: str, target: Path = target, outcomes: list[str] = outcomes, barrier: threading.Barrier = barrier
        ) -> None:
            with Staging(target, run_id) as staging:
                fill(staging)
                barrier.wait()
                try:
                    staging.commit(manifest(run_id))
                    outcomes.append(run_id)
                except StoreConflict:
                    outcomes.append("superseded")

        threads = [threading.Thread(target=contend, args=(run_id,)) for run_id in ("a1", "b2")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winner = (target / "part-00000.parquet").read_text()
        assert sorted(["superseded", winner]) == sorted(outcomes)


def test_the_same_run_is_written_by_one_process(tmp_path: Path) -> None:
    """While a process holds the run, another is refused with its number, and the first is not disturbed."""
    holder = (
        "import sys, pathlib; from twinscore.batch.staging import Staging\n"
        "with Staging(pathlib.Path(sys.argv[1]), 'a1') as staging:\n"
        "    print('held', flush=True); sys.stdin.readline()\n"
        "    staging.commit({'run_id': 'a1', 'files': []})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreConflict, match=f"by process {process.pid} right now"), Staging(tmp_path / "out", "a1"):
            pass
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0

    assert committed_run(tmp_path / "out") == manifest("a1")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_refusal_keeps_the_quarantine_only(tmp_path: Path) -> None:
    """What was refused is kept beside the target, with the report; an older refusal of the same run makes way."""
    for _ in range(2):
        with Staging(tmp_path / "out", "a1") as staging:
            fill(staging)
            fill(staging, "_quarantine/part-00000.parquet")
            place = staging.refuse(manifest("a1"))

    assert place == tmp_path / "out.refused-a1"
    assert everything_below(place) == {"_manifest.json", "_quarantine", "_quarantine/part-00000.parquet"}
    assert {path.name for path in tmp_path.iterdir()} == {"out.refused-a1"}


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json"])
def test_a_broken_manifest_is_no_run(tmp_path: Path, content: str) -> None:
    """A manifest that says nothing is refused, not overwritten."""
    (tmp_path / "_manifest.json").write_text(content)

    with pytest.raises(StoreConflict, match="cannot be read"):
        committed_run(tmp_path)


def test_a_file_in_the_place_of_the_output(tmp_path: Path) -> None:
    """A run becomes a folder; a file there is somebody's."""
    (tmp_path / "out").write_text("x")

    with pytest.raises(StoreConflict, match="is a file"):
        committed_run(tmp_path / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_named(tmp_path: Path) -> None:
    """A place that may not be written is named before anything is scored."""
    tmp_path.chmod(0o500)

    with pytest.raises(StoreUnavailable, match="cannot be written"), Staging(tmp_path / "out", "a1"):
        pass
