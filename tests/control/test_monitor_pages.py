"""What the control serves about watched models, without Serve: metrics, targets, reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from twinscore.clock import FixedClock, SystemClock
from twinscore.control.monitor_pages import MonitorPages
from twinscore.errors import ModelNotFound
from twinscore.monitoring.figure import Figure
from twinscore.ports.listener_roster import Listener
from twinscore.settings import Settings
from twinscore.testing.figures import START, Watched, watched_story
from twinscore.wiring import listener_roster, window_store


@pytest.fixture
def story() -> Watched:
    """Two days."""
    return watched_story(days=2)


@pytest.fixture
def settings(tmp_path: Path, story: Watched) -> Settings:
    """A home with the figures of one model."""
    made = Settings(home=tmp_path)
    write(made, story)
    return made


def write(settings: Settings, story: Watched) -> None:
    """Write the figures of a story."""
    windows: dict[datetime, list[Figure]] = {}
    for one in story.figures:
        windows.setdefault(one.start, []).append(one)
    window_store(settings.lake, "loans").write({start: ("made up", found) for start, found in windows.items()})


def watching(settings: Settings, story: Watched) -> MonitorPages:
    """Return what is tested, at the end of the story."""
    return MonitorPages(settings, clock=FixedClock(story.now), incidents=lambda: {"loans": story.incidents})


def test_metrics_follow_the_files(settings: Settings, story: Watched) -> None:
    """A second scrape has the same text; figures that were written since are in the next one."""
    made = watching(settings, story)
    before = made.metrics()
    later = [replace(one, start=one.start + timedelta(days=2), end=one.end + timedelta(days=2), value=0.75)
             for one in story.figures if one.metric == "psi"]  # fmt: skip

    assert 'twinscore_watch_psi{model="loans",path="online"' in before
    assert made.metrics() is before
    write(settings, Watched(later, [], [], story.now))
    assert "} 0.75" in made.metrics()


def test_figures_that_are_too_old_are_not_shown(settings: Settings, story: Watched) -> None:
    """Weeks later nothing is left but the model, so that a rule about silence can speak."""
    late = MonitorPages(settings, clock=FixedClock(START + timedelta(days=40)))

    assert "twinscore_watch_psi" not in late.metrics()
    assert 'twinscore_watch_left_out{model="loans"} 0.0' in late.metrics()


def test_report_of_a_model(settings: Settings, story: Watched) -> None:
    """The report has the model's windows; an unknown model is named with what is near."""
    made = watching(settings, story)

    assert made.report("loans")["headline"]["state"] == "good"
    with pytest.raises(ModelNotFound, match="loans"):
        made.report("loan")
    with pytest.raises(ModelNotFound):
        made.report("../loans")


def test_listeners_are_targets_with_their_model(settings: Settings, story: Watched) -> None:
    """Each replica is scraped at its own address and path; an unknown part is refused."""
    made = watching(settings, story)
    roster = listener_roster(settings)
    for host, replica in (("127.0.0.1", "a"), ("::1", "b")):
        roster.announce(Listener("loans", replica, host, 30_001, 8, "ready", SystemClock().now()))

    assert made.targets("listeners") == [
        {"targets": ["127.0.0.1:30001"],
         "labels": {"__metrics_path__": "/loans/metrics", "model": "loans", "replica": "a"}},
        {"targets": ["[::1]:30001"],
         "labels": {"__metrics_path__": "/loans/metrics", "model": "loans", "replica": "b"}},
    ]  # fmt: skip
    assert made.targets("edge") == []
    assert made.targets("ray") == []
    with pytest.raises(ModelNotFound, match="listeners"):
        made.targets("listener")
