"""What the windows of one version are held against, made from its bundle: reference counts and ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from twinscore.monitoring.attribution_drift import AttributionTally, reference_attribution
from twinscore.monitoring.drift_counts import Reference, reference_of, segment_reference
from twinscore.monitoring.plan import Plan, plan_of

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

__all__ = ["KnownVersion"]


@dataclass(frozen=True)
class KnownVersion:
    """One version whose bundle is at hand; each reference is made when it is first asked for."""

    bundle: Bundle
    _of_segments: dict[str, Reference | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def plan(self) -> Plan:
        """How its rows are counted."""
        return plan_of(self.bundle)

    @cached_property
    def reference(self) -> Reference:
        """The counts of its reference profile."""
        return reference_of(self.bundle.profile)

    def reference_in(self, segment: str) -> Reference | None:
        """Return the counts of one segment in its reference profile; None where the profile keeps none of it."""
        if segment not in self._of_segments:
            self._of_segments[segment] = segment_reference(self.bundle.profile, segment)
        return self._of_segments[segment]

    @cached_property
    def attribution(self) -> AttributionTally:
        """What mattered to it when it was made."""
        return reference_attribution(self.bundle)
