"""Redeploys under constant load on a real Ray Serve behind an edge: another version, other options, more and fewer."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.spec import AuditPolicy, ServeSpec
from twinscore.settings import Settings

from .standing import REPLACED_S, Stand, answers, edge_of, own_ray, unanswered, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.chaos, pytest.mark.timeout(1_800)]
REDEPLOYS = 20
WISHES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("members/2", {}),
    ("members/2", {"replicas": 1}),
    ("members/1", {"replicas": 1}),
    ("members/1", {"replicas": 2, "max_wait_ms": 41.0}),
    ("members/2", {"replicas": 2, "max_wait_ms": 42.0}),
    ("members/1", {}),
)
"""Each differs from the one before: in its version, in what needs other replicas, or in both."""


def test_no_redeploy_costs_a_request(serve_settings: Settings, members: Any) -> None:
    """A version is swapped in place, options need new replicas, replicas come and go: by the edge nobody notices."""

    def deploy(ref: str, options: dict[str, Any]) -> None:
        spec = ServeSpec(model=ref, audit=AuditPolicy(reserve_mb=1), **{"replicas": 2, **options})
        serve_model(serve_settings, ref, spec=spec)

    deploy("members/1", {})
    try:
        with edge_of(serve_settings) as port:
            stand = Stand(serve_settings, members.rows, port, own_ray())
            wait_for(lambda: len(stand.replicas()) == 2 and answers(port, members.rows[0]), REPLACED_S)
            took_s = []
            with stand.load("redeploy") as ledgers:
                for ref, options in itertools.islice(itertools.cycle(WISHES), REDEPLOYS):
                    began = time.monotonic()
                    deploy(ref, options)
                    took_s.append(time.monotonic() - began)
                    time.sleep(1)
    finally:
        stop_model("members")
    print(f"{REDEPLOYS} redeploys of {min(took_s):.1f} to {max(took_s):.1f} s")

    assert [0, 0] == [unanswered(ledgers[way]) for way in ("edge", "ingress")]
