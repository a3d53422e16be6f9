"""The control store (GCS) of our own Ray head dies under POST load, stays away, and comes back with what it knew."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .heads import deploy, head, own_settings
from .killing import below
from .standing import REPLACED_S, Stand, answers, edge_of, replace, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(900)]
AWAY_S = 70.0
"""Longer than Ray's nodes would wait by themselves."""


def store_of(keeper: int) -> list[int]:
    """Return the control store's process."""
    return [pid for pid, title in below(keeper) if title.split("\0")[0].endswith("gcs_server")]


def test_the_control_store_dies(binary: Any, tmp_path: Path) -> None:
    """For more than a minute nobody who asks for a score notices; back again, it has a dead replica replaced."""
    settings = own_settings(tmp_path, binary, cores=2)
    with head(settings) as (keeper, environment):
        deploy(settings, environment)
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
