"""A process that is started again as it was started first."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from twinscore.stack.head import Part, children


def running(pid: int) -> Part:
    """Return how a process was started; between its making and its program's start there is nothing to read."""
    while not Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.001)
    return Part.of(pid)


def test_a_part_is_started_again_as_it_was() -> None:
    """With the same arguments and the same environment, as a child of this process."""
    with subprocess.Popen(["/bin/sleep", "60"], env={"COLOUR": "a=b", "EMPTY": ""}) as first:
        part = running(first.pid)
        pid = part.start()
        again, ours = running(pid), children()
        first.kill()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    assert part == again == Part(("/bin/sleep", "60"), {"COLOUR": "a=b", "EMPTY": ""})
    assert part.name == "sleep"
    assert pid in ours
