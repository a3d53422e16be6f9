"""Leases of the control store with real processes: raced for, held past their end, killed and stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import update

from twinscore.adapters.rollout_tables import LEASES
from twinscore.adapters.sql_leases import check
from twinscore.errors import SettingsInvalid, StoreConflict
from twinscore.ports.rollout_store import ControlStore, Lease
from twinscore.rollout.ledger import verify_chain
from twinscore.settings import Settings

KILLS = int(os.environ.get("TWINSCORE_KILLS", "3"))
SEED = int(os.environ.get("TWINSCORE_SEED", "1"))


class Process:
    """A process of `lease_process.py`, spoken to in lines."""

    def __init__(self, settings: Settings, what: str, holder: str, seconds: float) -> None:
        script = Path(__file__).with_name("lease_process.py")
        self.running = subprocess.Popen(
            [sys.executable, script, what, settings.home, settings.control_store or "", holder, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> dict[str, Any]:
        """Return what it says next."""
        line = _open(self.running.stdout).readline()
        assert line, "the process ended without a word"
        said: dict[str, Any] = json.loads(line)
        return said

    def tell(self) -> None:
        """Let it take a step."""
        _open(self.running.stdin).write("go\n")
        _open(self.running.stdin).flush()

    def end(self) -> list[dict[str, Any]]:
        """Kill it and return what it had still said."""
        self.running.kill()
        rest = _open(self.running.stdout).read().splitlines()
        self.running.wait()
        for stream in (self.running.stdin, self.running.stdout):
            _open(stream).close()
        return [json.loads(line) for line in rest if line.endswith("}")]


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.fixture
def start(control: ControlStore, control_settings: Settings) -> Iterator[Callable[..., Process]]:
    """Start processes on the store, which has its tables; they are killed at the end."""
    del control
    started: list[Process] = []

    def _start(what: str, holder: str, seconds: float) -> Process:
        started.append(Process(control_settings, what, holder, seconds))
        return started[-1]

    yield _start
    for process in started:
        if process.running.poll() is None:
            process.running.kill()
            process.running.send_signal(signal.SIGCONT)
        process.running.wait()
        for stream in (process.running.stdin, process.running.stdout):
            _open(stream).close()


def test_one_holds_a_lease(control: ControlStore) -> None:
    """A lease that is held is not given twice; given back it can be had at once, with a higher epoch."""
    first = control.leases.take("control", "a", 60)
    assert first is not None
    assert control.leases.take("control", "b", 60) is None
    assert control.leases.take("another", "b", 60) is not None
    kept = control.leases.keep(first, 120)
    control.leases.give_back(first)
    second = control.leases.take("control", "b", 60)

    assert kept is not None
    assert second is not None
    assert (1, 1, 2) == (first.epoch, kept.epoch, second.epoch)
    assert kept.until > first.until
    assert control.leases.keep(first, 60) is None
    control.leases.give_back(first)
    assert control.leases.take("control", "c", 60) is None


def test_a_holder_that_takes_again_fences_its_earlier_self(control: ControlStore) -> None:
    """A restarted control with the same name need not wait, and what its old process writes is refused."""
    old = control.leases.take("control", "a", 60)
    new = control.leases.take("control", "a", 60)
    assert old is not None
    assert new is not None
    control.rollouts.save("loans", {}, revision=0, lease=new)
    with pytest.raises(StoreConflict, match="epoch 2") as caught:
        control.rollouts.save("loans", {}, revision=1, lease=old)

    assert caught.value.fields["stale"] == "lease"


def test_a_clock_that_went_back_ends_a_lease(control: ControlStore) -> None:
    """A holder that died before the clock was put back an hour does not lock the others out for that hour."""
    lease = control.leases.take("control", "a", 60)
    assert lease is not None
    with _database(control).writing() as connection:
        ahead = LEASES.c.renewed_at + 3600, LEASES.c.until + 3600
        connection.execute(update(LEASES).values(renewed_at=ahead[0], until=ahead[1]))
    taken = control.leases.take("control", "b", 60)

    assert taken is not None
    assert taken.epoch == 2


@pytest.mark.parametrize(("holder", "seconds"), [("", 10), ("a", 0), ("a", -1)])
def test_a_lease_needs_a_holder_and_a_time(control: ControlStore, holder: str, seconds: float) -> None:
    """Neither nobody nor nothing."""
    with pytest.raises(SettingsInvalid, match="lease"):
        control.leases.take("control", holder, seconds)


def test_two_processes_race_for_a_lease(control: ControlStore, start: Callable[..., Process]) -> None:
    """Both hold it in turn, often too long; no revision is saved twice and no epoch writes after a later one."""
    rivals = [start("race", holder, 1.5) for holder in ("a", "b")]
    for rival in rivals:
        assert rival.hear() == {"ready": True}
    for rival in rivals:
        rival.tell()
    told = [rival.hear() for rival in rivals]
    entries = control.ledger.entries("loans")
    epochs = [entry.evidence["epoch"] for entry in entries]
    stored = control.rollouts.load("loans")

    assert stored is not None
    assert list(range(1, stored.revision + 1)) == sorted([*told[0]["revisions"], *told[1]["revisions"]])
    assert sorted(epochs) == epochs
    assert len(epochs) == stored.revision
    assert verify_chain(entries, known=control.ledger.head("loans")) is None
    assert {"a", "b"} == {entry.decided_by for entry in entries}
    assert "lease" in {*told[0]["refused"], *told[1]["refused"]}


def test_a_stopped_holder_writes_nothing_stale(control: ControlStore, start: Callable[..., Process]) -> None:
    """SIGSTOP past the end of the lease, another holder, SIGCONT: what the first one then writes is refused."""
    first = start("step", "a", 0.3)
    assert first.hear() == {"epoch": 1}
    first.tell()
    assert first.hear() == {"saved": 1}
    first.running.send_signal(signal.SIGSTOP)
    second = _taken(control, "b")
    control.rollouts.save("loans", {"by": "b"}, revision=1, lease=second)
    first.tell()
    first.running.send_signal(signal.SIGCONT)

    assert first.hear() == {"refused": "lease"}
    assert second.epoch == 2
    stored = control.rollouts.load("loans")
    assert stored is not None
    assert (2, {"by": "b"}) == (stored.revision, stored.document)
    assert [1] == [entry.evidence["epoch"] for entry in control.ledger.entries("loans")]


def test_a_killed_writer_leaves_whole_saves(control: ControlStore, start: Callable[..., Process]) -> None:
    """SIGKILL while it saves: every revision it named is there with its entry, at most one more, and no half of one."""
    chance = random.Random(SEED)
    for number in range(KILLS):
        before = control.rollouts.load("loans")
        process = start("flood", f"holder {number}", 0.2)
        last: int = process.hear()["saved"]
        time.sleep(chance.uniform(0, 0.05))
        for said in process.end():
            last = said["saved"]
        stored = control.rollouts.load("loans")
        entries = control.ledger.entries("loans")

        assert stored is not None
        assert last <= stored.revision <= last + 1
        assert len(entries) == stored.revision > (0 if before is None else before.revision)
        assert verify_chain(entries, known=control.ledger.head("loans")) is None
    epochs = [entry.evidence["epoch"] for entry in control.ledger.entries("loans")]
    assert sorted(epochs) == epochs
    assert set(range(1, KILLS + 1)) == set(epochs)


def test_a_lease_is_not_taken_in_the_middle_of_a_save(control: ControlStore) -> None:
    """Whoever takes a lease that ran out waits for a save that has passed the check, and so reads what it kept."""
    lease = control.leases.take("control", "a", 0.001)
    assert lease is not None
    order: list[str] = []

    def take() -> None:
        _taken(control, "b")
        order.append("taken")

    rival = threading.Thread(target=take)
    with _database(control).writing() as connection:
        check(connection, lease)
        rival.start()
        rival.join(0.3)
        order.append("saved")
    rival.join()

    assert order == ["saved", "taken"]


@pytest.mark.chaos
def test_a_holder_stopped_inside_a_transaction_loses_it(control: ControlStore, start: Callable[..., Process]) -> None:
    """PostgreSQL ends its session within some seconds, so that others go on; on SQLite they wait until it dies."""
    stopped = start("stop_inside", "a", 0.3)
    assert stopped.hear() == {"inside": True}
    if control_is_sqlite(control):
        stopped.end()
    second = _taken(control, "b", within_s=9)
    control.rollouts.save("loans", {"by": "b"}, revision=1, lease=second)

    if not control_is_sqlite(control):
        stopped.running.send_signal(signal.SIGCONT)
        assert stopped.hear() == {"failed": "StoreUnavailable"}


def control_is_sqlite(control: ControlStore) -> bool:
    """Whether the store is a file."""
    return bool(_database(control)._sqlite)


def _taken(control: ControlStore, holder: str, within_s: float = 20) -> Lease:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        lease = control.leases.take("control", holder, 60)
        if lease is not None:
            return lease
        time.sleep(0.02)
    pytest.fail(f"the lease was not free within {within_s} s")


def _database(control: ControlStore) -> Any:
    return control.leases._database  # type: ignore[attr-defined]


HOLDERS = st.sampled_from(["a", "b", "c"])


def test_a_lease_is_what_a_simple_model_says(control: ControlStore) -> None:
    """Any order of taking, keeping, giving back, running out and saving: only the latest epoch ever writes."""
    names = iter(range(10_000))

    class Leasing(RuleBasedStateMachine):
        """A name of its own per run; the model is the epoch, the holder and whether it ran out."""

        def __init__(self) -> None:
            super().__init__()
            self.name = f"lease {next(names)}"
            self.epoch, self.holder, self.revision = 0, "", 0
            self.held: list[Lease] = []

        @rule(holder=HOLDERS)
        def take(self, holder: str) -> None:
            """Whoever asks gets it unless another has it."""
            lease = control.leases.take(self.name, holder, 600)
            assert (lease is None) == (self.holder not in ("", holder))
            if lease is not None:
                self.epoch, self.holder = self.epoch + 1, holder
                assert lease.epoch == self.epoch
                self.held.append(lease)

        @rule()
        def run_out(self) -> None:
            """Let the time of the lease pass, and somebody else take it."""
            with _database(control).writing() as connection:
                connection.execute(update(LEASES).where(LEASES.c.name == self.name).values(until=0.0))
            lease = control.leases.take(self.name, "z", 600)
            assert lease is not None
            self.epoch, self.holder = self.epoch + 1, "z"
            assert lease.epoch == self.epoch
            self.held.append(lease)

        @rule(data=st.data())
        def keep(self, data: st.DataObject) -> None:
            """Only the latest is kept, and only while it was not given back."""
            if self.held:
                lease = data.draw(st.sampled_from(self.held))
                assert (control.leases.keep(lease, 600) is not None) == self.acts(lease)

        @rule(data=st.data())
        def give_back(self, data: st.DataObject) -> None:
            """A stale one gives back nothing."""
            if self.held:
                lease = data.draw(st.sampled_from(self.held))
                control.leases.give_back(lease)
                if self.acts(lease):
                    self.holder = ""

        @rule(data=st.data())
        def save(self, data: st.DataObject) -> None:
            """Any lease ever had is tried."""
            if self.held:
                lease = data.draw(st.sampled_from(self.held))
                if self.acts(lease):
                    control.rollouts.save(self.name, {}, revision=self.revision, lease=lease)
                    self.revision += 1
                else:
                    with pytest.raises(StoreConflict, match="epoch"):
                        control.rollouts.save(self.name, {}, revision=self.revision, lease=lease)

        @invariant()
        def only_good_saves_count(self) -> None:
            """The revision is the number of saves that were let through."""
            stored = control.rollouts.load(self.name)
            assert (0 if stored is None else stored.revision) == self.revision

        def acts(self, lease: Lease) -> bool:
            """Whether a lease is the one that counts."""
            return (lease.epoch, lease.holder) == (self.epoch, self.holder)

    run_state_machine_as_test(Leasing, settings=hypothesis_settings(max_examples=15, stateful_step_count=15))
