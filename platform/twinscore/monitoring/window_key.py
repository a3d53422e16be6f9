"""Which rows a tally is of: model, version, role, path, segment and a closed window of time; pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["WindowKey", "window_start"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class WindowKey:
    """What one tally is of."""

    model: str
    version: str
    """Empty for requests that were refused before a version was asked."""
    bundle_digest: str
    role: str
    """Who answered: live, canary, challenger, shadow; `batch` for committed runs."""
    path: str
    """`online` or `batch`."""
    segment: str
    """`column=value`, or empty for all rows."""
    start: datetime
    """First instant inside, UTC."""
    end: datetime
    """First instant after."""

    @property
    def series(self) -> tuple[str, ...]:
        """What windows that follow each other have in common: version, bundle, role, path and segment."""
        return self.version, self.bundle_digest, self.role, self.path, self.segment

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return {**asdict(self), "start": self.start.isoformat(), "end": self.end.isoformat()}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_json` was made from."""
        times = {name: datetime.fromisoformat(plain[name]) for name in ("start", "end")}
        return cls(**{**plain, **times})


def window_start(moment: datetime, length: timedelta) -> datetime:
    """Return the first instant of the window that holds a moment: windows begin at whole multiples since 1970.

    >>> window_start(datetime(2026, 3, 1, 10, 47, tzinfo=UTC), timedelta(hours=1)).isoformat()
    '2026-03-01T10:00:00+00:00'
    """
    return _EPOCH + (moment - _EPOCH) // length * length
