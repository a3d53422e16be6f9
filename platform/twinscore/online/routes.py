"""Who answers whom, on every replica of a served model: reads, checks, changes and confirms the routing in force.

The gateway runs already (`deploy`); nothing here restarts it. A change goes through Serve's own configuration, so a
replica that starts later gets it too, and counts as made once every running replica says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from twinscore.errors import ModelNotReady, SchemaMismatch, StoreConflict
from twinscore.online.serve_config import applications, changing, read_user_config, running_replicas, write_user_config
from twinscore.rollout.plan import promoted, rolled_back
from twinscore.rollout.routing import Routing, Target, accept

if TYPE_CHECKING:
    from twinscore.settings import Settings

__all__ = [
    "DEPLOYMENT",
    "Applied",
    "apply_routing",
    "current_routing",
    "make_live",
    "replica_states",
    "roll_back",
    "served_models",
]

DEPLOYMENT = "endpoint"
"""Name of the one deployment in a gateway's application."""

_TIMEOUT_S = 60.0
_POLL_S = 0.05
_ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Applied:
    """A routing that is in force on every replica."""

    routing: Routing
    replicas: int
    seconds: float


def current_routing(model: str) -> Routing | None:
    """Return the routing of a served model, or None when it is not served."""
    config = read_user_config(model, DEPLOYMENT)
    return None if config is None else Routing.from_json(config["routing"])


def served_models() -> list[str]:
    """Return the models that have a gateway on this Ray."""
    return sorted(app for app, found in applications().items() if DEPLOYMENT in found.deployments)


def apply_routing(settings: Settings, model: str, routing: Routing, *, timeout_s: float = _TIMEOUT_S) -> Applied:
    """Put a routing into force on every replica, and return once each has said so.

    What cannot work is refused before anything changes. When a replica refuses it all the same, every replica goes
    back to what was in force.

    Args:
        settings: where the bundle store is.
        model: the served model.
        routing: what shall be in force; its epoch follows the one in force.
        timeout_s: for all replicas to say so.

    Raises:
        ModelNotReady: the model is not served, an application that is new to the routing does not run, or replicas did
            not follow.
        StoreConflict: the epoch is stale: somebody else wrote first.
        BundleInvalid: a bundle of the routing is not in the store, or damaged.
        SchemaMismatch: a challenger or shadow reads other columns than the live version.
    """
    started = time.monotonic()
    with changing(model):
        config = read_user_config(model, DEPLOYMENT)
        if config is None:
            message = f"{model} is not served; run `twinscore serve --model {model}`."
            raise ModelNotReady(message, model=model)
        current = Routing.from_json(config["routing"])
        accept(current, routing)
        _check(settings, current, routing)
        write_user_config(model, DEPLOYMENT, {**config, "routing": routing.to_json()})
    try:
        replicas = _confirm(model, routing, started + timeout_s)
    except StoreConflict as conflict:
        _restore(model, config, routing, conflict.fields["in_force"])
        raise
    except ModelNotReady:
        _restore(model, config, routing, replace(current, epoch=routing.epoch + 1).to_json())
        raise
    return Applied(routing, replicas, time.monotonic() - started)


def make_live(settings: Settings, model: str, live: Target, *, timeout_s: float = _TIMEOUT_S) -> Applied:
    """Make a version the live one without restarting a replica; raises as `apply_routing`."""
    current = _must_be_served(model)
    if current.live == live:
        return Applied(current, running_replicas(model, DEPLOYMENT), 0.0)
    return apply_routing(settings, model, promoted(current, live), timeout_s=timeout_s)


def roll_back(settings: Settings, model: str, *, timeout_s: float = _TIMEOUT_S) -> Applied:
    """Go back to the version before, which every replica keeps loaded; asks no registry.

    Raises:
        SettingsInvalid: there is no version before.
    """
    return apply_routing(settings, model, rolled_back(_must_be_served(model)), timeout_s=timeout_s)


def replica_states(model: str, *, timeout_s: float = _ASK_S) -> dict[str, dict[str, Any]]:
    """Return what each running replica says of itself, by its name: routing, counters of challengers and shadows.

    Serve's handle picks a replica per call, so it is asked until as many have answered as run.
    """
    deadline = time.monotonic() + timeout_s
    found: dict[str, dict[str, Any]] = {}
    while True:
        wanted = running_replicas(model, DEPLOYMENT)
        found |= _ask(model, max(2, 2 * wanted), deadline)
        if len(found) >= wanted or time.monotonic() > deadline:
            return found


def _must_be_served(model: str) -> Routing:
    found = current_routing(model)
    if found is None:
        message = f"{model} is not served; run `twinscore serve --model {model}`."
        raise ModelNotReady(message, model=model)
    return found


def _check(settings: Settings, current: Routing, routing: Routing) -> None:
    """Refuse what replicas could not do; asks no registry, and reads no disk for versions that replicas hold."""
    from twinscore.bundle.files import read_bundle
    from twinscore.wiring import bundle_store

    store = bundle_store(settings)
    held = {target.digest for target in (current.live, current.previous) if target is not None}
    if routing.live.digest not in held:
        read_bundle(store.path(routing.live.digest))
    if not routing.beside:
        return
    statuses = applications()
    live = read_bundle(store.path(routing.live.digest)).contract
    asked = {one.app for one in current.beside}  # what Serve repairs or scales meanwhile holds no change up
    for one in routing.beside:
        status = statuses.get(one.app)
        if one.app not in asked and (status is None or status.status != "RUNNING"):
            state = "not there" if status is None else str(getattr(status.status, "value", status.status)).lower()
            message = f"The application {one.app} is {state}; start it before entities are sent to it."
            raise ModelNotReady(message, app=one.app)
        contract = read_bundle(store.path(one.digest)).contract
        if contract.schema != live.schema:
            message = (
                f"Version {one.version} reads other columns than the live version {routing.live.version}, so the same"
                " request cannot be sent to both. Serve it under a name of its own, or make it live."
            )
            raise SchemaMismatch(message, version=one.version, live=routing.live.version)


def _confirm(model: str, routing: Routing, deadline: float) -> int:
    """Return how many replicas have the routing in force, once all that run do."""
    following: set[str] = set()
    wanted = 0
    while time.monotonic() < deadline:
        wanted = running_replicas(model, DEPLOYMENT)
        for name, state in _ask(model, max(2, 2 * wanted), deadline).items():
            _raise_refused(model, routing, state)
            epoch = (state["routing"] or {}).get("epoch", 0)
            following = following | {name} if epoch >= routing.epoch else following - {name}
        if wanted and len(following) >= wanted:
            return wanted
        time.sleep(_POLL_S)
    message = f"Only {len(following)} of {wanted} replicas of {model} followed the routing with epoch {routing.epoch}."
    raise ModelNotReady(message, model=model, following=len(following), replicas=wanted)


def _raise_refused(model: str, routing: Routing, state: dict[str, Any]) -> None:
    refused = state["refused"]
    if refused is None or refused["epoch"] != routing.epoch:
        return
    if state["routing"] == routing.to_json():
        return  # an older refusal of the same number
    if refused["code"] == StoreConflict.code:
        raise StoreConflict(refused["why"], model=model, sent=routing.epoch, in_force=state["routing"])
    message = f"A replica of {model} refused the routing with epoch {routing.epoch}: {refused['why']}"
    raise ModelNotReady(message, model=model, epoch=routing.epoch)


def _restore(model: str, config: dict[str, Any], failed: Routing, document: dict[str, Any]) -> None:
    """Make Serve's configuration again what replicas hold, or go back to, so that a replica started later agrees."""
    latest = read_user_config(model, DEPLOYMENT)
    if latest is not None and latest["routing"] == failed.to_json():  # else somebody has written since: theirs stands
        write_user_config(model, DEPLOYMENT, {**config, "routing": document})


def _ask(model: str, n_calls: int, deadline: float) -> dict[str, dict[str, Any]]:
    """Return the states of the replicas that happen to answer."""
    from ray import serve

    handle = serve.get_deployment_handle(DEPLOYMENT, model, _check_exists=False).options(method_name="routing_state")
    calls: Sequence[Any] = [handle.remote() for _ in range(n_calls)]
    found: dict[str, dict[str, Any]] = {}
    for call in calls:
        left = max(0.1, min(_ASK_S, deadline - time.monotonic()))
        try:
            state = call.result(timeout_s=left)
        except Exception:  # noqa: BLE001, S112 - a replica that ends between two looks; the next look tells
            continue
        found[state["replica"]] = state
    return found
