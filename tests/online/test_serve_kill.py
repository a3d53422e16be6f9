"""SIGKILL under POST load on a real Ray Serve behind an edge: who is answered all the same, and what is kept."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import Settings

from .standing import CLIENTS, REPLACED_S, Stand, answers, edge_of, own_ray, replace, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
MANY = 10
"""Replicas that are killed one after the other."""


@pytest.fixture(scope="module")
def stand(serve_settings: Settings, members: Any) -> Iterator[Stand]:
    """Two replicas of `members` and an edge in front."""
    spec = ServeSpec(model="members", replicas=2, audit=AuditPolicy(reserve_mb=1))
    serve_model(serve_settings, "members", spec=spec)
    with edge_of(serve_settings) as port:
        made = Stand(serve_settings, members.rows, port, own_ray())
        wait_for(lambda: len(made.replicas()) == 2 and answers(port, members.rows[0]), REPLACED_S)
        yield made
    stop_model("members")


def test_a_replica_dies(stand: Stand) -> None:
    """Nobody who calls the edge notices; who calls a listener loses what was in it; another takes its place."""
    with stand.load("replica") as ledgers:
        took_s = replace(stand)
    print(f"replaced after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])
    assert CLIENTS >= ledgers["listener"].failures


@pytest.mark.chaos
def test_many_replicas_die(stand: Stand) -> None:
    """One after the other: by the edge not one request fails, and each replica is replaced."""
    with stand.load("many") as ledgers:
        took_s = []
        for _ in range(MANY):
            took_s.append(replace(stand))
            time.sleep(3)  # so that the edge has heard of the new one before the other may die
    print(f"{MANY} replaced after {min(took_s):.1f} to {max(took_s):.1f} s")

    assert 0 == unanswered(ledgers["edge"])
    assert MANY * CLIENTS >= ledgers["listener"].failures


def test_the_controller_dies(stand: Stand) -> None:
    """Nobody notices, and Ray starts it again."""
    (controller,) = stand.processes("ray::ServeController")
    replicas = stand.replicas()
    with stand.load("controller") as ledgers:
        os.kill(controller, signal.SIGKILL)
        took_s = wait_for(lambda: set(stand.processes("ray::ServeController")) - {controller}, REPLACED_S)
    print(f"restarted after {took_s:.1f} s")

    assert [0, 0, 0] == [unanswered(ledger) for ledger in ledgers.values()]
    assert replicas == stand.replicas()


def test_a_replica_dies_while_the_registry_is_gone(stand: Stand) -> None:
    """A replica needs its bundle and no registry, so another takes its place all the same."""
    registry = stand.settings.registry_folder
    hidden: Path = registry.rename(registry.with_name("hidden"))
    try:
        with stand.load("registry") as ledgers:
            took_s = replace(stand)
    finally:
        hidden.rename(registry)
    print(f"replaced after {took_s:.1f} s")

    assert 0 == unanswered(ledgers["edge"])
