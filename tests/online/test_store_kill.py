"""The control store (GCS) of our own Ray head dies under POST load, stays away, and comes back with what it knew."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from twinscore.settings import Settings
from twinscore.stack.launch import RAY_PORTS, claim, ensure_token, launch_ray, reap, temp_folder
from twinscore.stack.ports import free_ports
from twinscore.stack.processes import end
from twinscore.stack.state import stack_id
from twinscore.wiring import model_store

from .killing import below
from .standing import REPLACED_S, Stand, answers, edge_of, replace, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(900)]
AWAY_S = 70.0
"""Longer than Ray's nodes would wait by themselves."""
DRIVER = """
import sys, time
import ray
from twinscore.online.deploy import serve_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import load_settings

address = sys.argv[1]
for _ in range(120):
    try:
        ray.init(address=address, log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(0.5)
spec = ServeSpec(model="members", replicas=2, audit=AuditPolicy(reserve_mb=1))
serve_model(load_settings(), "members", spec=spec)
"""


@contextmanager
def head(settings: Settings) -> Iterator[tuple[int, dict[str, str]]]:
    """Keep a Ray head as the stack does until the block ends; give its keeper and its drivers' environment."""
    folder = claim(temp_folder(settings.home))
    claim(folder / "h")
    ports = free_ports(RAY_PORTS)
    child, environment = launch_ray(settings, temp_dir=folder, token_path=ensure_token(settings.home), ports=ports)
    try:
        yield child.process.pid, environment
    finally:
        left = end(stack_id(settings.home), (child.process,))
        reap()
        shutil.rmtree(folder, ignore_errors=True)
        assert [] == left


def store_of(keeper: int) -> list[int]:
    """Return the control store's process."""
    return [pid for pid, title in below(keeper) if title.split("\0")[0].endswith("gcs_server")]


def test_the_control_store_dies(binary: Any, tmp_path: Path) -> None:
    """For more than a minute nobody who asks for a score notices; back again, it has a dead replica replaced."""
    names = ("serve_port", "ray_port", "dashboard_port")
    settings = Settings(home=tmp_path, num_cpus=2, **dict(zip(names, free_ports(len(names)), strict=True)))
    tags = {"twinscore.bundle_digest": binary.bundle.digest}
    model_store(settings).register("members", binary.bundle.folder, metrics={}, params={}, tags=tags)
    model_store(settings).set_alias("members", "champion", "1")
    with head(settings) as (keeper, environment):
        driver = [sys.executable, "-c", DRIVER, f"127.0.0.1:{settings.ray_port}"]
        subprocess.run(driver, env=environment, check=True, timeout=300)
        with edge_of(settings) as port:
            stand = Stand(settings, binary.rows, port, keeper)
            wait_for(lambda: len(stand.replicas()) == 2 and answers(port, binary.rows[0]), REPLACED_S)
            replicas = stand.replicas()
            (store,) = store_of(keeper)
            with stand.load("away") as away:
                os.kill(keeper, signal.SIGSTOP)  # or it would be back at once
                os.kill(store, signal.SIGKILL)
                time.sleep(AWAY_S)
            stayed = stand.replicas()
            with stand.load("back") as back:
                os.kill(keeper, signal.SIGCONT)
                took_s = wait_for(lambda: set(store_of(keeper)) - {store}, REPLACED_S)
                replaced_s = replace(stand)
    print(f"away for {AWAY_S:.0f} s, back {took_s:.1f} s later; a replica replaced after {replaced_s:.1f} s")

    assert replicas == stayed
    assert [0, 0] == [unanswered(ledgers["edge"]) for ledgers in (away, back)]
    assert 0 == unanswered(away["ingress"])
    assert 0 == away["listener"].failures
