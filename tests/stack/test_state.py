"""The state file and the lock."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from twinscore.errors import StackBroken, StackError
from twinscore.settings import Settings
from twinscore.stack import StackState
from twinscore.stack.processes import Process
from twinscore.stack.state import forget, locked, read_state, stack_id, write_state

Describe = Callable[[Process, Process], StackState]


def test_state_survives_being_written(settings: Settings, pretend: Describe) -> None:
    """What is written is read back equal, and forgetting it leaves nothing."""
    state = pretend(Process(1, 2), Process(3, 4))

    write_state(settings, state)
    read = read_state(settings)
    forget(settings)

    assert read == state
    assert read_state(settings) is None


@pytest.mark.parametrize("text", ["", "[]", '{"mlflow": {}}', "{"])
def test_unreadable_state_says_what_to_do(settings: Settings, text: str) -> None:
    """A state file that `up` did not write is named, and so is the command that removes it."""
    path = settings.home / "run" / "stack.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)

    with pytest.raises(StackBroken, match="twinscore down") as caught:
        read_state(settings)

    assert str(path) in caught.value.message


def test_second_one_waits_and_then_names_the_first(settings: Settings) -> None:
    """While one works on a home, another is told which process that is."""
    with locked(settings, patience_s=0), pytest.raises(StackError, match=f"process {os.getpid()}"):
        locked(settings, patience_s=0.3).__enter__()

    with locked(settings, patience_s=0):
        pass


def test_stack_id_is_short_and_the_homes_own(settings: Settings) -> None:
    """Each home has a name of eight characters, the same each time."""
    other = settings.home.with_name("other")

    assert stack_id(settings.home) == stack_id(settings.home / ".")
    assert stack_id(settings.home) != stack_id(other)
    assert len(stack_id(other)) == 8
