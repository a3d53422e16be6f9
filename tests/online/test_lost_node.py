"""A node of several is lost under POST load: its raylet is killed, or all of it stops without a word."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import Settings
from twinscore.wiring import model_store

from .killing import below
from .standing import REPLACED_S, Stand, answers, edge_of, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(600)]
NOTICED_S = 10.0
"""After this time nobody may be sent to a node that has stopped."""


@dataclass
class Nodes:
    """A head that takes no replica, and three nodes with room for one each; all of them are raylets of this machine."""

    cluster: Any
    workers: list[Any] = field(default_factory=list)

    def raylet(self, node: Any) -> int:
        """Return the process of a node from which its workers descend."""
        pid: int = node.all_processes["raylet"][0].process.pid
        return pid

    def with_replica(self) -> Any:
        """Return a node that has a replica."""
        return next(node for node in self.workers if self.replicas_of(node))

    def replicas_of(self, node: Any) -> list[int]:
        """Return the replicas on a node."""
        return [pid for pid, title in below(self.raylet(node)) if title.startswith("ray::ServeReplica:members")]


@contextmanager
def nodes() -> Iterator[Nodes]:
    """Start the nodes, connect, and end them all after the block."""
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ts-n-", dir="/tmp")
    untyped: Any = Cluster
    cluster = untyped()
    made = Nodes(cluster)
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, temp_dir=folder, object_store_memory=10**8)
        made.workers += [cluster.add_node(num_cpus=1, object_store_memory=10**8) for _ in range(3)]
        ray.init(address=cluster.address, log_to_driver=False)
        yield made
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def standing(binary: Any, home: Path) -> Iterator[tuple[Stand, Nodes]]:
    """Two replicas of a model, each on a node of its own, behind an edge."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        settings = Settings(home=home, serve_port=probe.getsockname()[1])
    tags = {"twinscore.bundle_digest": binary.bundle.digest}
    model_store(settings).register("members", binary.bundle.folder, metrics={}, params={}, tags=tags)
    model_store(settings).set_alias("members", "champion", "1")
    spec = ServeSpec(model="members", replicas=2, cpus=1, audit=AuditPolicy(reserve_mb=1))
    with nodes() as made:
        serve_model(settings, "members", spec=spec)
        with edge_of(settings) as port:
            stand = Stand(settings, binary.rows, port, os.getpid())
            wait_for(lambda: len(stand.replicas()) == 2 and answers(port, binary.rows[0]), REPLACED_S)
            yield stand, made
        stop_model("members")


def test_a_raylet_dies(binary: Any, tmp_path: Path) -> None:
    """With it goes its replica: by the edge not one request fails, and another node takes its place."""
    with standing(binary, tmp_path) as (stand, made):
        lost = made.with_replica()
        before = stand.replicas()
        with stand.load("raylet") as ledgers:
            os.kill(made.raylet(lost), signal.SIGKILL)
            took_s = wait_for(lambda: len(stand.replicas()) == 2 and stand.replicas() != before, REPLACED_S)
    print(f"replaced on another node after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])


def test_a_node_falls_silent(binary: Any, tmp_path: Path) -> None:
    """It closes no connection and answers nothing: once that is noticed nobody waits for it, and it is replaced."""
    with standing(binary, tmp_path) as (stand, made):
        lost = made.with_replica()
        before = stand.replicas()
        stopped = [made.raylet(lost), *(pid for pid, _ in below(made.raylet(lost)))]
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
                os.kill(pid, signal.SIGKILL)
    print(f"{unanswered(ledgers['edge'])} unanswered until noticed; replaced on another node after {took_s:.1f} s")

    assert 0 == unanswered(later["edge"])
