"""What the kernel sees of an answer: its record is written, the file is synced, and only then the answer leaves."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .killing import Asking, Ledger, Nursery

CALLS = ("write", "pwrite64", "writev", "sendto", "sendmsg", "fdatasync", "fsync")
LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\()(.*)$")
NAME = re.compile(r"q-\d{7}")
ENOUGH = 60


@dataclass(frozen=True)
class Call:
    """One call of the kernel, with the places of its begin and its end in the trace."""

    name: str
    text: str
    begun: int
    ended: int

    @property
    def handle(self) -> str:
        """The file or socket that it is about."""
        return self.text.partition("<")[0].partition(",")[0].partition(")")[0].strip()


def calls_of(trace: str) -> list[Call]:
    """Return the calls in the order of their end; what another thread did meanwhile cuts one into two lines."""
    found, begun = [], dict[str, tuple[int, str]]()
    for number, line in enumerate(trace.splitlines()):
        match = LINE.match(line)
        if match is None:
            continue
        thread, name, text = match.groups()
        if text.endswith("<unfinished ...>"):
            begun[thread] = number, text.removesuffix("<unfinished ...>")
            continue
        since, before = begun.pop(thread, (number, "")) if "resumed>" in line else (number, "")
        found.append(Call(name, before + text, since, number))
    return found


def test_a_call_that_was_cut_is_put_together() -> None:
    """It began at its first line and ended at its second; a call beside it keeps its place."""
    cut = '7 write(3</a>, "q" <unfinished ...>\n8 fdatasync(4</b>) = 0\n7 <... write resumed>) = 1'

    sync, write = calls_of(cut)

    assert (sync.name, sync.handle, sync.begun, sync.ended) == ("fdatasync", "4", 1, 1)
    assert (write.name, write.handle, write.begun, write.ended) == ("write", "3", 0, 2)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace shows what the kernel is asked")
def test_the_record_is_synced_before_its_answer_leaves(binary: Any, tmp_path: Path) -> None:
    """For each answer that was traced, whichever thread wrote its record and whichever one synced it."""
    trace, ledger = tmp_path / "trace", Ledger(binary.rows, random.Random(5))
    with Nursery(binary.bundle.folder, binary.bundle.digest, tmp_path) as nursery:
        pid = nursery.fork("serve")
        port = nursery.port_of(pid)
        command = [
            "strace",
            "-f",
            "-y",
            "-s",
            "100000",
            "-o",
            str(trace),
            "-p",
            str(pid),
            "-e",
            f"trace={','.join(CALLS)}",
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stderr is not None
            assert "attached" in watching.stderr.readline()
            with Asking(ledger, lambda: port) as asking:
                until = time.monotonic() + 30
                while asking.answers < ENOUGH and time.monotonic() < until:
                    time.sleep(0.01)
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=20)
    calls = calls_of(trace.read_text())
    written = {name: call for call in calls if ".segment" in call.text for name in NAME.findall(call.text)}
    sent = {
        name: call for call in calls if "HTTP/1.1 200" in call.text or "HTTP/1.1 422" in call.text
        for name in NAME.findall(call.text)
    }  # fmt: skip
    syncs = [call for call in calls if call.name in {"fdatasync", "fsync"} and call.text.rstrip().endswith("= 0")]
    early = [name for name in sent if not any(
        written[name].ended < sync.begun and sync.ended < sent[name].begun and sync.handle == written[name].handle
        for sync in syncs
    )]  # fmt: skip

    assert {name for name, told in ledger.sent.items() if told.status in (200, 422)} == sent.keys()
    assert len(sent) >= ENOUGH
    assert [] == early
