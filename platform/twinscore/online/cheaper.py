"""What stands in for one live version when full service is too slow: a cheaper version, and scores that batch made.

Everything in it is loaded and verified before it is needed. It shares the live version's contract, so it refuses the
same rows with the same words. Whatever it answers is labelled by the very code that makes the answer.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from twinscore.cache.live import LiveScores
from twinscore.cache.score_file import Cached
from twinscore.cache.spec import ScoresSpec
from twinscore.clock import SystemClock
from twinscore.errors import SettingsInvalid
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.hybrid import follow, note_features
from twinscore.online.switch import load_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.clock import Clock
    from twinscore.online.answer import Prediction
    from twinscore.online.asked import Outcome
    from twinscore.online.degrade_spec import DegradeSpec
    from twinscore.online.gateway import Gateway
    from twinscore.rollout.routing import Target

__all__ = ["CheapEndpoint", "Cheaper", "label", "load_cheap"]


class CheapEndpoint(Endpoint):
    """A version that stands in for the live one; each prediction says so."""

    def predictions(self, outcome: Outcome) -> list[Prediction]:
        """Return one labelled prediction per row of an outcome, in the order sent."""
        found = super().predictions(outcome)
        if outcome.predictions is None:
            for prediction in found:
                if prediction.score is not None:
                    label(prediction, self.version, "model")
        return found

    def _score_row(self, position: int, row: Mapping[str, Any], *, flagged: bool) -> Prediction:
        prediction = super()._score_row(position, row, flagged=flagged)
        note_features(prediction, row)
        return label(prediction, self.version, "model")


class Cheaper:
    """What stands in for one live version.

    Args:
        live: the version that full service answers with.
        spec: what the deployment file says.
        lake: folder of the cache's files, among others.
        cheap: the cheaper version, verified; None where there is none.
        clock: tells ages.

    Raises:
        SettingsInvalid: the cheaper version has another contract than the live one, or is the live one.
    """

    def __init__(
        self, live: Endpoint, spec: DegradeSpec, lake: Path, cheap: CheapEndpoint | None, clock: Clock | None = None
    ) -> None:
        self.live = live
        self.cheap = cheap
        self.label = spec.label
        self._lock = threading.Lock()
        self.requests = 0
        """Answered in the cheaper way, as a whole or in part."""
        self.rows = 0
        """Answered in the cheaper way."""
        self.key = live.bundle.contract.key
        """Columns that name the entity."""
        self._scores: LiveScores | None = None
        if cheap is not None:
            _check(live, cheap)
        if spec.scores is not None:
            self._scores = LiveScores(
                lake.resolve(), live.model, bundle_digest=live.bundle.digest, contract=live.bundle.contract,
                spec=ScoresSpec(ttl_s=spec.scores.ttl_s), clock=clock or SystemClock(),
            )  # fmt: skip
            self._scores.refresh()
            stop = threading.Event()
            weakref.finalize(self, stop.set)
            watched = ([self._scores], live.model, stop)
            threading.Thread(target=follow, args=watched, name="stale", daemon=True).start()

    def facts(self) -> dict[str, Any]:
        """Return what would answer, for whoever looks at a replica."""
        said: dict[str, Any] = {"version": None if self.cheap is None else self.cheap.version}
        if self._scores is not None:
            said["scores"] = {"run_id": (self._scores.facts or {}).get("run_id"), "problem": self._scores.problem}
        return said

    def counted(self, n_rows: int) -> None:
        """Count a request that was answered so; from any thread."""
        with self._lock:
            self.requests += 1
            self.rows += n_rows

    def stored(self, row: Mapping[str, Any]) -> Cached | None:
        """Return what batch made of a decoded row, or None."""
        found = None if self._scores is None else self._scores.find(row)
        return found if isinstance(found, Cached) else None


def load_cheap(lake: Path, gateway: Gateway, target: Target) -> CheapEndpoint:
    """Read, verify and warm up the cheaper version; raises as `load_endpoint`."""
    folder = lake / "bundles" / target.digest
    found = load_endpoint(
        folder, target.digest, model=gateway.model, version=target.version, limits=gateway.limits, kind=CheapEndpoint
    )
    assert isinstance(found, CheapEndpoint)
    found.score(Asked(found.decode([found.example()])[0]))
    return found


def _check(live: Endpoint, cheap: CheapEndpoint) -> None:
    if live.bundle.digest == cheap.bundle.digest:
        message = f"Version {cheap.version} of {live.model} is the live one; degrade.version must name a cheaper one."
        raise SettingsInvalid(message, setting="degrade.version", version=cheap.version)
    if live.bundle.contract_digest != cheap.bundle.contract_digest:
        message = (
            f"Version {cheap.version} of {live.model} has another contract than the live version {live.version}, so it"
            " may not answer for it: train the cheaper version under the same contract."
        )
        raise SettingsInvalid(message, setting="degrade.version", version=cheap.version, live=live.version)


def label(prediction: Prediction, version: str, source: str) -> Prediction:
    """Say in a prediction that the cheaper way made it, and which version it is really of."""
    prediction.degraded, prediction.version, prediction.source = True, version, source
    return prediction
