"""What the windows of one version are held against, made from its bundle: reference counts, what to expect, ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from twinscore.monitoring.attribution_drift import AttributionTally, reference_attribution
from twinscore.monitoring.drift_counts import Reference, reference_of
from twinscore.monitoring.estimate import Correction
from twinscore.monitoring.nanny import Nanny
from twinscore.monitoring.plan import Plan, plan_of

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

__all__ = ["KnownVersion"]


@dataclass(frozen=True)
class KnownVersion:
    """One version whose bundle is at hand; each reference is made when it is first asked for."""

    bundle: Bundle

    @cached_property
    def plan(self) -> Plan:
        """How its rows are counted."""
        return plan_of(self.bundle)

    @cached_property
    def reference(self) -> Reference:
        """The counts of its reference profile."""
        return reference_of(self.bundle.profile)

    @cached_property
    def correction(self) -> Correction:
        """How its scores become probabilities that hold."""
        return Correction.of_reference(self.plan, self.bundle.profile)

    @cached_property
    def nanny(self) -> Nanny | None:
        """How large its errors are expected to be; None of classes, and where the bundle does not say."""
        metrics, score = self.bundle.card.metrics, self.bundle.profile["score"]
        if self.bundle.card.task != "regression" or not {"mae", "rmse", "n"} <= set(metrics):
            return None
        ends = np.array([score["min"], *score["edges"], score["max"]], np.float64)
        lower, upper = self.bundle.calibration.intervals((ends[1:] + ends[:-1]) / 2.0)
        return Nanny.of_reference(
            score["edges"], score["counts"], (upper - lower) / 2.0, mae=metrics["mae"], rmse=metrics["rmse"],
            rows=int(metrics["n"]),
        )  # fmt: skip

    @cached_property
    def attribution(self) -> AttributionTally:
        """What mattered to it when it was made."""
        return reference_attribution(self.bundle)
