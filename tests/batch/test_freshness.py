"""How old a dataset is: against its input as it is now, by footers alone."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch.freshness import check_freshness, compare_files
from twinscore.batch.read import CommittedRun, open_run
from twinscore.batch.spec_parts import FreshnessSpec

from .conftest import Run, make_input, write_rows

CONTENT = st.tuples(st.integers(0, 2), st.sampled_from("xyz"))
FILES = st.dictionaries(st.sampled_from("abcdef"), CONTENT)


@pytest.fixture
def made(run: Run) -> CommittedRun:
    """A run over three files."""
    return open_run(run().folder)


def began(run: CommittedRun) -> datetime:
    return datetime.fromisoformat(run.manifest["started_at"])


def newest(folder: Path) -> datetime:
    """Return the newest event time by reading every value."""
    moment = pc.max(pq.read_table(folder, columns=["opened_at"])["opened_at"]).as_py()
    assert isinstance(moment, datetime)
    return moment


def test_nothing_changed_is_fresh(made: CommittedRun) -> None:
    """The input is what the run read, however old that is, as long as no age is given."""
    found = check_freshness(made, now=began(made) + timedelta(days=400))

    assert (found.verdict, found.is_current) == ("fresh", True)
    assert (found.rows_then, found.rows_now) == (3_000, 3_000)
    assert found.run_age == timedelta(days=400)


def test_what_changed_is_named(made: CommittedRun, data: Path) -> None:
    """New, changed and vanished files are told apart, with the rows that are there now."""
    write_rows(data / "day-3.parquet", make_input(seed=3))
    write_rows(data / "day-1.parquet", make_input(500, seed=9))
    (data / "day-0.parquet").unlink()
    found = check_freshness(made)

    assert (found.new, found.changed, found.vanished) == (("day-3.parquet",), ("day-1.parquet",), ("day-0.parquet",))
    assert (found.verdict, found.rows_now) == ("stale", 2_500)
    assert "1 new (day-3.parquet)" in found.reason


def test_age_is_that_of_the_newest_event(made: CommittedRun, data: Path) -> None:
    """With an event time, the age counts from the newest one, read from the footers' statistics."""
    last = newest(data)
    spec = FreshnessSpec(max_age="26h")
    fresh = check_freshness(made, spec, now=last + timedelta(hours=26), time_column="opened_at")
    stale = check_freshness(made, spec, now=last + timedelta(hours=27), time_column="opened_at")

    assert (fresh.verdict, fresh.data_age, fresh.newest_by) == ("fresh", timedelta(hours=26), "event time")
    assert fresh.newest_in_run == fresh.newest_in_input == last
    assert stale.verdict == "stale"
    assert "Nothing newer came in" in stale.reason


def test_newer_events_are_seen_in_the_input(made: CommittedRun, data: Path) -> None:
    """What came in since is newer in the input and unknown to the run."""
    before = newest(data)
    table = make_input(seed=3)
    later = pa.array([before + timedelta(days=2)] * table.num_rows, pa.timestamp("us", tz="UTC"))
    write_rows(data / "day-3.parquet", table.set_column(table.schema.get_field_index("opened_at"), "opened_at", later))
    found = check_freshness(made, FreshnessSpec(max_age="1d"), now=before + timedelta(days=3), time_column="opened_at")

    assert (found.newest_in_run, found.newest_in_input) == (before, before + timedelta(days=2))
    assert (found.verdict, found.data_age) == ("stale", timedelta(days=3))
    assert found.reason.endswith("Score it again.")


def test_without_event_time_the_look_counts(made: CommittedRun) -> None:
    """No such column: the age is that of the run's look at its input, the newest thing there a modification time."""
    spec = FreshnessSpec(max_age="2h")
    fresh = check_freshness(made, spec, now=began(made) + timedelta(hours=2), time_column="no_such")
    stale = check_freshness(made, spec, now=began(made) + timedelta(hours=3))

    assert (fresh.verdict, stale.verdict) == ("fresh", "stale")
    assert (fresh.newest_in_run, fresh.newest_by) == (None, "modification time")


def test_changed_within_the_age_is_fresh(made: CommittedRun, data: Path) -> None:
    """A file that has just come in does not make a young dataset stale; it is named."""
    write_rows(data / "day-3.parquet", make_input(seed=3))
    found = check_freshness(made, FreshnessSpec(max_age="1h"), now=began(made) + timedelta(minutes=5))

    assert found.verdict == "fresh"
    assert "1 new (day-3.parquet)" in found.reason


def test_input_that_is_gone_is_unknown(made: CommittedRun, data: Path) -> None:
    """Nobody can tell, and that is said; an empty folder is an answer."""
    moved = data.rename(data.with_name("moved"))
    gone = check_freshness(made, FreshnessSpec(max_age="1s"))
    elsewhere = check_freshness(made, source=str(moved))
    data.mkdir()
    emptied = check_freshness(made)

    assert (gone.verdict, gone.rows_now, gone.is_current) == ("unknown", None, False)
    assert "does not exist" in gone.reason
    assert elsewhere.verdict == "fresh"
    assert (emptied.verdict, len(emptied.vanished)) == ("stale", 3)


def test_corrupt_file_is_unknown(made: CommittedRun, data: Path) -> None:
    """A file that is being written by somebody is no verdict."""
    (data / "day-3.parquet").write_bytes(b"PAR1 and nothing more")

    assert check_freshness(made).verdict == "unknown"


def test_moved_file_is_no_change(made: CommittedRun, data: Path) -> None:
    """The same bytes under another name hold the same rows."""
    (data / "older").mkdir()
    shutil.move(data / "day-0.parquet", data / "older" / "first.parquet")

    assert check_freshness(made).is_current


def test_plain_values_are_json(made: CommittedRun) -> None:
    """Ages are seconds, times are ISO 8601 with a zone; a time without a zone is UTC."""
    naive = datetime(2099, 1, 1)
    plain = check_freshness(made, now=naive).to_plain()

    assert plain["run_age"] == (naive.replace(tzinfo=UTC) - began(made)).total_seconds()
    assert plain["newest_in_input"].endswith("+00:00")


@given(FILES, FILES)
def test_changes_explain_the_difference(then: dict[str, tuple[int, str]], now: dict[str, tuple[int, str]]) -> None:
    """What vanished taken away and what is new added gives the contents of now; equal inputs have no changes."""
    found = compare_files(then, now)
    contents = sorted(content for name, content in then.items() if name not in found.vanished + found.changed)
    contents += [now[name] for name in found.new + found.changed]

    assert sorted(contents) == sorted(now.values())
    assert compare_files(now, now) == ((), (), ())
    assert set(found.changed) <= set(then) & set(now)
