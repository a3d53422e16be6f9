"""A whole stack with a served model of several versions and a control that follows the registry, under load."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow as pa

from twinscore.contract.rows import table_to_rows
from twinscore.control.watch_record import read_record
from twinscore.rollout.ledger import Entry, verify_chain
from twinscore.settings import Settings, load_settings
from twinscore.stack import connect, down, up
from twinscore.stack.ports import free_ports
from twinscore.testing.models import make_bundle, make_rows
from twinscore.wiring import model_store, open_rollout_store

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.ports.model_store import ModelVersion

MODEL = "members"
TREES = {"1": 20, "2": 21, "3": 1}
"""Of each version: the second is much like the first, the third gives nearly everybody the same score."""
POLICY = """
model: members
settle: 1s
stages:
  - {kind: shadow, sampling: 100%, requests: 60, at_least: 1s, at_most: 5m}
  - {kind: canary, share: 20%, requests: 60, at_least: 1s, at_most: 5m}
  - {kind: bake, requests: 100, at_least: 2s, at_most: 5m}
gates:
  - {metric: error_rate, worse_by: 0.05, samples: 30}
  - {metric: score_shift, worse_by: 0.2, samples: 30}
  - {metric: decision_flips, max: 0.2, samples: 30, when_given: true}
"""
PATIENCE_S = 150.0


@dataclass
class Standing:
    """What a test asks and moves."""

    settings: Settings
    url: str
    rows: list[dict[str, Any]]
    policies: Path

    def status(self) -> dict[str, Any]:
        """Return how promotion of the model stands."""
        answer = httpx.get(f"{self.control}/models/{MODEL}", timeout=10)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    @property
    def control(self) -> str:
        """Address of the control, through the edge as everything else."""
        return f"http://127.0.0.1:{self.settings.serve_port}/-control"

    def aliases(self) -> dict[str, str]:
        """Return the model's aliases in the registry."""
        from twinscore.wiring import alias_store

        return dict(alias_store(self.settings).aliases(MODEL))

    def order(self, **command: Any) -> None:
        """Give a command over HTTP."""
        httpx.post(f"{self.control}/models/{MODEL}", json=command, timeout=10).raise_for_status()

    def until(self, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """Wait until the status is as wanted, and return it."""
        deadline = time.monotonic() + PATIENCE_S
        found: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                found = self.status()
                if holds(found):
                    return found
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        message = f"{what} did not come about; the last status was {found}"
        raise AssertionError(message)

    @contextmanager
    def load(self) -> Iterator[Heard]:
        """Ask without a pause until the block ends, and keep what was answered."""
        heard = Heard()
        stop = threading.Event()

        def ask(first: int) -> None:
            with httpx.Client(timeout=10) as client:
                for place in itertools.count(first, 2):
                    if stop.is_set():
                        return
                    row = self.rows[place % len(self.rows)]
                    try:
                        answer = client.post(f"{self.url}/predict", json=row)
                    except httpx.HTTPError as error:
                        heard.statuses[type(error).__name__] += 1
                        continue
                    heard.statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        said = answer.json()
                        heard.answers.append((time.monotonic(), place % len(self.rows), said["version"], said["arm"]))
                    time.sleep(0.01)

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield heard
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@dataclass
class Heard:
    """What a load was answered."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    answers: list[tuple[float, int, str, str]] = field(default_factory=list)
    """When, for which row, by which version and arm."""

    def share(self, arm: str) -> tuple[int, int]:
        """Return how many of the rows asked while an arm answered had it, and how many were asked."""
        times = [when for when, _, _, by in self.answers if by == arm]
        asked = {row: by == arm for when, row, _, by in self.answers if times and times[0] <= when <= times[-1]}
        return sum(asked.values()), len(asked)


def entries(stand: Standing, version: str) -> list[Entry]:
    """Return what the ledger says of a version, and check the whole chain."""
    with open_rollout_store(stand.settings) as store:
        found = store.ledger.entries(MODEL)
    assert verify_chain(found) is None
    return [one for one in found if version in (one.from_version, one.to_version)]


def settled(status: dict[str, Any], version: str) -> bool:
    """Tell whether a version is live for good and nothing is on its way."""
    return status["serving"] == version and status["rollout"] is None and status["settling"] is None


def register(settings: Settings, bundle: Bundle) -> ModelVersion:
    """Register a bundle as the model's next version."""
    tags = {"twinscore.bundle_digest": bundle.digest}
    return model_store(settings).register(MODEL, bundle.folder, metrics={}, params={}, tags=tags)


def control_process(stand: Standing) -> int:
    """Return the process of the control's replica."""
    from twinscore.stack.processes import members
    from twinscore.stack.state import read_state, stack_id

    state = read_state(stand.settings)
    assert state is not None
    found = members(stack_id(stand.settings.home), state.leaders)
    titles = {one.pid: Path(f"/proc/{one.pid}/cmdline").read_text(encoding="utf-8") for one in found}
    (pid,) = [pid for pid, title in titles.items() if "ServeReplica:twinscore-control" in title]
    return pid


@contextmanager
def standing(place: Path, control_store: str | None = None) -> Iterator[Standing]:
    """Bring everything up with version 1 live, and take it down again."""
    from twinscore.control.app import start_control
    from twinscore.online.deploy import serve_model

    mlflow, ray_port, dashboard, edge = free_ports(4)
    policies = place / "promotion"
    policies.mkdir()
    (place / "deployments").mkdir()
    (policies / f"{MODEL}.yaml").write_text(POLICY)
    settings = load_settings(
        home=place / "home", policies=policies, mlflow_port=mlflow, ray_port=ray_port, dashboard_port=dashboard,
        serve_port=edge, num_cpus=2, control_poll_s=0.5, control_lease_s=5, alerts_poll_s=1.0,
        control_store=control_store, deployments=place / "deployments", watch_every_s=15,
    )  # fmt: skip
    try:
        up(settings)
        store = model_store(settings)
        for version, trees in TREES.items():
            bundle = make_bundle(place / version, "binary", trees=trees)
            register(settings, bundle)
        store.set_alias(MODEL, "champion", "1")
        conformed = bundle.checker.conform(make_rows("binary", 800, seed=7))
        accepted = conformed.filter(pa.array(bundle.checker.check(conformed).accepted)).slice(0, 400)
        with connect(settings, need_stack=True):
            url = serve_model(settings, MODEL)
            start_control(settings, wait=True)
            found = Standing(settings, url, table_to_rows(accepted), policies)
            found.until(lambda status: status["serving"] == "1", "the adoption of version 1")
            yield found
    finally:
        down(settings)
        record = read_record(settings.home)
        assert record is None or not record.runs  # a round that was under way ended with the rest
