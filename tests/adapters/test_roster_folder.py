"""The roster of listeners: who counts, for how long, and what is swept."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from twinscore.adapters.roster_folder import RosterFolder
from twinscore.clock import FixedClock
from twinscore.errors import StoreUnavailable
from twinscore.ports.listener_roster import STALE_S, Listener

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> FixedClock:
    """The reader's clock."""
    return FixedClock(START)


@pytest.fixture
def roster(tmp_path: Path, clock: FixedClock) -> RosterFolder:
    """A roster in a folder that does not exist yet."""
    return RosterFolder(tmp_path / "listeners", clock)


def listener(replica: str = "a", *, model: str = "loans", renewed_at: datetime = START) -> Listener:
    return Listener(model, replica, "127.0.0.1", 31_001, 64, "ready", renewed_at)


def entry(tmp_path: Path, replica: str = "a", model: str = "loans") -> Path:
    return tmp_path / "listeners" / model / f"{replica}.json"


def test_what_is_announced_is_listed_until_it_is_withdrawn(roster: RosterFolder) -> None:
    """An empty roster is no error; entries come back equal, sorted, and withdrawing twice is fine."""
    a, b = listener("a"), replace(listener("b"), state="draining")

    before = roster.listeners()
    roster.announce(b)
    roster.announce(a)
    both = roster.listeners()
    roster.withdraw("loans", "b")
    roster.withdraw("loans", "b")

    assert (before, both, roster.listeners()) == ((), (a, b), (a,))


def test_entry_that_is_not_renewed_stops_to_count(roster: RosterFolder, clock: FixedClock) -> None:
    """After five seconds without news an entry is ignored, and with news it is back at once."""
    roster.announce(listener())
    first = roster.listeners()
    clock.advance(STALE_S)
    last = roster.listeners()
    clock.advance(0.1)
    stale = roster.listeners()
    renewed = listener(renewed_at=clock.now())
    roster.announce(renewed)

    assert (first, last, stale) == ((listener(),), (listener(),), ())
    assert roster.listeners() == (renewed,)


def test_clocks_of_two_machines_are_not_compared(roster: RosterFolder, clock: FixedClock) -> None:
    """An owner whose clock is an hour wrong is believed as soon as it was seen to renew its entry."""
    hour = timedelta(hours=1)
    roster.announce(listener(renewed_at=START - hour))
    unknown = roster.listeners()
    clock.advance(1)
    late = listener(renewed_at=clock.now() - hour)
    roster.announce(late)

    assert unknown == ()
    assert roster.listeners() == (late,)


def test_entry_of_a_dead_process_is_swept(roster: RosterFolder, tmp_path: Path) -> None:
    """A process that was killed withdraws nothing; its entry goes at the next look, however young it is."""
    code = (
        "import sys\nfrom datetime import datetime\nfrom pathlib import Path\n"
        "from twinscore.adapters.roster_folder import RosterFolder\n"
        "from twinscore.ports.listener_roster import Listener\n"
        f"at = datetime.fromisoformat({START.isoformat()!r})\n"
        "RosterFolder(Path(sys.argv[1])).announce(Listener('loans', 'a', '127.0.0.1', 1, 1, 'ready', at))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "listeners")], check=True)
    there = entry(tmp_path).exists()

    assert there
    assert roster.listeners() == ()
    assert not entry(tmp_path).exists()


def test_stale_entry_of_another_machine_is_swept_later(roster: RosterFolder, clock: FixedClock, tmp_path: Path) -> None:
    """Whether a process of another machine lives cannot be seen, so its entry stays for a minute."""
    roster.announce(listener())
    path = entry(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", "pid": 1}))
    first = roster.listeners()
    clock.advance(30)
    stale, kept = roster.listeners(), path.exists()
    clock.advance(31)

    assert (first, stale, kept) == ((listener(),), (), True)
    assert roster.listeners() == ()
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": "loans"}', "\x00"])
def test_what_is_no_entry_is_ignored(roster: RosterFolder, tmp_path: Path, text: str) -> None:
    """A file that somebody else put there hides no listener."""
    roster.announce(listener())
    entry(tmp_path, "z").write_text(text)

    assert roster.listeners() == (listener(),)


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "with space", "ü"])
def test_names_stay_inside_the_folder(roster: RosterFolder, tmp_path: Path, name: str) -> None:
    """Whatever a model or replica is called, its entry is one visible file two levels down."""
    odd = listener(name, model=name)

    roster.announce(odd)

    assert roster.listeners() == (odd,)
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.json")] == ["listeners"]


def test_roster_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file in place of the folder is refused with its path."""
    (tmp_path / "listeners").write_text("")

    with pytest.raises(StoreUnavailable, match=r"listeners/loans/a\.json cannot be written"):
        RosterFolder(tmp_path / "listeners").announce(listener())
