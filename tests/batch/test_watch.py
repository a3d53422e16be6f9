"""Watching: each record once whatever happens in between, late outcomes, and the same numbers at any split."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twinscore.adapters.window_folder import WindowFolder
from twinscore.audit.record import encode_record
from twinscore.batch.watch import watch_again
from twinscore.batch.watch_source import WatchJob
from twinscore.bundle.files import Bundle
from twinscore.errors import StoreConflict
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.scored_rows import block_of
from twinscore.monitoring.spec import MonitorSpec, WatchedLabels
from twinscore.monitoring.tally import WindowTally
from twinscore.scoring.table import score
from twinscore.settings import Settings
from twinscore.testing.models import make_rows
from twinscore.wiring import bundle_store, window_store

from .watched import MODEL, START, Watched, count_here, labels_file, rows_of

HOUR = timedelta(hours=1)


def one_row(watched: Watched) -> tuple[list[Any], dict[str, Any]]:
    """Cells of a row, and what the version makes of it."""
    table = watched.bundle.checker.conform(make_rows("binary", 1, 9).drop_columns(["label"]))
    return list(table.to_pylist()[0].values()), score(table, watched.bundle).to_pylist()[0]


def test_rows_are_counted_as_the_bundle_sees_them(watched: Watched, bundle: Bundle) -> None:
    """The log's tally is that of the very rows, encoded and scored here; by hour, and by segment."""
    watched.spec = MonitorSpec(segments=("plan",), groups=("plan",))
    watched.write(3, 300, step_s=15.0)
    look = watched.look()
    table = bundle.checker.conform(make_rows("binary", 300, 3).drop_columns(["label"]))
    block = block_of(table, score(table, bundle), bundle, ("plan",))
    inside = np.arange(300) * 15.0 < 3600
    found = {key: tally for key, tally in watched.tallies().items() if not key.segment}

    assert (300, (), 2) == (look.rows, look.waiting, len(found))
    for tally, mask in zip(found.values(), (inside, ~inside), strict=True):
        expected = WindowTally.of(block.where(mask), plan_of(bundle))
        parts = {name: part for name, part in tally.parts.items() if name != "attribution"}
        assert (expected.features, expected.score, expected.parts) == (tally.features, tally.score, parts)
        assert (expected.decisions, expected.uncertainty) == (tally.decisions, tally.uncertainty)
        assert (int(mask.sum()), int(mask.sum())) == (tally.service.requests, tally.service.latency.n)
    by_plan = rows_of(watched)
    assert by_plan.pop("") == 300 == sum(by_plan.values())
    assert {"plan=basic", "plan=plus", "plan=premium"} == set(by_plan)


def test_a_second_look_counts_nothing_again(watched: Watched) -> None:
    """What is there is counted once; new records are added; compaction meanwhile changes nothing."""
    watched.write(1, 200)
    first = watched.look()
    before = watched.tallies()
    again = watched.look()
    watched.compact()
    compacted = watched.look()
    watched.write(2, 100, stream="r2")
    more = watched.look()

    assert (200, 0, 0, 100) == (first.rows, again.counted, compacted.counted, more.rows)
    assert () == again.windows == compacted.windows
    assert before != watched.tallies()
    assert {"": 300} == rows_of(watched)


def test_an_open_segment_is_counted_again_as_it_grows(watched: Watched) -> None:
    """Records of a segment whose writer is at work are seen, and are not counted twice when more come."""
    writer = watched.write(1, 40, close=False, segment_bytes=10_000_000)
    watched.look()
    first = rows_of(watched)
    cells, outputs = one_row(watched)
    at = int((START + timedelta(minutes=30)).timestamp() * 1e6)
    writer.commit([encode_record(watched.record("late", at, cells, outputs))])
    watched.look()
    second = rows_of(watched)
    writer.close()
    watched.compact()
    watched.look()

    assert ({"": 40}, {"": 41}, {"": 41}) == (first, second, rows_of(watched))


def test_a_repeat_that_compaction_leaves_out_is_taken_back(watched: Watched) -> None:
    """A request that was recorded twice counts once as soon as the log says so."""
    watched.write(1, 60, repeat=15)
    watched.look()
    before = rows_of(watched)
    collapsed = watched.compact().collapsed
    look = watched.look()

    assert (15, {"": 75}, {"": 60}) == (collapsed, before, rows_of(watched))
    assert look.counted >= 1
    assert [60.0] == [one.value for one in watched.figures("requests")]


def test_a_job_that_is_killed_is_made_up_for(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Bundle
) -> None:
    """Killed after each of its renames in turn, looks end with the numbers of one that nothing happened to."""
    watched.write(1, 150, segment_bytes=20_000)
    calm = a_calm_one(watched, tmp_path, bundle)
    real = Path.replace
    done = killed = 0

    def replace_once(self: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        if done > 1:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace_once)
    while killed < 20:
        done = 0
        try:
            watched.look()
        except KeyboardInterrupt:
            killed += 1
        else:
            break

    assert 3 <= killed < 20
    assert calm.tallies() == watched.tallies()
    assert calm.figures() == watched.figures()


@pytest.mark.chaos
def test_a_job_that_is_killed_with_kill_9_is_made_up_for(watched: Watched, tmp_path: Path, bundle: Bundle) -> None:
    """A process that counts is killed at any moment, twenty times over; the next ones end with the same numbers."""
    watched.write(1, 3_000, segment_bytes=150_000)
    calm = a_calm_one(watched, tmp_path, bundle)
    draw = np.random.default_rng(7)
    code = (
        "import sys; from pathlib import Path; from tests.batch.watched import Watched, count_here, START, MODEL\n"
        "from datetime import timedelta\n"
        "from twinscore.batch.watch import watch_once; from twinscore.clock import FixedClock\n"
        "from twinscore.monitoring.spec import MonitorSpec; from twinscore.settings import load_settings\n"
        "settings = load_settings(home=Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "clock = FixedClock(START + timedelta(days=1))\n"
        "watch_once(settings, MODEL, MonitorSpec(), clock=clock, count=count_here)\n"
    )
    root = Path(__file__).resolve().parents[2]
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(watched.settings.home)], stdout=subprocess.PIPE, cwd=root
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(float(draw.uniform(0.0, 2.0)))
        process.kill()
        process.communicate()
    watched.look()

    assert calm.tallies() == watched.tallies()
    assert calm.figures() == watched.figures()


def a_calm_one(watched: Watched, tmp_path: Path, bundle: Bundle) -> Watched:
    """The same log in another home, looked at by a job that nothing happens to."""
    calm = Watched(watched.settings.model_copy(update={"home": tmp_path / "calm"}), bundle)
    bundle_store(calm.settings).publish(bundle.folder)
    shutil.copytree(watched.log, calm.log)
    calm.look()
    return calm


def test_two_jobs_do_not_count_twice(watched: Watched) -> None:
    """While one looks the other is refused; and a worker of a dead job that still writes changes nothing."""
    watched.write(1, 80)

    def during(settings: Settings, job: WatchJob, due: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        with pytest.raises(StoreConflict, match="Another job is watching"):
            watched.look()
        count_here(settings, job, due)
        return count_here(settings, job, due)

    watched.look(count=during)
    assert {"": 80} == rows_of(watched)


def test_requests_without_a_score_count_as_service(watched: Watched) -> None:
    """Refused rows, failures, shed requests and cached answers are told apart; of them only the last has a score."""
    watched.write(1, 10, segment_bytes=10_000_000)
    cells, outputs = one_row(watched)
    at = int(START.timestamp() * 1e6)
    none: dict[str, Any] = {"version": "", "bundle_digest": "", "contract_digest": ""}
    writer = watched.writer("r2", 10_000_000)
    refused = {"outputs": [None], "status": 422, "code": "contract_broken"}
    records = [
        watched.record("refused", at, cells, None, **refused),
        watched.record("unread", at, None, None, status=400, code="malformed"),
        watched.record("failed", at, cells, None, outputs=[None], status=503, code="predict_failed"),
        watched.record("shed", at, None, None, status=503, code="overloaded", **none),
        watched.record("cached", at, cells, outputs, source="cache", run_id="r"),
    ]
    writer.commit([encode_record(one) for one in records])
    writer.close()
    for _ in range(2):
        watched.look()
        whole, nobody = None, None
        for key, tally in watched.tallies().items():
            whole, nobody = (tally, nobody) if key.version else (whole, tally)
        assert whole is not None
        assert nobody is not None
        assert (14, 1, 0, 11, 2, 1) == (
            whole.service.requests, whole.service.failed, whole.service.shed, whole.service.answered,
            whole.service.refused, whole.service.cached,
        )  # fmt: skip
        assert (1, 1, 0) == (nobody.service.requests, nobody.service.shed, nobody.rows)
        # What a batch run answered has a score; its features are not those of the request.
        assert (11, {10}) == (whole.rows, {one.rows for one in whole.features.counts.values()})
        watched.compact()


def test_a_version_that_is_gone_waits(watched: Watched) -> None:
    """Rows of a bundle that is not at hand are named, the rest is counted, and they are as soon as it is there."""
    other = replace(watched.bundle, digest="0" * 64)
    watched.write(1, 20)
    stranger = Watched(watched.settings, watched.bundle)
    stranger.bundle = other
    stranger.write(2, 10, stream="r2")
    look = watched.look()

    assert {"": 20} == rows_of(watched)
    assert "000000000000..., which answered rows, is not in the lake" in look.waiting[0]


def test_many_small_files_are_taken_together(watched: Watched) -> None:
    """The sum stays, a source may still change afterwards, and few files are left."""
    labels = WatchedLabels(path="labels", column="paid")
    watched.spec = MonitorSpec(labels=labels)
    watched.write(1, 120, segment_bytes=12_000)
    watched.look()
    before = watched.tallies()
    store = window_store(watched.settings.lake, MODEL)
    assert isinstance(store, WindowFolder)
    gone = store.consolidate(singles=2)
    after = watched.tallies()
    labels_file(watched, "a.parquet", range(120))
    watched.look()

    assert gone > 2
    assert before == after
    assert 1 == len(list((watched.settings.lake / "windows" / MODEL / "parts").glob("many-*.parquet")))
    assert [1.0] == [one.value for one in watched.figures("labelled_share")]
    assert {"": 120} == rows_of(watched)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_cluster")
def test_workers_of_ray_count_the_same(
    watched: Watched, bundle: Bundle, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The job on Ray Data gives the tallies that this process gives, and looking again and again counts once."""
    here = Watched(watched.settings.model_copy(update={"home": tmp_path / "here"}), bundle)
    bundle_store(here.settings).publish(bundle.folder)
    for one in (watched, here):
        one.write(1, 200, segment_bytes=30_000)
    here.look()
    looks: list[Any] = []
    watch_again(
        watched.settings, MODEL, watched.spec, every=HOUR, on_look=looks.append, looks=2, wait=lambda seconds: None
    )
    monkeypatch.setenv("TWINSCORE_HOME", str(watched.settings.home))
    script = repository / "jobs" / "watch_models.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--model", MODEL])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")

    assert 0 == ended.value.code
    assert '"counted": 0' in capsys.readouterr().out
    assert [200, 0] == [look.rows for look in looks]
    assert here.tallies() == watched.tallies()
