"""Up, status and down where they refuse or find something odd; the processes are small stand-ins."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from twinscore.errors import PortTaken, SettingsInvalid, StackBroken, StackError
from twinscore.settings import Settings
from twinscore.stack import StackState, down, status, up
from twinscore.stack.lifecycle import StackStatus
from twinscore.stack.processes import Process, is_alive
from twinscore.stack.state import read_state, write_state

from .conftest import Start, wait_until

Describe = Callable[[Process, Process], StackState]


def test_nothing_runs_at_first(settings: Settings) -> None:
    """Without a stack the status is down, and taking it down does nothing twice."""
    assert status(settings) == StackStatus("down", (), None)
    assert (down(settings), down(settings)) == (False, False)
    assert not settings.home.exists()


def test_half_dead_stack_is_named_and_taken_down(settings: Settings, start: Start, pretend: Describe) -> None:
    """With one part dead, `up` says which and what to do, and `down` ends the rest, once."""
    mlflow, ray = start(), start()
    write_state(settings, pretend(mlflow, ray))
    os.kill(mlflow.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(mlflow))

    with pytest.raises(StackBroken) as caught:
        up(settings)
    ended = down(settings), down(settings)

    assert "half up: mlflow (dead), ray (no answer), serve (no answer), edge (no answer)" in caught.value.message
    assert "`twinscore down`" in caught.value.message
    assert ended == (True, False)
    assert not is_alive(ray)
    assert read_state(settings) is None


def test_an_open_door_to_others_is_refused(settings: Settings) -> None:
    """Beyond loopback nothing is started while nobody is asked for a key; the message says how to make one."""
    with pytest.raises(SettingsInvalid, match="twinscore keys create"):
        up(settings.model_copy(update={"host": "0.0.0.0"}))

    assert status(settings) == StackStatus("down", (), None)


def test_state_of_an_earlier_boot_is_forgotten(settings: Settings, start: Start, pretend: Describe) -> None:
    """Process ids from before a restart mean nothing: no stranger is ended, and the stack counts as down."""
    stranger = start(marked=False)
    write_state(settings, replace(pretend(stranger, stranger), machine="an earlier boot"))

    assert status(settings).condition == "down"
    assert down(settings) is False
    assert is_alive(stranger)


def test_lost_state_file_does_not_lose_the_processes(settings: Settings, start: Start) -> None:
    """Somebody removed the state: `up` still sees the processes of this home, and `down` ends them."""
    orphan = start()

    with pytest.raises(StackBroken, match=f"its state file is gone: {orphan.pid}"):
        up(settings)

    assert status(settings).condition == "broken"
    assert down(settings) is True
    assert not is_alive(orphan)


def test_unreadable_state_does_not_stop_down(settings: Settings, start: Start) -> None:
    """`down` works without the file and removes it."""
    orphan = start()
    path = settings.home / "run" / "stack.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")

    assert down(settings) is True
    assert not is_alive(orphan)
    assert not path.exists()


def test_taken_port_starts_nothing(settings: Settings) -> None:
    """A port is checked before the first process starts."""
    with socket.create_server(("127.0.0.1", settings.mlflow_port)), pytest.raises(PortTaken):
        up(settings)

    assert not (settings.home / "logs").exists()
    assert status(settings).condition == "down"


@pytest.mark.parametrize(
    ("name", "value"), [("ray_address", "ray.example:6379"), ("mlflow_uri", "http://mlflow.example")]
)
def test_stack_elsewhere_is_not_doubled(settings: Settings, name: str, value: str) -> None:
    """When the settings name a cluster or a registry, `up` says so and starts nothing."""
    elsewhere = settings.model_copy(update={name: value})

    with pytest.raises(SettingsInvalid, match=f"TWINSCORE_{name.upper()}"):
        up(elsewhere)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_open_address_without_keys_is_refused(settings: Settings, host: str) -> None:
    """An address that others reach is bound only where callers are asked for a key."""
    with pytest.raises(SettingsInvalid, match="TWINSCORE_HOST"):
        up(settings.model_copy(update={"host": host}))

    assert not (settings.home / "logs").exists()


@pytest.mark.cluster
def test_component_that_ends_while_starting_takes_the_rest_with_it(settings: Settings) -> None:
    """When MLflow ends early, its log is named, nothing of Ray stays behind, and no half stack is recorded."""

    def end_mlflow() -> None:
        wait_until(lambda: read_state(settings) is not None)
        state = read_state(settings)
        assert state is not None
        os.kill(state.mlflow.pid, signal.SIGKILL)

    killer = threading.Thread(target=end_mlflow)
    killer.start()
    with pytest.raises(StackError) as caught:
        up(settings)
    killer.join()

    assert "The mlflow component stopped with exit code -9 while starting" in caught.value.message
    assert str(settings.home / "logs" / "mlflow.log") in caught.value.message
    assert status(settings) == StackStatus("down", (), None)
