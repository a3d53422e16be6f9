"""The outcomes that the estimates of a window start from: the newest that were due when it ended; pure.

They are those of whole windows of the same version, role, path and segment, the newest first, until there are enough,
and `MOST_WINDOWS` windows back at most. Which windows these are follows from the window alone, not from when somebody
looks, so a window that is made anew from the same counts says the same again.

Windows are read a few at a time and only while somebody lacks outcomes, and of each the counts of outcomes alone are
kept: where there are many outcomes few windows are, where there are few the counts are small.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from twinscore.monitoring.learnt import enough
from twinscore.monitoring.outcomes import OutcomeTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from twinscore.monitoring.spec import WatchedLabels
    from twinscore.monitoring.window_key import WindowKey

    Read = Callable[[Sequence[datetime], Callable[[WindowKey], bool]], Iterator[tuple[WindowKey, Mapping[str, Any]]]]

__all__ = ["MOST_WINDOWS", "PastOutcomes", "past_starts"]

MOST_WINDOWS = 168
"""A week of hours, or some months of days."""
_AT_A_TIME = 24
_Place = tuple[tuple[str, ...], "datetime"]


def past_starts(start: datetime, labels: WatchedLabels, length: timedelta) -> list[datetime]:
    """Return the starts of the windows that one may learn from, the newest first: those due when it ended.

    Args:
        start: of the window.
        labels: say when outcomes are due.
        length: of every window.
    """
    end = start + length
    younger = max(1, math.ceil((end - labels.mature_from(end)) / length))
    return [start - (younger + number) * length for number in range(MOST_WINDOWS)]


class PastOutcomes:
    """What windows start from, found for many of them at once.

    Args:
        read: yields what each source adds to the windows that begin then, of the keys that are wanted.
        labels: say when outcomes are due; None knows of no outcome.
        length: of every window.
    """

    def __init__(self, read: Read, labels: WatchedLabels | None, length: timedelta) -> None:
        self._read, self._labels, self._length = read, labels, length
        self._held: dict[_Place, OutcomeTally | None] = {}

    def before(self, keys: Iterable[WindowKey]) -> dict[WindowKey, OutcomeTally]:
        """Return the outcomes that each window starts from; a window without any is left out.

        Calls go forward in time: what only earlier windows need is not kept.
        """
        if self._labels is None:
            return {}
        starts = {key: past_starts(key.start, self._labels, self._length) for key in keys}
        oldest = min((mine[-1] for mine in starts.values()), default=None)
        self._held = {place: one for place, one in self._held.items() if oldest is not None and place[1] >= oldest}
        found: dict[WindowKey, OutcomeTally] = {}
        lacking = set(starts)
        for first in range(0, MOST_WINDOWS, _AT_A_TIME):
            self._hold({(key.series, start) for key in lacking for start in starts[key][first : first + _AT_A_TIME]})
            for key in sorted(lacking):
                for start in starts[key][first : first + _AT_A_TIME]:
                    one = self._held[key.series, start]
                    if one is None or not one.labelled:
                        continue
                    found[key] = found[key].merge(one) if key in found else one
                    if enough(found[key]):
                        lacking.discard(key)
                        break
        return found

    def _hold(self, wanted: set[_Place]) -> None:
        """Read what is wanted and not held yet."""
        lacking = wanted - self._held.keys()
        if not lacking:
            return
        self._held.update(dict.fromkeys(lacking))
        for key, plain in self._read(
            sorted({start for _, start in lacking}),
            lambda key: key.end - key.start == self._length and (key.series, key.start) in lacking,
        ):
            outcomes = plain["parts"].get("outcomes")
            if outcomes is None:
                continue
            place, mine = (key.series, key.start), OutcomeTally.from_json(outcomes)
            known = self._held[place]
            self._held[place] = mine if known is None else known.merge(mine)
