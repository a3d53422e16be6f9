"""A Ray head of our own as the stack keeps one, further nodes of it, and the members model served on it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from twinscore.settings import Settings
from twinscore.stack.launch import RAY_PORTS, claim, ensure_token, launch_ray, reap, temp_folder
from twinscore.stack.ports import free_ports
from twinscore.stack.processes import end
from twinscore.stack.state import stack_id
from twinscore.wiring import model_store

__all__ = ["deploy", "head", "own_settings", "worker"]

DRIVER = """
import sys, time
import ray
from twinscore.online.deploy import serve_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import load_settings

address, cpus = sys.argv[1:]
for _ in range(120):
    try:
        ray.init(address=address, log_to_driver=False)
        break
    except ConnectionError:
        time.sleep(0.5)
spec = ServeSpec(model="members", replicas=2, cpus=float(cpus), audit=AuditPolicy(reserve_mb=1))
serve_model(load_settings(), "members", spec=spec)
"""

NODE = """
import signal, sys
from ray._private.node import Node
from ray._private.parameter import RayParams
from twinscore.stack.ports import free_ports

(agent,) = free_ports(1)
Node(
    RayParams(
        gcs_address=sys.argv[1], node_ip_address="127.0.0.1", num_cpus=1, object_store_memory=100_000_000,
        min_worker_port=0, max_worker_port=0, dashboard_agent_listen_port=agent,
    ),
    head=False, shutdown_at_exit=False,
)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # else a killed raylet is a zombie, which its workers take for alive
print("ready", flush=True)
while True:
    signal.pause()
"""
# What `ray start` does for a further node, which it refuses beside a head that listens on loopback only.


def own_settings(home: Path, binary: Any, cores: int) -> Settings:
    """Return settings with ports of their own, and a registry that knows the model."""
    names = ("serve_port", "ray_port", "dashboard_port")
    settings = Settings(home=home, num_cpus=cores, **dict(zip(names, free_ports(len(names)), strict=True)))
    tags = {"twinscore.bundle_digest": binary.bundle.digest}
    model_store(settings).register("members", binary.bundle.folder, metrics={}, params={}, tags=tags)
    model_store(settings).set_alias("members", "champion", "1")
    return settings


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


def deploy(settings: Settings, environment: dict[str, str], cpus: float = 0.0) -> None:
    """Serve two replicas, each with so many cores."""
    driver = [sys.executable, "-c", DRIVER, f"127.0.0.1:{settings.ray_port}", str(cpus)]
    subprocess.run(driver, env=environment, check=True, timeout=300)


@contextmanager
def worker(settings: Settings, environment: dict[str, str]) -> Iterator[int]:
    """Add a node with room for one replica until the block ends; give the process that its raylet descends from."""
    command = [sys.executable, "-c", NODE, f"127.0.0.1:{settings.ray_port}"]
    environment = {**environment, "RAY_raylet_start_wait_time_s": "120"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            assert "ready\n" in iter(node.stdout.readline, "")
            yield node.pid
        finally:
            node.kill()  # what is below it carries the stack's mark, and ends with the head
