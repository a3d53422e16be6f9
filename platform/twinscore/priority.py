"""Work that nobody waits for leaves the core to whoever answers somebody; knows no work, and no process but its own.

Two things divide a core. Within a scheduling group, the policy and niceness of each thread. Between groups, their
weight: a container is a group (cgroups(7)), and on a machine without them each session is one (the autogroups of
sched(7)), so that there a thread gives way to its own session only, however nice it is.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from contextlib import suppress
from pathlib import Path

__all__ = ["all_give_way", "give_way"]

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
_TURN_NS = 100_000_000
"""The longest that may be asked for."""
_AUTOGROUP = Path("/proc/self/autogroup")


def give_way(niceness: int, *, idle: bool = True, thread: int = 0) -> None:
    """Let a thread, and every one that it starts from now on, yield to everything else of its scheduling group.

    Args:
        niceness: at least this much, 1 to 19.
        idle: run only while nobody else wants the core (`SCHED_IDLE`).
        thread: its number in the system; 0 is the calling one.

    Raises:
        ProcessLookupError: the thread has ended.
    """
    os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
    if idle:
        _take_long_turns(thread)
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def all_give_way(niceness: int, *, idle: bool = True) -> None:
    """Let all threads of this process give way, as `give_way`; when `idle`, to other sessions by niceness, too."""
    for thread in [int(path.name) for path in Path("/proc/self/task").glob("*")]:
        with suppress(ProcessLookupError):  # it has ended
            give_way(niceness, idle=idle, thread=thread)
    if idle:
        _stand_apart(niceness)


def _take_long_turns(thread: int) -> None:
    """Let a thread ask for long turns: whoever wakes and asks for shorter ones, as all do who say nothing, goes first.

    Between sessions the kernel does not know that one is idle, and lets its turn end before it looks at others. Source:
    sched_setattr(2), and the request for a slice since Linux 6.12; older kernels take no notice.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if number is not None:
        niceness = os.getpriority(os.PRIO_PROCESS, thread)
        asked = struct.pack("IIQiIQQQII", 56, os.SCHED_OTHER, 0, niceness, 0, _TURN_NS, 0, 0, 0, 0)
        ctypes.CDLL(None, use_errno=True).syscall(number, thread, asked, 0)


def _stand_apart(niceness: int) -> None:
    """Make this process a session of its own, with a small weight, where sessions are scheduling groups.

    Nothing is changed where they are not, or where the process may not leave its session.
    """
    if not _AUTOGROUP.exists():
        return
    with suppress(OSError):
        if os.getsid(0) != os.getpid():
            if os.getpgid(0) == os.getpid():  # who leads a group of processes may not begin a session
                os.setpgid(0, os.getpgid(os.getppid()))
            os.setsid()
        _AUTOGROUP.write_text(str(niceness), encoding="ascii")
