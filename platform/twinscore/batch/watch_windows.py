"""From counts to the figures of closed windows: those whose counts changed are made anew; knows no Ray.

What the figures of a window were made of is kept beside them, so whoever was killed in between is made up for by the
next look, and a window that nothing changed is left alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from twinscore.batch.stale_figures import LOOKED_AT as OF_RUNS
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.window_drift import DriftInTime, looked_back
from twinscore.monitoring.window_figures import FORMAT, window_figures
from twinscore.monitoring.window_key import window_start
from twinscore.monitoring.window_past import PastOutcomes, past_starts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.known_version import KnownVersion
    from twinscore.monitoring.outcomes import OutcomeTally
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.monitoring.window_key import WindowKey
    from twinscore.ports.window_store import SourceEntry, WindowStore

__all__ = ["LOOKED_AT", "revise_windows", "window_tallies"]

LOOKED_AT = (*OF_RUNS, "parity_checked", "parity_differing", "parity_bits", "parity_feature_differing")
"""Metrics that a look tells, and that cannot be made again from counts."""
_NOTHING = "nothing was counted"
_AT_A_TIME = 24
"""Windows whose tallies are in memory together."""


def revise_windows(
    store: WindowStore,
    spec: MonitorSpec,
    *,
    length: timedelta,
    now: datetime,
    known_of: Callable[[str], KnownVersion | None],
    look: Callable[[datetime, datetime], Sequence[Figure]] = lambda start, end: (),
) -> list[datetime]:
    """Make the figures of every closed window anew whose counts changed, and return their starts.

    Args:
        length: of a window.
        known_of: what the rows of a bundle are held against, by its digest; None when it is not at hand.
        look: figures that only a look can tell, of the window that closed last, by its start and end.
    """
    entries, stamps = store.entries(), store.stamps()
    last = window_start(now, length) - length
    wanted = dict.fromkeys([last, *stamps], _NOTHING) | _stamps(entries, spec, length, now)
    due = sorted(start for start, stamp in wanted.items() if stamps.get(start) != stamp)
    back = looked_back(spec.drift)
    outcomes = PastOutcomes(store.tallies, spec.labels, length)
    for first in range(0, len(due), _AT_A_TIME):
        starts = due[first : first + _AT_A_TIME]
        kept = _looked_at(store, starts, length)
        needed = {start - number * length for start in starts for number in range(back + 1)}
        tallies = window_tallies(store, sorted(needed), length)
        drift = DriftInTime(spec.drift)
        past = outcomes.before(key for start in starts for key, tally in tallies.get(start, {}).items() if tally.rows)
        found: dict[datetime, tuple[str, Sequence[Figure]]] = {}
        for start in starts:
            figures = kept.get(start, [])
            if start == last and start not in stamps:
                figures = [*figures, *look(start, start + length)]
            before = [tallies.get(start - number * length, {}) for number in range(back, 0, -1)]
            figures = [*figures, *_figures(tallies.get(start, {}), before, past, spec, now, known_of, drift)]
            found[start] = wanted[start], figures
        store.write(found)
    return due


def window_tallies(
    store: WindowStore, starts: Sequence[datetime], length: timedelta
) -> dict[datetime, dict[WindowKey, WindowTally]]:
    """Return the tallies of the windows of a length that begin then: the sums over all sources."""
    found: dict[datetime, dict[WindowKey, WindowTally]] = {}
    for key, plain in store.tallies(starts):
        if key.end - key.start != length:
            continue  # of a time when windows were longer or shorter
        mine = found.setdefault(key.start, {})
        tally = WindowTally.from_json(plain)
        mine[key] = mine[key].merge(tally) if key in mine else tally
    return found


def _figures(
    tallies: Mapping[WindowKey, WindowTally], before: Sequence[Mapping[WindowKey, WindowTally]],
    past: Mapping[WindowKey, OutcomeTally], spec: MonitorSpec, now: datetime,
    known_of: Callable[[str], KnownVersion | None], drift: DriftInTime,
) -> Iterator[Figure]:  # fmt: skip
    series = [{key.series: (key, tally) for key, tally in one.items()} for one in before]
    for key, tally in sorted(tallies.items()):
        mature = spec.labels is None or key.end <= spec.labels.mature_from(now)
        known = known_of(key.bundle_digest) if key.bundle_digest else None
        earlier = dict([one[key.series] for one in series if key.series in one])
        yield from window_figures(
            key, tally, known, spec, drift=drift, earlier=earlier, past=past.get(key), mature=mature
        )


def _stamps(
    entries: Mapping[str, SourceEntry], spec: MonitorSpec, length: timedelta, now: datetime
) -> dict[datetime, str]:
    """Return what the figures of each closed window are made of."""
    content: dict[datetime, list[tuple[str, str]]] = {}
    for source, entry in sorted(entries.items()):
        for start, end, digest in entry.windows:
            if end <= now and end - start == length:
                content.setdefault(start, []).append((source, digest))
    digests = {start: _digest(sorted(parts)) for start, parts in content.items()}
    found, back = {}, looked_back(spec.drift)
    for start, own in digests.items():
        mature = spec.labels is None or start + length <= spec.labels.mature_from(now)
        before = [digests.get(start - number * length, "") for number in range(1, back + 1)]
        past = [] if spec.labels is None else past_starts(start, spec.labels, length)
        facts = [FORMAT, spec.fewest_in_group, asdict(spec.drift), mature, own, before]
        found[start] = _digest([*facts, [digests.get(one, "") for one in past]])
    return found


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _looked_at(store: WindowStore, starts: Sequence[datetime], length: timedelta) -> dict[datetime, list[Figure]]:
    found: dict[datetime, list[Figure]] = {}
    for one in store.read(starts[0], starts[-1] + length, lambda figure: figure.metric in LOOKED_AT):
        found.setdefault(one.start, []).append(one)
    return found
