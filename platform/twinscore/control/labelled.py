"""What outcomes said of each version meanwhile, from the windows that are watched; decides nothing.

Outcomes come late, and a window's counts are made anew when they do. So nothing is added up here: each look takes the
windows that lie wholly in the time asked for as they are now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.batch.watch_windows import window_tallies
from twinscore.clock import SystemClock
from twinscore.monitoring.group_tally import GroupTally
from twinscore.monitoring.outcomes import OutcomeTally
from twinscore.rollout.counts import Moments
from twinscore.rollout.evidence import Labelled
from twinscore.wiring import window_store

if TYPE_CHECKING:
    from datetime import datetime

    from twinscore.clock import Clock
    from twinscore.monitoring.tally import WindowTally
    from twinscore.monitoring.window_key import WindowKey
    from twinscore.rollout.evidence import Role
    from twinscore.settings import Settings

__all__ = ["WindowLabels", "labelled_of"]

ROLES: dict[str, Role] = {"live": "live", "canary": "canary", "challenger": "ab", "shadow": "shadow"}
"""What the audit log calls who answered, and what evidence does."""
_EVERY_S = 20.0
_Found = dict[tuple[str, "Role"], Labelled]


class WindowLabels:
    """Outcomes of one model's versions in a span of time.

    Args:
        settings: where the lake is.
        model: a served model.
        every_s: how old an answer may be that is given again.
        clock: measures that.
    """

    def __init__(
        self, settings: Settings, model: str, *, every_s: float = _EVERY_S, clock: Clock | None = None
    ) -> None:
        self._store = window_store(settings.lake, model)
        self._every_s = every_s
        self._clock = clock or SystemClock()
        self._known: dict[datetime, tuple[float, datetime | None, _Found]] = {}

    def between(self, since: datetime, until: datetime | None = None) -> _Found:
        """Return by version and role what is known of the windows that begin at `since` or later and end by `until`.

        Raises:
            StoreUnavailable: the windows cannot be read.
        """
        now_s = self._clock.monotonic_s()
        asked_s, end, found = self._known.get(since, (float("-inf"), until, {}))
        if now_s - asked_s < self._every_s and end == until:
            return found
        lengths: dict[datetime, set[datetime]] = {}
        for entry in self._store.entries().values():
            for first, last, _ in entry.windows:
                if first >= since and (until is None or last <= until):
                    lengths.setdefault(first, set()).add(last)
        found = {}
        for first, ends in sorted(lengths.items()):
            for last in ends:
                for key, tally in window_tallies(self._store, [first], last - first).get(first, {}).items():
                    _add(found, key, tally)
        self._known = {one: known for one, known in self._known.items() if now_s - known[0] < self._every_s}
        self._known[since] = now_s, until, found
        return found


def labelled_of(tally: WindowTally) -> Labelled | None:
    """Return what the outcomes and groups of a window say, as gates ask for it; None when neither was counted."""
    outcomes, groups = tally.parts.get("outcomes"), tally.parts.get("groups")
    n, total, squares = outcomes.loss() if isinstance(outcomes, OutcomeTally) else (0, 0.0, 0.0)
    selections = groups.selections() if isinstance(groups, GroupTally) else {}
    return Labelled(n, Moments(n, total, squares), selections) if n or selections else None


def _add(found: _Found, key: WindowKey, tally: WindowTally) -> None:
    role = ROLES.get(key.role)
    labelled = None if role is None or key.segment or key.path != "online" else labelled_of(tally)
    if role is not None and labelled is not None:
        known = found.get((key.version, role))
        found[key.version, role] = labelled if known is None else known.merged(labelled)
