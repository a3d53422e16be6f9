"""Which processes are ours, and that ending them ends those and no others."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from twinscore.settings import Settings
from twinscore.stack.processes import command_of, end, find, is_alive, members
from twinscore.stack.state import stack_id

from .conftest import Start, wait_until

SLEEP = "import time; time.sleep(60)"


def test_find_knows_a_process_by_its_start_time() -> None:
    """A process with the same id and another start time is another process."""
    me = find(os.getpid())

    assert me is not None
    assert is_alive(me)
    assert not is_alive(replace(me, started=me.started - 1))


def test_ended_child_counts_as_dead_before_it_is_reaped() -> None:
    """What is left of a process that ended, its exit code, is no process."""
    child = subprocess.Popen([sys.executable, "-c", ""])

    wait_until(lambda: find(child.pid) is None)

    assert child.wait() == 0


def test_members_are_found_by_mark_and_by_session(settings: Settings, start: Start) -> None:
    """A child that left the session is found by its mark, one that lost the mark by its session; a stranger is not."""
    start_child = f"import subprocess, sys, time; child = [sys.executable, '-c', {SLEEP!r}]; "
    leaver = start(f"{start_child}subprocess.Popen(child, start_new_session=True); time.sleep(60)")
    keeper = start(f"{start_child}subprocess.Popen(child, env={{}}); time.sleep(60)")
    stranger = start(marked=False)
    mark = stack_id(settings.home)

    wait_until(lambda: len(members(mark, [leaver, keeper])) == 4)
    found = members(mark, [leaver, keeper])

    assert {leaver, keeper} < set(found)
    assert stranger not in found
    assert len(members(mark)) == 3


def test_end_kills_what_does_not_listen(settings: Settings, start: Start) -> None:
    """A process that ignores SIGTERM is killed, its child as well, and nothing survives."""
    stubborn = start(
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); time.sleep(60)"
    )
    mark = stack_id(settings.home)
    wait_until(lambda: len(members(mark)) == 2)

    survivors = end(mark, [stubborn], grace_s=0.5, term_s=0.5)

    assert survivors == []
    assert members(mark, [stubborn]) == []


def test_end_spares_a_stranger_with_a_reused_id(settings: Settings, start: Start) -> None:
    """A recorded id that now belongs to a younger process neither ends that process nor its session."""
    stranger = start(marked=False)
    recorded = replace(stranger, started=stranger.started - 100)

    survivors = end(stack_id(settings.home), [recorded], grace_s=0.5, term_s=0.5)

    assert survivors == []
    assert is_alive(stranger)


def test_command_of_is_cut() -> None:
    """A long command line is cut to the width asked for, and one that cannot be read is empty."""
    assert len(command_of(os.getpid(), width=12)) == 12
    assert command_of(2**22 + 1) == ""
