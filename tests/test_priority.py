"""Who gives way does so with every thread, to its own session and to others; whoever started it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from twinscore.priority import give_way

SCRIPT = """
import os, threading
from pathlib import Path
from twinscore.priority import all_give_way

{begin}
over = threading.Event()
def wait(): over.wait()
before = threading.Thread(target=wait, daemon=True)
before.start()
all_give_way(10)
after = threading.Thread(target=wait, daemon=True)
after.start()
for thread in (threading.get_native_id(), before.native_id, after.native_id):
    print(os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread))
own = Path("/proc/self/autogroup")
print(os.getsid(0) == os.getpid(), own.read_text().split()[-1] if own.exists() else "none")
"""
BEGINNINGS = {"as started": "", "leads a group": "os.setpgid(0, 0)", "leads a session": "os.setsid()"}


@pytest.mark.parametrize("begin", BEGINNINGS.values(), ids=BEGINNINGS)
def test_every_thread_waits_for_others(begin: str) -> None:
    """Those that were there before, such as Ray's own, and those that come later; other sessions come first, too."""
    words = [sys.executable, "-c", SCRIPT.format(begin=begin)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    *threads, apart = done.stdout.splitlines()
    found = [tuple(int(value) for value in line.split()) for line in threads]
    mine = Path("/proc/self/autogroup")

    assert [policy for policy, _ in found] == [os.SCHED_IDLE] * 3
    assert all(niceness >= 10 for _, niceness in found)
    if mine.exists():  # where sessions share the cores, see sched(7)
        assert "True 10" == apart
        assert "nice 10" not in mine.read_text(encoding="ascii")


def test_a_thread_that_has_ended_is_said() -> None:
    """The kernel's word for it comes through."""
    gone = subprocess.Popen(["/bin/true"])
    gone.wait(timeout=60)

    with pytest.raises(ProcessLookupError):
        give_way(1, idle=False, thread=gone.pid)
