"""A real stack on ports of its own, shared by the whole session, and small processes that stand in for one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twinscore.settings import Settings, load_settings
from twinscore.stack import StackState, down, up
from twinscore.stack.ports import free_ports
from twinscore.stack.processes import MARK, Process, end, find, here
from twinscore.stack.state import EdgePart, MlflowPart, RayPart, ServePart, stack_id

Start = Callable[..., Process]


def own_settings(home: Path) -> Settings:
    """Settings of a stack that meets no other one on this machine."""
    mlflow, ray, dashboard, serve, grpc = free_ports(5)
    return load_settings(
        home=home, mlflow_port=mlflow, ray_port=ray, dashboard_port=dashboard, serve_port=serve, grpc_port=grpc,
        num_cpus=2,
    )  # fmt: skip


def as_variables(settings: Settings) -> dict[str, str]:
    """The same settings as a shell would set them."""
    return {f"TWINSCORE_{name.upper()}": str(value) for name, value in settings if value is not None}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a home and ports of the test's own; nothing is started."""
    return own_settings(tmp_path / "home")


@pytest.fixture(scope="session")
def stack_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of the session's stack, which is ended after the last test."""
    settings = own_settings(tmp_path_factory.mktemp("stack") / "home")
    yield settings
    down(settings)


@pytest.fixture(scope="session")
def running(stack_settings: Settings) -> StackState:
    """The session's stack, up."""
    return up(stack_settings)


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Start small Python programs as leaders of their sessions; all of them are ended after the test."""
    begun: list[tuple[subprocess.Popen[bytes], Process]] = []

    def begin(code: str = "import time; time.sleep(60)", *, marked: bool = True) -> Process:
        environment = {**os.environ, **({MARK: stack_id(settings.home)} if marked else {})}
        # The line says that the program is past its imports, where a signal would hit Python itself.
        popen = subprocess.Popen(
            [sys.executable, "-c", f"print(flush=True)\n{code}"],
            env=environment, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert popen.stdout is not None
        popen.stdout.readline()
        process = find(popen.pid)
        assert process is not None
        begun.append((popen, process))
        return process

    yield begin
    end(stack_id(settings.home), [process for _, process in begun], grace_s=2, term_s=2)
    for popen, _ in begun:
        popen.communicate(timeout=10)


@pytest.fixture
def pretend(settings: Settings) -> Callable[[Process, Process], StackState]:
    """Describe a stack made of two small processes."""

    def describe(mlflow: Process, ray: Process) -> StackState:
        return StackState(
            id=stack_id(settings.home),
            machine=here(),
            home=str(settings.home),
            mlflow=MlflowPart(mlflow.pid, mlflow.started, f"http://127.0.0.1:{settings.mlflow_port}"),
            ray=RayPart(
                ray.pid,
                ray.started,
                address=f"127.0.0.1:{settings.ray_port}",
                dashboard=f"http://127.0.0.1:{settings.dashboard_port}",
                temp_dir="",
                token_path="",
            ),
            serve=ServePart(f"http://127.0.0.1:{settings.serve_port}", "127.0.0.1:1", "127.0.0.1:2"),
            edge=EdgePart(ray.pid, ray.started, folder="", metrics_port=3),
            started_at="2026-01-01T00:00:00+00:00",
            ready=True,
        )

    return describe


def wait_until(true: Callable[[], object], *, patience_s: float = 30.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
