"""Watches one model: reads the figures that are new, has them judged, and saves state and orders in one transaction.

What was read is saved with what followed from it. So whoever is killed at any point goes on where it was, and a window
that was made anew, because late labels came, is judged anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import structlog

from twinscore.clock import SystemClock
from twinscore.control.judged import judge, shown_of
from twinscore.control.kept_rules import KeptRules, changed_parts, read_rules
from twinscore.errors import SettingsInvalid, TwinscoreError
from twinscore.monitoring.spec import MonitorSpec
from twinscore.rollout.hold import PLATFORM
from twinscore.rollout.ledger import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from twinscore.clock import Clock
    from twinscore.monitoring.figure import Figure
    from twinscore.ports.rollout_store import ControlStore, Lease

__all__ = ["Alerts", "FigureWindows", "LiveFigures"]

_MOST_WINDOWS = 5_000
"""Windows whose stamps are kept; what is older is not judged anew."""
_log = structlog.get_logger("twinscore.control")


class FigureWindows(Protocol):
    """Figures of one model's closed windows; see `ports.window_store`."""

    def stamps(self) -> Mapping[datetime, str]:
        """Return for each window that has figures what they were made of, by the window's start."""
        ...

    def read(self, since: datetime | None = None, until: datetime | None = None) -> list[Figure]:
        """Return the figures of windows that begin in a span of time."""
        ...


class LiveFigures(Protocol):
    """Figures of the last seconds."""

    def look(self) -> Sequence[Figure]:
        """Return what one model's replicas have done since the look before."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Alerts:
    """The rules of one model; `turn` is called again and again, by one thread at a time.

    Args:
        model: its name.
        store: states, orders and ledger.
        spec_of: returns what is watched, anew each time.
        windows: where figures of windows come from; None for nowhere.
        live: where figures of now come from; None for nowhere.
        after: is told of the model and the ids of its open incidents at the end of each turn.
        clock: tells the time.
    """

    def __init__(
        self, model: str, *, store: ControlStore, spec_of: Callable[[str], MonitorSpec],
        windows: FigureWindows | None = None, live: LiveFigures | None = None, clock: Clock | None = None,
        after: Callable[[str, Collection[str]], None] | None = None,
    ) -> None:  # fmt: skip
        self.model = model
        self._store = store
        self._spec_of = spec_of
        self._windows = windows
        self._live = live
        self._clock = clock or SystemClock()
        self._after = after
        self.spec = MonitorSpec()
        """The newest that could be read."""
        self._kept: KeptRules | None = None
        """What the store has under its revision, so that it is read again only when somebody else saved."""
        self.trouble = ""
        """What went wrong in the last turn, in words for whoever looks; empty when nothing did."""

    def turn(self, lease: Lease | None) -> None:
        """Look, judge and save, and see to what must be asked for again and again.

        Raises:
            StoreConflict: somebody else acts now.
            StoreUnavailable: the control's own store does not answer; nothing was changed.
        """
        self.trouble = ""
        open_ = self._judged(lease)
        if self._after is not None:
            try:
                self._after(self.model, open_)
            except TwinscoreError as error:
                self._also(error.message)

    def _judged(self, lease: Lease | None) -> list[str]:
        """Look, judge and save; return the ids of the incidents that are open."""
        self._read_spec()
        stored = self._store.alerts.load(self.model)
        kept, document = self._kept, {} if stored is None else stored.document
        if kept is None or kept.revision != (0 if stored is None else stored.revision):
            kept = read_rules(self._store.alerts, self.model, stored)
        windows, stamps = self._fresh(kept.stamps)
        live = self._look()
        state, orders = judge(self.spec, kept.state, windows, live, self._clock.now())
        after = shown_of(state)
        parts = changed_parts(kept, state, stamps)
        ids = [one["id"] for one in after["open"]]
        if (after == document and not parts) or (stored is None and not (ids or orders or stamps)):
            self._kept = replace(kept, state=state)
            return ids
        drafts = _drafts(self.model, document.get("open") or [], after["open"])
        saved = self._store.alerts.save(
            self.model, after, revision=kept.revision, lease=lease, orders=orders, drafts=drafts, parts=parts
        )
        self._kept = KeptRules(revision=saved.revision, state=state, stamps=stamps)
        for draft in drafts:
            _log.info(draft.kind, model=self.model, reason=draft.reason)
        return ids

    def close(self) -> None:
        """End what looks at the replicas."""
        if self._live is not None:
            self._live.close()

    def _read_spec(self) -> None:
        try:
            self.spec = self._spec_of(self.model)
        except SettingsInvalid as error:
            self.trouble = f"The newest rules cannot be used, so those before count: {error.message}"
            _log.warning("rules_not_read", model=self.model, error=error.message)

    def _fresh(self, known: Mapping[str, str]) -> tuple[list[Figure], dict[str, str]]:
        """Return the figures of windows that are not what they were, and what all windows are now."""
        if self._windows is None:
            return [], dict(known)
        try:
            now = {start.isoformat(): (start, stamp) for start, stamp in sorted(self._windows.stamps().items())}
            changed = [start for name, (start, stamp) in now.items() if known.get(name) != stamp]
            oldest = min(known, default="")
            changed = [start for start in changed if len(known) < _MOST_WINDOWS or start.isoformat() > oldest]
            wanted = set(changed)
            read = self._windows.read(since=min(changed)) if changed else []
        except TwinscoreError as error:
            self._also(f"The figures cannot be read: {error.message}")
            return [], dict(known)
        stamps = {name: stamp for name, (_, stamp) in list(now.items())[-_MOST_WINDOWS:]}
        return [one for one in read if one.start in wanted], stamps

    def _look(self) -> Sequence[Figure]:
        if self._live is None:
            return ()
        try:
            return self._live.look()
        except TwinscoreError as error:
            self._also(f"The replicas cannot be looked at: {error.message}")
            return ()

    def _also(self, trouble: str) -> None:
        self.trouble = f"{self.trouble} {trouble}".strip()


def _drafts(model: str, before: Sequence[Mapping[str, str]], now: Sequence[Mapping[str, str]]) -> list[Draft]:
    """Return what the ledger says of incidents that began or ended."""
    was, is_ = {one["id"] for one in before}, {one["id"] for one in now}
    begun = [("incident_opened", one) for one in now if one["id"] not in was]
    ended = [("incident_closed", one) for one in before if one["id"] not in is_]
    return [
        Draft(
            model=model, kind=kind, requested_by=f"rule {one['rule']}", decided_by=PLATFORM, reason=one["says"],
            evidence={"incident": one["id"], "severity": one["severity"], "since": one["since"]},
        )
        for kind, one in (*begun, *ended)
    ]  # fmt: skip
