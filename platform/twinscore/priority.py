"""Work that nobody waits for leaves the core to whoever answers somebody; knows no work, and no process but its own."""

from __future__ import annotations

import os

__all__ = ["give_way"]


def give_way(niceness: int, *, idle: bool = True, thread: int = 0) -> None:
    """Let a thread, and every one that it starts from now on, yield to everything else.

    Args:
        niceness: at least this much, 1 to 19.
        idle: run only while nobody else wants the core (`SCHED_IDLE`).
        thread: its number in the system; 0 is the calling one.

    Raises:
        ProcessLookupError: the thread has ended.
    """
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
    if idle:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
