"""One turn of the control over a real store, with nothing around it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twinscore.control.mirror import Reading
from twinscore.control.reconcile import Reconciler
from twinscore.control.traffic import Converged
from twinscore.ports.rollout_store import ControlStore
from twinscore.rollout.policy import Policy
from twinscore.rollout.routing import Target
from twinscore.settings import load_settings
from twinscore.testing.promotion import settled_world
from twinscore.wiring import open_rollout_store


def reconciler(store: ControlStore) -> Reconciler:
    """Return one whose registry is away and whose model is served."""
    live = Target(version="1", digest="1" * 64)
    parts: dict[str, Any] = {
        "mirror": SimpleNamespace(reading=lambda: Reading(None, {}, ""), want=lambda _: None),
        "candidates": SimpleNamespace(forget=lambda *_: None),
        "traffic": SimpleNamespace(look=lambda: live, converge=lambda *_, **__: Converged(live)),
        "source_of": None,
    }
    return Reconciler("loans", store=store, policy_of=Policy.default, **parts)


def test_each_command_has_the_answer_that_was_given_to_it(tmp_path: Path) -> None:
    """Of two of the same name and person one was done and one was not; what is no command says so."""
    with open_rollout_store(load_settings(home=tmp_path)) as store:
        lease = store.leases.take("loans", "test", 60)
        assert lease is not None
        state = settled_world().state.to_json()
        store.rollouts.save("loans", {"state": state}, revision=0, lease=lease)
        for order, name in (("a", "pause"), ("b", "resume"), ("c", "resumee"), ("d", "resume")):
            store.commands.put("loans", {"name": name, "actor": "anna"}, command_id=order)
        reconciler(store).turn(lease)
        outcomes = [store.commands.outcome(order) or "" for order in "abcd"]

        assert ["taken", "taken", "resume was not done: nothing is paused"] == [outcomes[n] for n in (0, 1, 3)]
        assert "Did you mean 'resume'" in outcomes[2]
