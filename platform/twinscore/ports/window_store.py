"""Where the counts and figures of watched windows are kept; knows no file format.

Counts are kept by their source, a piece of the audit log or a run: whoever writes a source again replaces what it added
before, so nothing is ever counted twice. The tally of a window is the sum over its sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.window_key import WindowKey

__all__ = ["Counted", "SourceEntry", "WindowCounts", "WindowFigures", "WindowStore"]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """What is known of a source without its tallies."""

    source: str
    state: Mapping[str, Any]
    """JSON values: which content was counted, and how."""
    windows: tuple[tuple[datetime, datetime, str], ...]
    """Start, end and digest of what it adds to each window."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one source adds to the windows, as JSON values."""

    source: str
    state: Mapping[str, Any]
    tallies: tuple[tuple[WindowKey, Mapping[str, Any]], ...] | None
    """None leaves what it added before as it is, and changes the state alone."""


class WindowCounts(Protocol):
    """Counts of one model's sources."""

    def entries(self) -> dict[str, SourceEntry]:
        """Return what is known of every source, by its name."""
        ...

    def put(self, counted: Counted) -> None:
        """Write what a source adds; what it added before is gone in the same step.

        Raises:
            StoreUnavailable: the store refuses; what was there stays.
        """
        ...

    def tallies(
        self, starts: Sequence[datetime], keep: Callable[[WindowKey], bool] | None = None
    ) -> Iterator[tuple[WindowKey, dict[str, Any]]]:
        """Yield what each source adds to the windows that begin then, of the keys that are kept, in no order."""
        ...

    def consolidate(self) -> int:
        """Take what lies in many small pieces together, and return how many went away; the counts stay."""
        ...


class WindowFigures(Protocol):
    """Figures of one model's closed windows."""

    def stamps(self) -> dict[datetime, str]:
        """Return for each window that has figures what they were made of, by the window's start."""
        ...

    def write(self, windows: Mapping[datetime, tuple[str, Sequence[Figure]]]) -> None:
        """Replace the figures of windows, and what they were made of, by start.

        Raises:
            StoreUnavailable: the store refuses.
        """
        ...

    def read(
        self, since: datetime | None = None, until: datetime | None = None, keep: Callable[[Figure], bool] | None = None
    ) -> list[Figure]:
        """Return the figures of windows that begin in a span of time, in order of time."""
        ...


class WindowStore(WindowCounts, WindowFigures, Protocol):
    """Counts and figures of one model."""

    def locked(self) -> AbstractContextManager[None]:
        """Be the only one who looks for what is due; others may read.

        Raises:
            StoreConflict: another job is at it.
        """
        ...
