"""A/A rollouts through a real stack under load; writes benchmarks/results/rollouts_real.json.

    python benchmarks/rollouts_real.py [--rollouts 20] [--times 7] [--rate 80] [--replicas 2] [--out FILE]

Two versions of a model have the same trees, contract and profile, and another creation time on their cards, because a
version with the very bundle of the live one skips all stages. The alias is moved there and back, and each move goes
through shadow, two canaries and a bake with the default gates, while requests come at a steady rate, each of an entity
of its own. Then it is measured how long it takes until every replica answers with the new version: after a move of the
alias under a policy without stages, after an immediate promotion, and after a rollback while MLflow is killed, each
after some calm seconds. Every replica is asked on its own listener. Client and stack share the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from online_model import MODEL
from online_stack import Stack, stack
from rollout_load import Load, answering, bodies_of

from twinscore.bundle.files import MARGIN, Bundle, read_bundle, write_bundle
from twinscore.stack.launch import launch_mlflow
from twinscore.stack.state import read_state
from twinscore.testing.models import make_bundle
from twinscore.wiring import alias_store

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results" / "rollouts_real.json"
STAGES = """
  - {kind: shadow, sampling: 100%, requests: 300, at_least: 5s, at_most: 3m}
  - {kind: canary, share: 20%, requests: 200, at_least: 5s, at_most: 3m}
  - {kind: canary, share: 50%, requests: 300, at_least: 5s, at_most: 3m}
  - {kind: bake, requests: 600, at_least: 10s, at_most: 3m}
"""
POLICY = "model: {model}\nsettle: {settle}\nrollback_window: 0\nstages: {stages}\n"
STUCK_S, LATE_S, CALM_S = 240.0, 60.0, 8.0


@dataclass(frozen=True)
class Twins:
    """Two versions as good as each other."""

    bundle: Bundle
    next_bundle: Bundle


def make_twins(folder: Path) -> Twins:
    """Train once, and write the same bundle twice, with another creation time on the second card."""
    one = make_bundle(folder / "one", "binary", rows=20_000, trees=100)
    write_bundle(
        folder / "two", booster=one.booster, spec=one.spec, contract=one.contract, profile=one.profile,
        calibration=one.calibration, shap_base=one.shap_base, golden=one.golden.drop_columns([MARGIN]),
        card=replace(one.card, created_at="2025-01-02T00:00:00+00:00"),
    )  # fmt: skip
    return Twins(one, read_bundle(folder / "two"))


class Promotion:
    """The model's way to go live: what is asked of registry and control, and what they say."""

    def __init__(self, running: Stack) -> None:
        self._settings = running.settings
        self._control = f"http://127.0.0.1:{running.settings.serve_port}/-control"
        self._client = httpx.Client(timeout=10)
        self._registry = alias_store(running.settings)
        state = read_state(running.settings)
        assert state is not None
        self._mlflow = state.mlflow.pid

    def policy(self, stages: str, settle: str) -> None:
        """Put a policy into force; the next rollout begins with it."""
        path = self._settings.policies / f"{MODEL}.yaml"
        path.write_text(POLICY.format(model=MODEL, settle=settle, stages=stages))

    def move(self, version: str) -> None:
        """Move `champion`, as a person does."""
        found = self._registry.aliases(MODEL).get("champion")
        if not self._registry.move(MODEL, "champion", version, expected=found):
            message = "Somebody else moved the alias."
            raise SystemExit(message)

    def order(self, **command: Any) -> None:
        """Give a command over HTTP."""
        said = {"actor": "benchmark", "reason": "measured", **command}
        self._client.post(f"{self._control}/models/{MODEL}", json=said).raise_for_status()

    def status(self) -> dict[str, Any]:
        """Return how it stands; nothing where the control did not answer."""
        try:
            found = self._client.get(f"{self._control}/models/{MODEL}").raise_for_status().json()
        except httpx.HTTPError:
            return {}
        return dict(found)

    def until(self, holds: Callable[[dict[str, Any]], bool], seconds: float) -> dict[str, Any] | None:
        """Return the first status that is as wanted, None when none is in time."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            found = self.status()
            if found and holds(found):
                return found
            time.sleep(0.1)
        return None

    def rest(self, version: str) -> None:
        """Wait until a version is live for good, and both aliases say so."""
        wanted = {"champion": version, "serving": version}
        rested = self.until(lambda found: settled(found, version), STUCK_S)
        ends = time.monotonic() + STUCK_S
        while rested is None or not wanted.items() <= self._registry.aliases(MODEL).items():
            if rested is None or time.monotonic() > ends:
                message = f"Version {version} did not come to rest: {self.status()}"
                raise SystemExit(message)
            time.sleep(0.2)

    def kill_registry(self) -> None:
        """Kill the MLflow server and its workers."""
        os.killpg(os.getpgid(self._mlflow), signal.SIGKILL)

    def start_registry(self) -> None:
        """Start another server in its place, and wait until it answers."""
        self._mlflow = launch_mlflow(self._settings).process.pid
        ends = time.monotonic() + STUCK_S
        while time.monotonic() < ends:
            try:
                if self._client.get(f"http://127.0.0.1:{self._settings.mlflow_port}/health").is_success:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)


def settled(status: dict[str, Any], version: str) -> bool:
    """Tell whether a version is live for good and nothing is on its way."""
    return status["serving"] == version and status["rollout"] is None and status["settling"] is None


def rollout(promotion: Promotion, version: str) -> dict[str, Any]:
    """Move the alias, and return how that ended, after how many seconds and looks, and what it waited for longest."""
    seen: set[str] = set()
    stages: dict[str, float] = {}
    began = last = time.monotonic()
    begun = False

    def over(found: dict[str, Any]) -> bool:
        nonlocal last, begun
        now, way = time.monotonic(), found["rollout"]
        begun = begun or way is not None  # what was refused before stays so until then
        if way is not None:
            seen.add(json.dumps([way["place"], way["status"], way["requests"], [one["words"] for one in way["gates"]]]))
            stages[way["stage"]] = stages.get(way["stage"], 0.0) + now - last
        last = now
        return settled(found, version) or (begun and way is None and version in found["refused"])

    promotion.move(version)
    found = promotion.until(over, STUCK_S)
    took = time.monotonic() - began
    ended = "stuck" if found is None else "rolled_back" if version in found["refused"] else "live"
    told = {
        "version": version, "ended": ended, "seconds": round(took, 1), "looks": len(seen),
        "stages": {name: round(spent, 1) for name, spent in stages.items()},
    }  # fmt: skip
    if ended != "live":
        status = promotion.status()
        told["why"] = status["refused"].get(version) or (status["rollout"] or {}).get("waits", status["waits"])
    if ended == "stuck":
        promotion.order(name="abort")
    return told


def moved(promotion: Promotion, load: Load, running: Stack, version: str, act: Callable[[], None]) -> dict[str, Any]:
    """Do something that makes a version live, and return the seconds until every replica answers with it."""
    time.sleep(CALM_S)
    began = time.monotonic()
    act()
    took = answering(running.settings, load.bodies[0], version, began, LATE_S)
    promotion.until(lambda found: settled(found, version), STUCK_S)
    stray = load.answers(began + took, version) if took is not None else None
    return {"seconds": None if took is None else round(took, 2), "answers_of_the_other_version_afterwards": stray}


def summed(each: list[dict[str, Any]], wanted_s: float) -> dict[str, Any]:
    """Return median and worst of what was measured; what did not come in time counts as worst."""
    seconds = [LATE_S if one["seconds"] is None else one["seconds"] for one in each]
    median = round(statistics.median(seconds), 2)
    return {"wanted_s": wanted_s, "median_s": median, "worst_s": max(seconds), "each": each}


def measure(running: Stack, load: Load, given: argparse.Namespace) -> dict[str, Any]:
    """Run the rollouts, then what must be fast."""
    promotion = Promotion(running)
    promotion.rest("1")
    now, other = "1", "2"
    rollouts = []
    for number in range(given.rollouts):
        rollouts.append(rollout(promotion, other))
        print(number + 1, json.dumps(rollouts[-1]), flush=True)
        if rollouts[-1]["ended"] == "live":
            now, other = other, now
        promotion.rest(now)
    fast: dict[str, list[dict[str, Any]]] = {"alias": [], "immediate": [], "rollback": []}
    promotion.policy("[]", "0s")
    for _ in range(given.times):
        fast["alias"].append(moved(promotion, load, running, other, partial(promotion.move, other)))
        now, other = other, now
        promotion.rest(now)
    for _ in range(given.times):
        act = partial(promotion.order, name="promote", version=other, immediate=True)
        fast["immediate"].append(moved(promotion, load, running, other, act))
        promotion.rest(other)
        promotion.kill_registry()
        promotion.until(lambda found: "registry does not answer" in found["waits"], LATE_S)
        fast["rollback"].append(moved(promotion, load, running, now, partial(promotion.order, name="rollback")))
        promotion.start_registry()
        promotion.rest(now)
    ended = [one["ended"] for one in rollouts]
    seconds = [one["seconds"] for one in rollouts]
    return {
        "rollouts": {
            "asked": len(rollouts), **{name: ended.count(name) for name in ("live", "rolled_back", "stuck")},
            "looks": sum(one["looks"] for one in rollouts),
            "median_s": round(statistics.median(seconds or [0.0]), 1), "worst_s": max(seconds, default=0.0),
        },
        "alias_to_every_replica": summed(fast["alias"], 5.0),
        "immediate_to_every_replica": summed(fast["immediate"], 5.0),
        "rollback_without_mlflow": summed(fast["rollback"], 2.0),
        "each_rollout": rollouts,
    }  # fmt: skip


def main() -> None:
    """Read the options, measure, write the file and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--times", type=int, default=7, help="of each of what must be fast")
    parser.add_argument("--rate", type=float, default=80.0, help="requests per second")
    parser.add_argument("--replicas", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tsb-") as scratch:
        twins, policies = make_twins(Path(scratch)), Path(scratch) / "promotion"
        policies.mkdir()
        (policies / f"{MODEL}.yaml").write_text(POLICY.format(model=MODEL, settle="1s", stages=STAGES))
        with stack(twins, policies=policies, num_cpus=4, watch_every_s=0) as running:
            url = running.serve({"replicas": given.replicas}, follow=True)
            with Load(url, bodies_of(twins.bundle), given.rate) as load:
                found = measure(running, load, given)
            found["requests"] = load.told()
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, shared with the load",
        "stated": f"{given.replicas} replicas, {given.rate:g} requests/s, polls every 2 s, default gates",
        "stages": [line.strip(" -") for line in STAGES.strip().splitlines()],
        **found,
    }
    given.out.parent.mkdir(exist_ok=True)
    given.out.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps({name: value for name, value in document.items() if name != "each_rollout"}, indent=1))


if __name__ == "__main__":
    main()
