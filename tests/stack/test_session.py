"""Connecting: to the running stack, to nothing, and with the environment put back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from twinscore.errors import ModelNotReady, StackBroken
from twinscore.settings import Settings
from twinscore.stack import StackState, connect
from twinscore.stack.processes import Process
from twinscore.stack.state import write_state

from .conftest import Start, as_variables

Describe = Callable[[Process, Process], StackState]


def ray_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


def test_needed_stack_that_is_not_up(settings: Settings) -> None:
    """Who needs the stack is told how to start it, and no private Ray is started."""
    with pytest.raises(ModelNotReady, match="twinscore up"):
        connect(settings, need_stack=True)


def test_half_dead_ray_is_not_waited_for(settings: Settings, start: Start, pretend: Describe) -> None:
    """Ray would hang on an address where nobody listens; the message comes at once instead."""
    write_state(settings, pretend(start(), start()))

    with pytest.raises(StackBroken, match=f"127.0.0.1:{settings.ray_port}"):
        connect(settings)


# A process of its own: Ray leaves the processes it started unreaped, which pytest holds against later tests.
PRIVATE = """
import os
from twinscore.settings import load_settings
from twinscore.stack import connect

# Importing Ray sets this one itself, and it says nothing.
os.environ.setdefault("RAY_CLIENT_MODE", "0")
before = {name for name in os.environ if name.startswith("RAY_")}
with connect(load_settings()) as outer:
    import ray

    address = ray.get_runtime_context().gcs_address
    print("loopback", address.startswith("127.0.0.1:"))
    print("mode", os.environ["RAY_AUTH_MODE"])
    print("private", outer.private)
    with connect(load_settings()) as inner:
        print("shared", inner.address == address)
    print("kept", ray.is_initialized())
print("ended", not ray.is_initialized())
print("restored", {name for name in os.environ if name.startswith("RAY_")} == before)
"""


@pytest.mark.cluster
def test_private_ray_is_closed_to_others(settings: Settings) -> None:
    """Without a stack, a Ray of this process's own runs in token mode on loopback, and ends with the block."""
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE], env={**os.environ, **as_variables(settings)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        *("loopback", "True", "mode", "token", "private", "True", "shared", "True"),
        *("kept", "True", "ended", "True", "restored", "True"),
    ]


@pytest.mark.cluster
def test_running_stack_is_joined_by_a_process_that_has_ray_loaded(
    stack_settings: Settings, running: StackState
) -> None:
    """Ray reads mode, token and node address when it is imported; a later connection works all the same."""
    import ray

    before = ray_variables()
    with connect(stack_settings, need_stack=True) as connection:
        context = ray.get_runtime_context()
        seen = (context.gcs_address, context.namespace)

    assert not connection.private
    assert seen == (running.ray.address, "twinscore")
    assert ray_variables() == before
    # Leaving the stack leaves it up.
    socket.create_connection(("127.0.0.1", stack_settings.ray_port)).close()
