"""Rounds that begin by themselves, in real processes: one at a time, idle, begun again when they die, ended with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinscore.bundle.files import Bundle
from twinscore.cli.main import app
from twinscore.control.watch_record import ModelLook, WatchRecord, read_record, told, write_record
from twinscore.control.watching import Watching
from twinscore.ports.rollout_store import Lease
from twinscore.settings import Settings, load_settings
from twinscore.stack.processes import find, here
from twinscore.wiring import bundle_store, window_store

from ..batch.watched import MODEL, Watched, rows_of

PATIENCE_S = 60.0
SLEEPS = ("-c", "import time; time.sleep(300)")
AWAKE = (
    "-c",
    "import sys, twinscore.control.watch_round as w; w.all_give_way = lambda niceness: None; sys.exit(w.main())",
)
"""A round that does not give way: beside other tests an idle one may wait for minutes, as it should."""
NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
LEASE = Lease("control", "this test", 1, NOW)


@pytest.fixture
def watched(tmp_path: Path, bundle: Bundle) -> Watched:
    """A home with 200 answers in its log; a round is to begin every second."""
    settings = load_settings(home=tmp_path / "home", deployments=tmp_path / "deployments", watch_every_s=1)
    settings.deployments.mkdir()
    bundle_store(settings).publish(bundle.folder)
    found = Watched(settings, bundle)
    found.write(1, 200, segment_bytes=40_000)
    return found


@contextmanager
def watching(settings: Settings, *models: str, command: tuple[str, ...] = AWAKE) -> Iterator[Watching]:
    """Rounds of these models, until the block ends."""
    made = Watching(settings, lambda: LEASE, lambda: models or (MODEL,), command=command)
    try:
        yield made
    finally:
        made.close()


def until(settings: Settings, holds: Callable[[WatchRecord], bool]) -> WatchRecord:
    """Wait until the record is as wanted, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        record = read_record(settings.home)
        if record is not None and holds(record):
            return record
        assert time.monotonic() < deadline, record
        time.sleep(0.02)


def said_by(code: str, environment: dict[str, str]) -> str:
    """Run code in a Python of its own, and return what it printed."""
    words = [sys.executable, "-c", code]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_rounds_begin_by_themselves_and_count_once(watched: Watched) -> None:
    """Two rounds give the numbers of one look, and what has nothing to watch is left alone."""
    with watching(watched.settings, MODEL, "nothing") as made:
        first = until(watched.settings, lambda record: bool(record.ended_at))
        second = until(watched.settings, lambda record: record.ended_at > first.ended_at)
        trouble = made.trouble

    assert (200, "", 0) == (first.models[MODEL].rows, first.models[MODEL].trouble, first.failures)
    assert (0, 0) == (second.models[MODEL].counted, second.models[MODEL].rows)
    assert {"": 200} == rows_of(watched)
    assert watched.figures()
    assert not (watched.settings.lake / "windows" / "nothing").exists()
    assert "" == trouble


def test_little_is_counted_without_a_ray(watched: Watched) -> None:
    """A round of few sources never imports Ray, so no driver can have started."""
    code = (
        "import sys, twinscore.control.watch_round as w; w.all_give_way = lambda niceness: None\n"
        f"assert w.main(['--model', {MODEL!r}]) == 0; print('ray' in sys.modules)"
    )
    places = {"TWINSCORE_HOME": watched.settings.home, "TWINSCORE_DEPLOYMENTS": watched.settings.deployments}
    environment = {**os.environ, **{name: str(path) for name, path in places.items()}}

    assert "False" == said_by(code, environment).splitlines()[-1]
    assert {"": 200} == rows_of(watched)


def test_a_round_gives_way_before_it_imports_anything_heavy() -> None:
    """All its threads and children are idle then, too."""
    code = (
        "import os, subprocess, sys, twinscore.control.watch_round as w\n"
        "heavy = {'pyarrow', 'numpy'} & {*sys.modules}\n"
        "w.all_give_way(19); ask = 'import os; print(os.sched_getscheduler(0))'\n"
        "print(heavy, os.sched_getscheduler(0), flush=True); subprocess.run([sys.executable, '-c', ask], check=True)"
    )

    assert [f"set() {os.SCHED_IDLE}", str(os.SCHED_IDLE)] == said_by(code, dict(os.environ)).splitlines()


def test_a_model_that_somebody_looks_at_is_left_to_them(watched: Watched) -> None:
    """Nothing is counted twice, and it is counted once the other has ended."""
    with watching(watched.settings), window_store(watched.settings.lake, MODEL).locked():
        refused = until(watched.settings, lambda record: MODEL in record.models)
        nothing = rows_of(watched)
    with watching(watched.settings):
        until(watched.settings, lambda record: MODEL in record.models and record.models[MODEL].rows == 200)

    assert "another job was looking at it" == refused.models[MODEL].trouble
    assert {} == nothing
    assert {"": 200} == rows_of(watched)


def test_a_round_that_dies_is_begun_again_later_each_time(watched: Watched) -> None:
    """It is told which model was looked at; others come first the next time, and all is counted once in the end."""
    settings = watched.settings.model_copy(update={"watch_every_s": 30.0})
    write_record(settings.home, WatchRecord(30.0, next_at=NOW.isoformat()))
    with watching(settings, command=SLEEPS):
        os.kill(until(settings, lambda record: record.runs).pid, signal.SIGKILL)
        died = until(settings, lambda record: record.failures == 1)
    waits = datetime.fromisoformat(died.next_at) - datetime.fromisoformat(died.ended_at)
    write_record(settings.home, replace(died, next_at=NOW.isoformat()))
    with watching(settings, "adult", MODEL, command=SLEEPS):
        os.kill(until(settings, lambda record: record.runs).pid, signal.SIGKILL)
        again = until(settings, lambda record: record.failures == 2)
    write_record(settings.home, replace(again, next_at=NOW.isoformat()))
    with watching(settings):
        well = until(settings, lambda record: record.failures == 0 and not record.runs)

    assert "ended by signal 9 while it looked at loans" in died.models[MODEL].trouble
    assert "while it looked at adult; see logs/watch.log" in again.trouble  # loans was tried last
    assert timedelta(seconds=9) < waits < timedelta(seconds=12)
    assert (200, "") == (well.models[MODEL].rows, well.trouble)
    assert {"": 200} == rows_of(watched)


def test_a_round_ends_with_the_control(watched: Watched) -> None:
    """One that is closed ends it and leaves no failure; with one that is killed the kernel ends it."""
    with watching(watched.settings, command=SLEEPS):
        closed = until(watched.settings, lambda record: record.runs)
    after = read_record(watched.settings.home)
    code = (
        "import os, subprocess, sys\n"
        "code = 'import time; import twinscore.control.watch_round as w; w._end_with({}); time.sleep(300)'\n"
        "child = subprocess.Popen([sys.executable, '-c', code.format(os.getpid())])\n"
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = find(int(parent.stdout.readline()))
        assert child is not None
        parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while find(child.pid) == child:
        assert time.monotonic() < deadline
        time.sleep(0.02)

    assert after is not None
    assert find(closed.pid) is None
    assert (0, 0, "") == (after.pid, after.failures, after.trouble)


def test_nothing_begins_without_the_lease_or_an_interval(watched: Watched) -> None:
    """The one is another control's turn, the other what a person chose."""
    others = Watching(watched.settings, lambda: None, lambda: [MODEL])
    others.close()
    off = watched.settings.model_copy(update={"watch_every_s": 0.0})
    with watching(off):
        record = until(off, lambda record: True)

    assert (0.0, "", "") == (record.every_s, record.began_at, record.next_at)
    assert ["Nobody looks by itself: TWINSCORE_WATCH_EVERY_S is 0. `twinscore monitor run` looks."] == told(record, NOW)


def test_what_is_told_of_the_rounds() -> None:
    """When, what, and why not; of one model or of all."""

    def text(**before: float) -> str:
        return (NOW - timedelta(**before)).isoformat()

    looks = {
        "loans": ModelLook(text(minutes=4), rows=1200, counted=2, windows=1, waiting=("s1: gone",), waits=7),
        "adult": ModelLook(text(minutes=4), trouble="No."),
    }
    record = WatchRecord(600, text(minutes=4), text(minutes=3), text(minutes=-6), models=looks)
    late = replace(record, next_at=text(minutes=10), failures=3, trouble="it broke")
    me = find(os.getpid())
    assert me is not None

    assert [
        "Every 10 min; the last round began 4 min ago, the next is to begin in 6 min.",
        "adult: looked at 4 min ago, in vain: No.",
        "loans: looked at 4 min ago: 1,200 rows counted, 1 windows have new figures; 7 sources wait, such as s1: gone",
    ] == told(record, NOW)
    assert 2 == len(told(record, NOW, "adult"))
    assert "is overdue by 10 min: no control acts, see `twinscore status`" in told(late, NOW)[0]
    assert "The last round failed, 3 in a row: it broke" == told(late, NOW)[1]
    assert "under way since 4 min" in told(replace(record, machine=here(), pid=me.pid, started=me.started), NOW)[0]


def test_the_status_says_when(home: Path) -> None:
    """Without a model it tells of the rounds only; a record that cannot be read is none."""
    write_record(home, WatchRecord(0))
    off = CliRunner().invoke(app, ["monitor", "status"])
    (home / "run" / "watch.json").write_text("[1]")
    broken = CliRunner().invoke(app, ["monitor", "status", "--json"])
    none = CliRunner().invoke(app, ["monitor", "status"])

    assert (0, 0, 0) == (off.exit_code, broken.exit_code, none.exit_code)
    assert "TWINSCORE_WATCH_EVERY_S is 0" in off.stdout
    assert '{"watching": null}' == broken.stdout.strip()
    assert "`twinscore control start`" in none.stdout
