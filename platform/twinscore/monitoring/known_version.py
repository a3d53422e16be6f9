"""What the windows of one version are held against, made from its bundle: reference counts and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from twinscore.monitoring.attribution_drift import AttributionTally, reference_attribution
from twinscore.monitoring.drift_counts import Reference, reference_of
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
    def attribution(self) -> AttributionTally:
        """What mattered to it when it was made."""
        return reference_attribution(self.bundle)
