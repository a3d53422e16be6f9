"""A node of several is lost under POST load: its raylet is killed, or all of it stops without a word."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from .heads import deploy, head, own_settings, worker
from .killing import below
from .standing import REPLACED_S, Stand, answers, edge_of, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(600)]
NOTICED_S = 10.0
"""After this time nobody may be sent to a node that has stopped."""


@contextmanager
def standing(binary: Any, home: Path) -> Iterator[tuple[Stand, list[int]]]:
    """Two replicas behind an edge, each on a node of its own; there are three, the head among them."""
    settings = own_settings(home, binary, cores=1)
    with head(settings) as (keeper, environment), ExitStack() as stack:
        wait_for(lambda: raylet_of(keeper), REPLACED_S)
        nodes = [stack.enter_context(worker(settings, environment)) for _ in range(2)]
        deploy(settings, environment, cpus=1.0)
        with edge_of(settings) as port:
            stand = Stand(settings, binary.rows, port, os.getpid())
            wait_for(lambda: len(stand.replicas()) == 2 and answers(port, binary.rows[0]), REPLACED_S)
            yield stand, nodes


def raylet_of(node: int) -> int:
    """Return the raylet below a process; 0 while there is none."""
    return next((pid for pid, title in below(node) if title.split("\0")[0].endswith("/raylet")), 0)


def replicas_below(node: int) -> list[int]:
    """Return the replicas of a node."""
    return [pid for pid, title in below(node) if title.startswith("ray::ServeReplica:members")]


def test_a_raylet_dies(binary: Any, tmp_path: Path) -> None:
    """With it goes its replica: by the edge not one request fails, and another node takes its place."""
    with standing(binary, tmp_path) as (stand, nodes):
        lost = next(node for node in nodes if replicas_below(node))
        before = stand.replicas()
        with stand.load("raylet") as ledgers:
            os.kill(raylet_of(lost), signal.SIGKILL)
            took_s = wait_for(lambda: len(stand.replicas()) == 2 and stand.replicas() != before, REPLACED_S)
    print(f"replaced on another node after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])


def test_a_node_falls_silent(binary: Any, tmp_path: Path) -> None:
    """It closes no connection and answers nothing: once that is noticed nobody waits for it, and it is replaced."""
    with standing(binary, tmp_path) as (stand, nodes):
        lost = next(node for node in nodes if replicas_below(node))
        before = stand.replicas()
        stopped = [lost, *(pid for pid, _ in below(lost))]
        try:
            with stand.load("silent") as ledgers:
                began = time.monotonic()
                for pid in stopped:
                    os.kill(pid, signal.SIGSTOP)
                time.sleep(NOTICED_S)
            with stand.load("noticed") as later:
                wait_for(lambda: len(stand.replicas()) == 2 and stand.replicas() != before, REPLACED_S)
                took_s = time.monotonic() - began
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    print(f"{unanswered(ledgers['edge'])} unanswered until noticed; replaced on another node after {took_s:.1f} s")

    assert 0 == unanswered(later["edge"])
