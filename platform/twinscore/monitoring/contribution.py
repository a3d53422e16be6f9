"""What one source, a piece of the log or a run, adds to windows: counted a batch at a time, small at the end; pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinscore.monitoring.attribution_drift import AttributionTally
from twinscore.monitoring.tally import WindowTally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.block import Block, Codes
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["MOST_SEGMENTS", "OTHERS", "Contribution"]

MOST_SEGMENTS = 100
"""A column with more values in one source is no segment: there its rows are counted together."""
OTHERS = "(others)"


class Contribution:
    """Tallies by window, version, role and segment, as they grow."""

    def __init__(self) -> None:
        self._tallies: dict[WindowKey, WindowTally] = {}
        self._values: dict[str, set[str] | None] = {}

    @property
    def tallies(self) -> dict[WindowKey, WindowTally]:
        """What was counted so far."""
        return dict(sorted(self._tallies.items()))

    def add(self, key: WindowKey, tally: WindowTally) -> None:
        """Add counts to a window."""
        known = self._tallies.get(key)
        self._tallies[key] = tally if known is None else known.merge(tally)

    def add_rows(self, key: WindowKey, block: Block, plan: Plan, segments: Mapping[str, Codes]) -> None:
        """Add scored rows to a window, and to each of its segments.

        Args:
            key: of all rows: with an empty segment.
            segments: (n_rows,) values of each column whose segments are watched.
        """
        self.add(key, WindowTally.of(block, plan))
        for column, codes in segments.items():
            values = self._noticed(column, codes)
            if values is None:
                self.add(replace(key, segment=f"{column}={OTHERS}"), WindowTally.of(block, plan))
                continue
            for code, value in enumerate(codes.names):
                part = block.where(codes.codes == code)
                if part.rows:
                    self.add(replace(key, segment=f"{column}={value}"), WindowTally.of(part, plan))

    def add_explained(self, key: WindowKey, block: Block, plan: Plan, bundle: Bundle, share: float) -> None:
        """Explain a share of scored rows and add what each feature contributed; where features are hidden, nothing."""
        if share and not block.absent:
            explained = AttributionTally.of(block, plan, bundle, share=share)
            self.add(key, WindowTally(parts={"attribution": explained}))

    def _noticed(self, column: str, codes: Codes) -> set[str] | None:
        """Return the values of a column so far, or None when they are too many for segments."""
        values = self._values.setdefault(column, set())
        if values is None:
            return None
        values.update(codes.names)
        if len(values) <= MOST_SEGMENTS:
            return values
        self._values[column] = None
        for key in [key for key in self._tallies if key.segment.startswith(f"{column}=")]:
            self.add(replace(key, segment=f"{column}={OTHERS}"), self._tallies.pop(key))
        return None
