"""A shadow's process gives way: every thread that it has, and every one that these start."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import os, threading
from twinscore.online.challenger import _all_give_way

over = threading.Event()
def wait(): over.wait()
before = threading.Thread(target=wait, daemon=True)
before.start()
_all_give_way()
after = threading.Thread(target=wait, daemon=True)
after.start()
for thread in (threading.get_native_id(), before.native_id, after.native_id):
    print(os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread))
"""


def test_every_thread_of_a_shadow_waits_for_others() -> None:
    """Those that were there before, such as Ray's own, and those that come later."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120)

    threads = [tuple(int(value) for value in line.split()) for line in done.stdout.splitlines()]
    assert [policy for policy, _ in threads] == [os.SCHED_IDLE] * 3
    assert all(niceness >= 10 for _, niceness in threads)
