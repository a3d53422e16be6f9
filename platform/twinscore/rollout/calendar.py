"""Times in which nothing goes forward: a freeze, written once or repeated each week; knows no clock of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DAYS", "Freeze", "frozen_by", "thaws_at"]

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_LOOKS = 1_000
"""How many freezes in a row are followed to find the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A span of local time, once (`starts` to `ends`) or on each of the named `days`."""

    name: str
    reason: str = ""
    zone: str = "UTC"
    """Time zone in which the rest is written."""
    starts: str = ""
    """First day, or time, of a freeze that happens once: `2026-12-20` or `2026-12-20T18:00`."""
    ends: str = ""
    """Last day, which is frozen too, or the time from which it is over."""
    days: tuple[str, ...] = ()
    """Of a weekly freeze: `mon` to `sun`."""
    start: int = 0
    """Minute of each of these days at which it begins."""
    end: int = _DAY_MINUTES
    """Minute at which it is over; at or before `start` means on the day after."""

    def __post_init__(self) -> None:
        if not self.name:
            _refuse("name", "a short name for the freeze", self.name)
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            _refuse("zone", "a time zone such as UTC or Europe/Berlin", self.zone)
        once, weekly = bool(self.starts or self.ends), bool(self.days)
        if once == weekly:
            _refuse("from", f"either a day to begin and one to end, or some of the days {', '.join(DAYS)}", self.name)
        for day in self.days:
            if day not in DAYS:
                _refuse("days", f"some of {', '.join(DAYS)}", day, near(day, DAYS))
        if weekly and not (0 <= self.start < _DAY_MINUTES and 0 <= self.end <= _DAY_MINUTES):
            _refuse("from", "two times of day such as 18:00 and 08:00", (self.start, self.end))
        if once and _once(self)[0] >= _once(self)[1]:
            _refuse("until", f"a day or time after {self.starts}", self.ends)

    def to_json(self) -> dict[str, Any]:
        """Return the freeze as JSON values; `from_json` reads it back to an equal value."""
        return {**asdict(self), "days": list(self.days)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Freeze:
        """Read what `to_json` wrote."""
        return cls(**{**document, "days": tuple(document["days"])})


def frozen_by(freezes: Sequence[Freeze], now: datetime) -> Freeze | None:
    """Return the freeze that covers a time, of several the one that lasts longest; None when nothing is frozen."""
    spans = [(end, place) for place, freeze in enumerate(freezes) for end in _ends(freeze, now)]
    return freezes[max(spans)[1]] if spans else None


def thaws_at(freezes: Sequence[Freeze], now: datetime) -> datetime | None:
    """Return when nothing is frozen any more, in UTC; None when nothing is frozen now, or no end is near.

    Freezes that follow each other without a gap are one.
    """
    at = now
    for _ in range(_LOOKS):
        ends = [end for freeze in freezes for end in _ends(freeze, at)]
        if not ends:
            return at.astimezone(UTC) if at != now else None
        at = max(ends)
    return None


def _ends(freeze: Freeze, now: datetime) -> Iterator[datetime]:
    """Yield the end of each span of the freeze that covers `now`."""
    return (end for start, end in _spans(freeze, now) if start <= now < end)


def _spans(freeze: Freeze, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    if not freeze.days:
        yield _once(freeze)
        return
    zone = ZoneInfo(freeze.zone)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        if DAYS[day.weekday()] in freeze.days:
            over = freeze.end if freeze.end > freeze.start else freeze.end + _DAY_MINUTES
            yield _minute(day, freeze.start, zone), _minute(day, over, zone)


def _once(freeze: Freeze) -> tuple[datetime, datetime]:
    zone = ZoneInfo(freeze.zone)
    return _moment("from", freeze.starts, zone, last=False), _moment("until", freeze.ends, zone, last=True)


def _moment(what: str, text: str, zone: ZoneInfo, *, last: bool) -> datetime:
    """Return the beginning of a written day or time; of the last day, the beginning of the next."""
    try:
        if len(text) == len("2026-12-20"):
            return _minute(date.fromisoformat(text) + timedelta(days=int(last)), 0, zone)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(what, "a day such as 2026-12-20, or a time such as 2026-12-20T18:00", text)


def _minute(day: date, minute: int, zone: ZoneInfo) -> datetime:
    """Return a minute of a local day, in UTC; through UTC because days of a time zone have 23 to 25 hours."""
    day, minute = day + timedelta(days=minute // _DAY_MINUTES), minute % _DAY_MINUTES
    return datetime.combine(day, time(minute // 60, minute % 60), zone).astimezone(UTC)


def _refuse(what: str, expected: str, got: object, hint: str = "") -> NoReturn:
    message = f"The {what} of a freeze must be {expected}, got {str(got)[:80]!r}. {hint}".rstrip()
    raise SettingsInvalid(message, key=what)
