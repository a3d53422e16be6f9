"""What was counted of a watched model so far, and its newest figures; knows no Ray."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from twinscore.errors import ModelNotFound, near
from twinscore.monitoring.exposition import newest_figures
from twinscore.wiring import window_store

if TYPE_CHECKING:
    from twinscore.monitoring.figure import Figure
    from twinscore.settings import Settings

__all__ = ["WatchStatus", "watch_status"]


@dataclass(frozen=True, slots=True)
class WatchStatus:
    """What looks came to."""

    sources: int
    rows: int
    """With a score."""
    windows: int
    """Closed ones that have figures."""
    newest: tuple[Figure, ...]
    """Of all rows, by metric and subject."""

    def to_plain(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        times = ("start", "end")
        newest = [{**asdict(one), **{name: getattr(one, name).isoformat() for name in times}} for one in self.newest]
        return {"sources": self.sources, "rows": self.rows, "windows": self.windows, "newest": newest}


def watch_status(settings: Settings, model: str) -> WatchStatus:
    """Return what was counted of a model.

    Raises:
        ModelNotFound: nobody looked at it yet.
    """
    store = window_store(settings.lake, model)
    entries, stamps = store.entries(), store.stamps()
    if not entries and not stamps:
        known = [path.name for path in (settings.lake / "windows").glob("*")]
        message = f"Nobody watched a model {model!r} yet: `twinscore monitor run --model {model}`. {near(model, known)}"
        raise ModelNotFound(message, model=model)
    last = max(stamps, default=None)
    figures = [] if last is None else store.read(keep=lambda one: not one.segment)
    return WatchStatus(
        sources=len(entries),
        rows=sum(int(entry.state.get("rows", 0)) for entry in entries.values()),
        windows=len(stamps),
        newest=tuple(newest_figures(figures)),
    )
