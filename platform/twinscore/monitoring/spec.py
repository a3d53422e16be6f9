"""How one model is watched: windows, segments, groups and labels; the key `monitor` of its deployment file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NoReturn

from twinscore.errors import SettingsInvalid
from twinscore.monitoring.receivers import NotifySpec, RetrainSpec, TicketsSpec  # noqa: TC001 - read at run time
from twinscore.monitoring.rule import Rule  # noqa: TC001 - the annotations are read when a file is

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MonitorSpec", "WatchedDrift", "WatchedLabels", "period"]

_PERIOD = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def period(text: str, key: str) -> timedelta:
    """Return a length of time written as a number and a unit.

    >>> period("90m", "window")
    datetime.timedelta(seconds=5400)

    Raises:
        SettingsInvalid: it is something else, or nothing long; `key` names where.
    """
    match = _PERIOD.fullmatch(text.strip())
    if match is None or not float(match[1]):
        refuse(key, "a number and a unit (s, m, h, d), such as 90m", text)
    try:
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    except OverflowError:
        refuse(key, "shorter than that", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLabels:
    """Outcomes that become known later."""

    path: str
    """Parquet file, folder, glob or URI; a relative path lies in the lake."""
    column: str
    """The outcome."""
    key: tuple[str, ...] = ()
    """Columns that identify what was scored, in the order of the model's key; empty means its names."""
    request: str | None = None
    """Column with the request id that an answer carried, for outcomes that are known by it instead of by key."""
    at: str | None = None
    """Column with the time at which the outcome was known."""
    maturity: str = "0s"
    """Age from which a row's outcome is expected; younger rows are not missing one."""
    horizon: str = "90d"
    """Age beyond which a window is not revised any more."""

    def __post_init__(self) -> None:
        self._maturity()
        period(self.horizon, "labels.horizon")

    def mature_from(self, now: datetime) -> datetime:
        """Return the instant from which on rows are too young for an outcome."""
        return now - self._maturity()

    def revised_from(self, now: datetime) -> datetime:
        """Return the instant before which windows are not revised any more."""
        return now - period(self.horizon, "labels.horizon")

    def _maturity(self) -> timedelta:
        return timedelta() if self.maturity.strip() in ("0", "0s") else period(self.maturity, "labels.maturity")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedDrift:
    """When a feature, or the scores, have drifted: proved, large enough, and persistent."""

    alarms: float = 0.01
    """Share of windows without drift that may say that any feature drifts; the level is calibrated to it."""
    effect: float = 0.1
    """Least change that counts, as that of a normal number which moved by so many standard deviations."""
    share: float = 0.01
    """Least change that counts of the share of missing cells, or of values that the reference hardly has."""
    at_least: int = 2
    """Windows that must show it, of the last `of` that could tell."""
    of: int = 3
    fewest_rows: int = 30
    """A window with fewer rows tells nothing."""

    def __post_init__(self) -> None:
        if not 0.0 < self.alarms <= 0.2:
            refuse("drift.alarms", "above 0 and at most 0.2", self.alarms)
        if not 0.0 <= self.effect <= 5.0:
            refuse("drift.effect", "from 0 to 5 standard deviations", self.effect)
        if not 0.0 <= self.share <= 1.0:
            refuse("drift.share", "from 0 to 1", self.share)
        if not 1 <= self.at_least <= self.of:
            refuse("drift.at_least", f"from 1 to {self.of} (drift.of)", self.at_least)
        if self.fewest_rows < 1:
            refuse("drift.fewest_rows", "1 or more", self.fewest_rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSpec:
    """What is counted, in which windows, for whom; the defaults watch everything that needs no labels."""

    window: str = "1h"
    """Length of a window; windows begin at whole multiples of it since 1970, in UTC."""
    segments: tuple[str, ...] = ()
    """Columns whose values are watched apart, beside all rows."""
    groups: tuple[str, ...] = ()
    """Columns whose values are groups for fairness; empty means those of the model card."""
    fewest_in_group: int = 100
    """A group with fewer rows (labelled ones, where labels count) gets no figures."""
    attribution_share: float = 0.01
    """Share of the scored rows that are explained, to see whether what matters is what mattered; 0 explains none."""
    datasets: tuple[str, ...] = ()
    """Datasets of batch predictions that are watched; empty means all of the model's."""
    labels: WatchedLabels | None = None
    """Where outcomes come from."""
    drift: WatchedDrift = field(default_factory=WatchedDrift)
    """When a change counts as drift."""
    parity_rows: int = 200
    """Rows per look that are scored by the other path as well; 0 looks at none."""
    tickets: tuple[TicketsSpec, ...] = ()
    """Where tickets are opened; none is in the control store's own database."""
    notify: tuple[NotifySpec, ...] = ()
    """Who is told by `page`."""
    retrain: RetrainSpec | None = None
    """What `retrain` submits."""
    rules: tuple[Rule, ...] = ()
    """Alert rules, see `rule_file`, which reads them."""
    playbook: bool | Literal["dry_run"] = "dry_run"
    """Whether the playbook's rules stand beside: true opens tickets, `dry_run` only shows them, false has none."""

    def __post_init__(self) -> None:
        if period(self.window, "window") < timedelta(seconds=1):
            refuse("window", "at least 1s", self.window)
        if self.fewest_in_group < 2:
            refuse("fewest_in_group", "at least 2 rows", self.fewest_in_group)
        if not 0 <= self.attribution_share <= 1:
            refuse("attribution_share", "from 0 to 1", self.attribution_share)
        if self.parity_rows < 0:
            refuse("parity_rows", "0 or more", self.parity_rows)
        for key, receivers in (("tickets", self.tickets), ("notify", self.notify)):
            names = [one.called for one in receivers]
            if len(set(names)) != len(names):
                refuse(f"{key}.name", "another for each, so that each is told once", ", ".join(names))
        if not isinstance(self.playbook, bool) and self.playbook != "dry_run":
            refuse("playbook", "true, false or dry_run", self.playbook)


def refuse(name: str, expected: str, got: object) -> NoReturn:
    """Raise for a value that is of the right kind and still wrong.

    Raises:
        SettingsInvalid: always.
    """
    message = f"The option monitor.{name} must be {expected}, got {got!r}."
    raise SettingsInvalid(message, setting=f"monitor.{name}", key=f"monitor.{name}")
