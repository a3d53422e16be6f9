"""The process of a shadow as threads of the test: the same run, asked and looked at from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinscore.online.shadow_feed import ShadowFeed
from twinscore.online.shadow_process import ShadowJob
from twinscore.online.shadow_run import ShadowRun
from twinscore.rollout.routing import Routing, Shadow
from twinscore.settings import Settings


def in_threads(
    settings: Settings, ask: Any, *, policy: Any = None, **options: Any
) -> Callable[[Routing, Shadow], Callable[[str], Callable[[], None]]]:
    """Return what a switch starts instead of processes; `ask` stands where the application would."""

    def start(routing: Routing, shadow: Shadow) -> Callable[[str], Callable[[], None]]:
        def begin(path: str) -> Callable[[], None]:
            ShadowRun(path, ShadowJob.of(settings, routing, shadow, policy), ask=ask, **options)
            return lambda: None

        return begin

    return start


def stored(settings: Settings, *bundles: Any) -> Path:
    """Put bundles where a replica and its shadows find them, and return the folder."""
    folder = settings.lake / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    for bundle in bundles:
        if not (folder / bundle.digest).exists():
            (folder / bundle.digest).symlink_to(bundle.folder)
    return folder


def until(holds: Callable[[], Any], timeout_s: float = 20.0) -> None:
    """Wait for something that comes about in other threads."""
    deadline = time.monotonic() + timeout_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert holds()


def told(feed: ShadowFeed, *, rows: int) -> dict[str, Any]:
    """Return the counts of a feed once its process has told what became of so many rows."""
    until(lambda: sum(feed.counts()[name] for name in ("compared", "refused", "failed", "skipped", "dropped")) >= rows)
    return feed.counts()
