"""How a running batch looks: at a terminal, in a file, for a program."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog
from rich.console import Console

from twinscore.batch.progress import STEPS, Progress, at_most_every
from twinscore.cli.live import _STEPS, show_progress
from twinscore.clock import FixedClock

EVENTS = [
    Progress("resolve", 0, 0, 0, 0.0, None, "demo@champion"),
    Progress("snapshot", 0, 0, 0, 0.0, None, "demo/[3]"),
    Progress("score", 0, 4_000, 0, 0.0, None),
    Progress("score", 1_000, 4_000, 7, 500.0, 66.0),
    Progress("score", 4_000, 4_000, 9, 800.0, 0.0),
    Progress("keys", 0, 4_000, 0, 0.0, None),
    Progress("commit", 0, 4_000, 0, 0.0, None),
    Progress("done", 4_000, 4_000, 9, 700.0, 0.0, "run 0123 at out"),
]


def shown(*, terminal: bool, events: list[Progress], width: int = 140) -> str:
    """Return what a console was sent."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, color_system=None, legacy_windows=False)
    with show_progress(console) as show:
        for event in events:
            show(event)
    return out.getvalue()


def test_every_step_has_a_label() -> None:
    """No step of a run is shown by its bare name."""
    assert tuple(_STEPS) == STEPS


def test_terminal_keeps_a_line_for_each_step() -> None:
    """At the end each step stands there once, ticked, in order, with what it counted; no markup is read from names."""
    last = [line for line in shown(terminal=True, events=EVENTS).splitlines() if line.strip()][-7:]
    labels = ["Connecting to Ray", *(_STEPS[name] for name in ("resolve", "snapshot", "score", "keys", "commit"))]

    assert labels == [line.split("✓")[1].split("━")[0].strip() for line in last if "✓" in line]
    assert "4,000 of 4,000 rows, 800 rows/s, 9 in quarantine" in last[3]
    assert "demo/[3]" in last[2]


def test_terminal_shows_rows_rate_quarantine_and_time_left() -> None:
    """While a step runs, its line has all that a person waits for."""
    facts = "1,000 of 4,000 rows, 500 rows/s, 7 in quarantine, 1:06 left"

    assert facts in shown(terminal=True, events=EVENTS[:4])
    assert "1:06 left" in shown(terminal=True, events=EVENTS[:4], width=70)


def test_file_has_one_line_for_each_step() -> None:
    """Without a terminal there is nothing but lines, one for each step when it is quick, with no control character."""
    lines = shown(terminal=False, events=EVENTS).splitlines()

    assert [_STEPS[name] for name in ("resolve", "snapshot", "score", "keys", "commit", "done")] == [
        next(label for label in _STEPS.values() if line.startswith(label)) for line in lines
    ]
    assert lines[-1] == "Done 4,000 of 4,000 rows, 700 rows/s, 9 in quarantine, run 0123 at out"
    assert all(line.isprintable() for line in lines)


def test_later_events_come_at_most_so_often() -> None:
    """A step's first event always passes, then one in ten seconds, whatever came before in other steps."""
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    told: list[tuple[str, int]] = []
    show = at_most_every(10.0, lambda event: told.append((event.step, event.rows_done)), clock)
    for second in range(25):
        show(Progress("score" if second < 22 else "keys", second, 100, 0, 1.0, None))
        clock.advance(1.0)

    assert told == [("score", 0), ("score", 10), ("score", 20), ("keys", 22)]


@pytest.fixture
def quiet_structlog() -> Iterator[None]:
    """Give structlog its own settings back."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet_structlog")
def test_program_gets_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is one JSON object with the step and its counts."""
    with show_progress(Console(file=io.StringIO()), as_json=True) as show:
        for event in EVENTS:
            show(event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["event"] for line in lines] == ["resolve", "snapshot", "score", "keys", "commit", "done"]
    assert (lines[-1]["rows_done"], lines[-1]["rows_quarantined"], lines[0]["detail"]) == (4_000, 9, "demo@champion")
