"""A real stack: MLflow, Ray in token mode, Ray Serve behind HAProxy."""

from __future__ import annotations

import http.client
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from twinscore.settings import Settings
from twinscore.stack import StackState, down, status, up
from twinscore.stack.environment import shell_environment
from twinscore.stack.processes import command_of, members
from twinscore.stack.state import stack_id

from .conftest import as_variables, own_settings, wait_until

pytestmark = pytest.mark.cluster

# Listening on all addresses is Ray's, not ours: these two pages of HAProxy have no setting for it.
OPEN_BY_RAY = 2


def get(url: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", path, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """(address in hex, port) of every socket that one of the processes listens on."""
    inodes = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(fd.readlink()))
            except OSError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, _, port = fields[1].rpartition(":")
                found.add((address, int(port, 16)))
    return found


def test_every_part_is_healthy(stack_settings: Settings, running: StackState) -> None:
    """After `up`, each component runs and answers."""
    now = status(stack_settings)

    assert now.condition == "up"
    assert [(part.name, part.ok) for part in now.components] == [
        ("mlflow", True), ("ray", True), ("serve", True), ("edge", True), ("grpc", True),
    ]  # fmt: skip
    assert all(part.pid is not None for part in now.components)
    assert now.state is not None
    assert now.state.ray == running.ray


def test_up_twice_is_up_once(stack_settings: Settings, running: StackState) -> None:
    """A healthy stack is left as it is, and `up` says so."""
    said: list[str] = []

    assert up(stack_settings, on_step=said.append).ray == running.ray
    assert said == [f"Already up since {running.started_at}"]


def test_job_api_wants_the_token(running: StackState) -> None:
    """Without the token 401, with a wrong one 403, with it an answer; the token file is its owner's."""
    token = Path(running.ray.token_path).read_text()

    assert get(running.ray.dashboard, "/api/jobs/")[0] == 401
    assert get(running.ray.dashboard, "/api/jobs/", {"Authorization": "Bearer " + "0" * 64})[0] == 403
    assert get(running.ray.dashboard, "/api/jobs/", {"Authorization": f"Bearer {token}"})[0] == 200
    assert stat.S_IMODE(Path(running.ray.token_path).stat().st_mode) == 0o400


def test_ingress_answers_before_the_first_model(running: StackState) -> None:
    """The edge and Serve's own HAProxy listen, and say themselves that they have no route yet."""
    assert get(running.serve.url, "/-/healthz")[0] in {200, 503}
    assert get(f"http://{running.serve.ingress}", "/-/healthz")[0] in {200, 503}


def test_killed_keeper_of_the_edge_is_replaced_by_up(stack_settings: Settings, running: StackState) -> None:
    """The proxy goes on without its keeper; `status` says so, and `up` starts another one and nothing else."""
    os.kill(running.edge.pid, signal.SIGKILL)
    wait_until(lambda: status(stack_settings).condition == "broken")
    seen = {part.name: part.health for part in status(stack_settings).components if not part.ok}
    meanwhile = get(running.serve.url, "/-/healthz")[0]
    again = up(stack_settings)

    assert seen == {"edge": "its keeper is dead"}
    assert meanwhile in {200, 503}
    assert (again.ray, again.serve) == (running.ray, running.serve)
    assert status(stack_settings).condition == "up"


def test_killed_control_store_is_started_again(stack_settings: Settings, running: StackState) -> None:
    """Ray's memory of itself is on disk: the same Ray goes on, with nothing else of it started anew."""

    def parts() -> dict[str, set[int]]:
        found: dict[str, set[int]] = {"gcs_server": set(), "raylet": set()}
        for process in members(running.id, running.leaders):
            name = Path(command_of(process.pid, width=4_096).split(" ")[0]).name
            found.get(name, set()).add(process.pid)
        return found

    before, state = parts(), status(stack_settings).state
    (store,) = before["gcs_server"]
    os.kill(store, signal.SIGKILL)
    wait_until(lambda: parts()["gcs_server"] - {store})
    wait_until(lambda: status(stack_settings).condition == "up")
    after = parts()

    assert after["raylet"] == before["raylet"]
    assert status(stack_settings).state == state


def test_mlflow_refuses_other_names_of_itself(running: StackState) -> None:
    """A page that resolves its own name to 127.0.0.1 gets nothing out of MLflow."""
    path = "/api/2.0/mlflow/experiments/get?experiment_id=0"

    assert get(running.mlflow.url, path)[0] == 200
    assert get(running.mlflow.url, path, {"Host": "evil.example"})[0] == 403


def test_all_but_two_pages_listen_on_loopback(running: StackState) -> None:
    """Everything of the stack listens on loopback, except HAProxy's statistics and metrics."""
    pids = {process.pid for process in members(running.id, running.leaders)}
    loopback = {"0100007F", "0000000000000000FFFF00000100007F"}

    elsewhere = {entry for entry in listening(pids) if entry[0] not in loopback}

    assert len(elsewhere) == OPEN_BY_RAY


def test_folder_of_sockets_is_closed(running: StackState) -> None:
    """HAProxy's admin socket is open to every local user, so the folder around it is not."""
    assert stat.S_IMODE(Path(running.ray.temp_dir).stat().st_mode) == 0o700


def test_job_is_submitted_with_the_shells_environment(
    tmp_path: Path, stack_settings: Settings, running: StackState
) -> None:
    """`ray job submit` works with what `twinscore env` prints: same Python, same home, no standard library hidden."""
    (tmp_path / "hello.py").write_text(
        "import os, platform, sys\nimport ray\nray.init()\n"
        "system = ray.get(ray.remote(lambda: platform.system()).remote())\n"
        "print('job', system, os.environ['TWINSCORE_HOME'], sys.prefix)\n"
    )
    job = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--working-dir", str(tmp_path), "--", "python",
         "hello.py"],
        env={**os.environ, **shell_environment(running)}, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip

    assert job.returncode == 0, job.stdout + job.stderr
    assert f"job Linux {stack_settings.home} {sys.prefix}" in job.stdout


def test_commands_agree_with_the_python_side(stack_settings: Settings, running: StackState) -> None:
    """`twinscore status` ends with 0, and `twinscore env` prints the lines of this stack."""
    environment = {**os.environ, **as_variables(stack_settings)}
    command = [sys.executable, "-c", "from twinscore.cli.main import main; main()"]
    shown = subprocess.run([*command, "status"], env=environment, capture_output=True, text=True, check=False)
    lines = subprocess.run([*command, "env"], env=environment, capture_output=True, text=True, check=True)

    assert shown.returncode == 0
    assert running.mlflow.url in shown.stdout
    assert f"127.0.0.1:{stack_settings.grpc_port}" in shown.stdout
    assert f"export RAY_API_SERVER_ADDRESS={running.ray.dashboard}" in lines.stdout.splitlines()
    assert f"export RAY_AUTH_TOKEN_PATH={running.ray.token_path}" in lines.stdout.splitlines()


def test_down_after_the_head_was_killed(tmp_path: Path) -> None:
    """SIGKILL of the head leaves agents and HAProxy behind; they are seen, named by `up`, and ended by `down`."""
    settings = own_settings(tmp_path / "home")
    state = up(settings)
    try:
        os.kill(state.ray.pid, signal.SIGKILL)
        wait_until(lambda: status(settings).condition == "broken")
        dead = {part.name for part in status(settings).components if not part.ok}
    finally:
        ended = down(settings)

    assert dead == {"ray", "serve"}
    assert ended
    assert members(stack_id(settings.home), state.leaders) == []
    assert not Path(state.ray.temp_dir).exists()
    assert list((settings.home / "logs" / "ray-session").glob("gcs_server*"))
    assert status(settings).condition == "down"
