"""Old days go whole, with a tombstone before them; what is needed stays, and the log can be proved all the while."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from twinscore.audit.compaction import compact_model
from twinscore.audit.disk import Disk
from twinscore.audit.expire import Expired, Reason, expire_model
from twinscore.audit.find import find_request
from twinscore.audit.places import REMOVED, STREAMS, days
from twinscore.audit.tombstone import read_tombstones
from twinscore.audit.verify import verify_model
from twinscore.audit.watched import is_whole
from twinscore.audit.window import Piece, Window, pieces_of, read_piece
from twinscore.bundle.files import Bundle
from twinscore.clock import FixedClock
from twinscore.errors import StoreConflict, StoreUnavailable

from .logs import KEY, scored_records, visible, write_log
from .test_compaction import Dying

DAY_US = 86_400_000_000
NOW = datetime(2026, 2, 10, 15, tzinfo=UTC)
"""Forty days after the first day of the log."""


@pytest.fixture
def folder(tmp_path: Path, bundle: Bundle) -> Path:
    """A compacted log of 2026-01-01 to 2026-01-04, of one stream with segments that span days, and an open rest."""
    place = tmp_path / "log"
    records = [
        msgspec.structs.replace(record, received_us=record.received_us + DAY_US * (number // 10))
        for number, record in enumerate(scored_records(bundle, 40))
    ]
    write_log(place, records, segment_bytes=1_500)
    compact_model(place, KEY, lambda _: bundle.contract)
    return place


def expire(
    folder: Path, keep_days: int = 38, *, reasons: Sequence[Reason] = (), unread: Collection[Piece] = (), **more: Any
) -> Expired:
    return expire_model(
        folder, KEY, keep=timedelta(days=keep_days), by="ann", why="kept for 38d", reasons=reasons, unread=unread,
        clock=FixedClock(NOW), **more,
    )  # fmt: skip


def test_old_days_go_and_the_chain_holds(folder: Path, bundle: Bundle) -> None:
    """Two days are older than 38; both are named by signed tombstones, and what is left is as it was."""
    before = verify_model(folder, KEY)
    done = expire(folder)
    (state,) = verify_model(folder, KEY, known={one.stream: (one.records, one.chain) for one in before})
    stones = list(read_tombstones(folder).values())

    assert ("2026-01-03", ["2026-01-01", "2026-01-02"]) == (done.before, [day.day for day in done.removed])
    assert [date(2026, 1, 3), date(2026, 1, 4)] == days(folder)
    assert ((), 20, 40) == (state.faults, state.removed_rows, state.records)
    assert (before[0].records, before[0].chain, before[0].segments) == (state.records, state.chain, state.segments)
    assert [("2026-01-01", "ann", 10), ("2026-01-02", "ann", 10)] == [
        (stone.day, stone.by, sum(part.rows for part in stone.parts)) for stone in stones
    ]
    assert all(0 < part.last_us - part.first_us < DAY_US for stone in stones for part in stone.parts)
    assert [] == find_request(folder, "q-3", lambda _: bundle.contract)
    assert 1 == len(find_request(folder, "q-33", lambda _: bundle.contract))
    assert ((), ()) == (expire(folder).days, expire(folder, keep_days=3000).days)


def test_readers_pass_over_what_was_removed(folder: Path, bundle: Bundle) -> None:
    """A window that reaches into removed days has the rows that are left; a file that just vanished is no such."""
    expire(folder)
    read = [
        table.num_rows
        for piece in pieces_of(folder)
        for table in read_piece(folder, piece, lambda _: bundle.contract, window=Window(), roles=["live"])
    ]
    whole = [is_whole(folder, piece) for piece in pieces_of(folder)]
    gone = max(folder.glob("date=2026-01-04/*.parquet"))
    gone.unlink()

    assert 20 == sum(read)
    assert {True, False} == set(whole)
    with pytest.raises(FileNotFoundError):
        read_piece(folder, pieces_of(folder)[-1], lambda _: bundle.contract, window=Window(), roles=["live"])


def test_a_dry_run_touches_nothing(folder: Path) -> None:
    """It says the same and leaves every byte."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said = expire(folder, dry_run=True)

    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert said == expire(folder)


def test_what_is_needed_stays_whole(folder: Path) -> None:
    """A hold by its days, a piece that is unread by the days that it has rows of."""
    held = expire(folder, reasons=[Reason(None, date(2026, 1, 1), "held: case 17")], dry_run=True)
    open_end = expire(folder, reasons=[Reason(date(2026, 1, 2), None, "held: case 18")], dry_run=True)
    pieces = pieces_of(folder)
    unread = expire(folder, unread=[pieces[0]])

    assert [("held: case 17",), ()] == [day.kept for day in held.days]
    assert [(), ("held: case 18",)] == [day.kept for day in open_end.days]
    assert [("the monitor has not read segment 1 of stream r1 yet",), ()] == [day.kept for day in unread.days]
    assert [date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 4)] == days(folder)


def test_killed_at_every_call_and_done_again(folder: Path, tmp_path: Path) -> None:
    """Whatever call a removal is killed before, the log is whole then, and the next one ends it."""
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    expire(whole)
    wanted = visible(whole)
    finished, calls = False, 0
    while not finished:
        copy = tmp_path / f"killed-{calls}"
        shutil.copytree(folder, copy)
        try:
            expire(copy, disk=Dying(calls))
            finished = True
        except KeyboardInterrupt:
            assert [()] == [state.faults for state in verify_model(copy, KEY)], calls
            expire(copy)
        (state,) = verify_model(copy, KEY)
        assert wanted == visible(copy), calls
        assert ((), 20) == (state.faults, state.removed_rows), calls
        parts = [part.name for stone in read_tombstones(copy).values() for part in stone.parts]
        assert len(parts) == len(set(parts)), calls
        calls += 1
    assert calls > 10


def test_a_hold_that_comes_between_kill_and_finish_is_kept(folder: Path) -> None:
    """The tombstone was written, the files were not removed: they stay while they are needed."""
    with pytest.raises(KeyboardInterrupt):
        expire(folder, disk=Dying(6))
    assert (folder / REMOVED).is_dir()
    done = expire(folder, reasons=[Reason(date(2026, 1, 1), date(2026, 1, 31), "held: case 19")])
    (state,) = verify_model(folder, KEY)

    assert () == done.removed
    assert ((), 0) == (state.faults, state.removed_rows)


def test_what_is_not_as_compaction_left_it_stays(folder: Path) -> None:
    """A changed file, a file without a head, a stranger's file: each is named, and its day stays."""
    changed = next(folder.glob("date=2026-01-01/*.parquet"))
    changed.write_bytes(changed.read_bytes() + b"x")
    (folder / "date=2026-01-02" / "notes.txt").write_text("mine")
    done = expire(folder)
    for head in (folder / STREAMS / "r1").glob("*.head"):
        head.unlink()
    headless = expire(folder)

    assert "is not the file that compaction wrote" in done.days[0].kept[0]
    assert "notes.txt is no file of compaction" in done.days[1].kept[0]
    assert "is not compacted to its end" in headless.days[1].kept[0] + headless.days[1].kept[-1]
    assert 4 == len(days(folder))


def test_a_file_that_somebody_else_removed_is_a_fault(folder: Path) -> None:
    """Without a tombstone, with one that another key signed, and with one whose words were changed."""
    expire(folder)
    path, stone = next(iter(read_tombstones(folder).items()))
    path.write_bytes(path.read_bytes().replace(b'"by":"ann"', b'"by":"bob"'))
    forged = verify_model(folder, KEY)
    path.unlink()
    missing = verify_model(folder, KEY)
    path.write_bytes(b"{}")
    unreadable = verify_model(folder, KEY)

    assert stone.day == "2026-01-01"
    assert [f"{path} was not signed with this key."] == list(forged[-1].faults)
    assert forged[0].faults
    assert any("date=2026-01-01" in fault and "missing" in fault for fault in missing[0].faults)
    assert "cannot be read" in unreadable[-1].faults[0]


def test_it_waits_for_compaction_and_says_so_when_the_disk_fails(folder: Path) -> None:
    """One at a time on a log; a full disk leaves what was there."""

    class Full(Disk):
        def create(self, path: Path) -> int:
            raise OSError(28, "No space left on device")

    lock = Disk().lock(folder / STREAMS / "lock")
    with pytest.raises(StoreConflict, match="compacted"):
        expire(folder)
    Disk().close(lock)
    with pytest.raises(StoreUnavailable, match="No space left"):
        expire(folder, disk=Full())
    assert 4 == len(days(folder))
