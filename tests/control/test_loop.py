"""Who acts of several controls, whose turn it is, and what one model's trouble does to others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twinscore.control.loop import Control
from twinscore.errors import PredictFailed
from twinscore.ports.rollout_store import ControlStore, Lease
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store

from .patience import until


class Turns:
    """Stands where a reconciler stands: counts its turns, and does in them what a test says."""

    def __init__(self, model: str, counts: Counter[str], act: Callable[[str], bool]) -> None:
        self._model, self._counts, self._act = model, counts, act
        self.trouble = ""
        self.looks = 0

    def turn(self, lease: Lease) -> bool:
        """Count a turn under a lease."""
        self._counts[f"{self._model} {lease.epoch}"] += 1
        return self._act(self._model)

    def look(self) -> None:
        """Count a hint."""
        self.looks += 1

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    """A control store of the test's own."""
    with open_rollout_store(load_settings(home=tmp_path)) as found:
        yield found


def control(
    store: ControlStore, counts: Counter[str], act: Callable[[str], bool] = lambda _: False, **more: Any
) -> Control:
    """Start a control over two models."""
    made: Any = lambda model: Turns(model, counts, act)  # noqa: E731
    return Control(store.leases, lambda: ["loans", "members"], made, **{"poll_s": 0.05, "lease_s": 5.0, **more})


def test_of_two_controls_one_acts_and_the_other_takes_over(store: ControlStore) -> None:
    """The second acts once the first has ended, under a later epoch."""
    first_counts: Counter[str] = Counter()
    second_counts: Counter[str] = Counter()
    first = control(store, first_counts)
    until(lambda: first.acts and first_counts["loans 1"] > 0)
    second = control(store, second_counts)
    time.sleep(0.3)
    acted_beside = (second.acts, dict(second_counts))
    first.close()
    until(lambda: second_counts["loans 2"] > 0 and second_counts["members 2"] > 0)
    second.close()

    assert (False, {}) == acted_beside
    assert {"loans 1", "members 1"} == set(first_counts)


def test_a_model_that_hangs_or_fails_holds_up_no_other(store: ControlStore) -> None:
    """The other model has its turns all the while, and the failure is told."""
    held = threading.Event()

    def act(model: str) -> bool:
        if model == "members":
            held.wait(20)
            message = "it does not work"
            raise PredictFailed(message)
        return False

    counts: Counter[str] = Counter()
    running = control(store, counts, act)
    until(lambda: counts["loans 1"] > 5)
    once = counts["members 1"]
    held.set()
    until(lambda: running.trouble.get("members") == "it does not work" and counts["members 1"] > 3)
    alive = running.alive
    running.close()

    assert 1 == once
    assert alive


def test_a_turn_that_asks_for_another_gets_it_at_once(store: ControlStore) -> None:
    """A change is followed by the next turn without waiting for the poll; so does a hint."""
    counts: Counter[str] = Counter()
    running = control(store, counts, lambda model: model == "loans" and counts["loans 1"] < 4, poll_s=20.0)
    until(lambda: counts["loans 1"] == 4)
    before = counts["members 1"]
    running.hint("members")
    until(lambda: counts["members 1"] == before + 1)
    running.close()

    assert 1 == before
