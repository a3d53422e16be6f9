"""Watching outcomes that come late, and committed runs beside their input."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from twinscore.batch.read import open_run
from twinscore.batch.report import RunReport
from twinscore.batch.spec_parts import QuarantineLimit
from twinscore.errors import InputError
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.scored_rows import block_of
from twinscore.monitoring.spec import MonitorSpec, WatchedLabels
from twinscore.monitoring.tally import WindowTally
from twinscore.scoring.table import score

from .conftest import Run, change, make_input, write_rows
from .watched import START, Watched, labels_file, rows_of

HOUR = timedelta(hours=1)
DAY_S = 86_400.0


def test_late_labels_revise_their_windows_once(watched: Watched) -> None:
    """Outcomes that come later change the windows of their rows, and those soon after, which start from them; once."""
    labels = WatchedLabels(path="labels", column="paid", at="at")
    watched.spec = MonitorSpec(labels=labels)
    watched.write(1, 100, segment_bytes=20_000)
    watched.write(2, 50, start=START + 5 * HOUR, stream="r2")
    labels_file(watched, "a.parquet", range(40))
    watched.look()

    def labelled() -> list[float | None]:
        return [one.value for one in watched.figures("labelled_share", segment="")]

    first = labelled()
    accuracy = [one.value for one in watched.figures("accuracy")]
    watched.compact()
    quiet = watched.look()
    labels_file(watched, "b.parquet", range(40, 100))
    late = watched.look()
    second = labelled()
    again = watched.look()
    labels_file(watched, "c.parquet", range(30), flip=True)
    corrected = watched.look()

    assert ([0.4, 0.0], [1.0, 0.0]) == (first, second)
    assert (0, 0) == (quiet.counted, again.counted)
    assert ((START, START + 5 * HOUR), (START, START + 5 * HOUR)) == (late.windows, corrected.windows)
    assert late.glanced >= 1
    assert accuracy != [one.value for one in watched.figures("accuracy")]
    assert {"": 150} == rows_of(watched)


def test_outcomes_wait_until_rows_are_old_enough(watched: Watched) -> None:
    """A label that comes early is not counted before the others are due; then it is, without a new file."""
    watched.spec = MonitorSpec(labels=WatchedLabels(path="labels", column="paid", maturity="2d"))
    watched.write(1, 60)
    labels_file(watched, "a.parquet", range(60))
    watched.look()
    early = watched.figures("labelled_share")
    watched.now = START + timedelta(days=3)
    watched.look()
    (ripe,) = watched.figures("labelled_share")

    assert [None] == [one.value for one in early]
    assert "not expected yet" in early[0].note
    assert (1.0, 60) == (ripe.value, ripe.rows)


def test_estimates_learn_from_sparse_outcomes_of_many_windows(watched: Watched) -> None:
    """A hundred an hour are enough after ten hours, if they were due by then; late ones change what follows."""
    watched.spec = MonitorSpec(labels=WatchedLabels(path="labels", column="paid", at="at", maturity="3h"))
    for hour in range(14):
        watched.write(1, 100, start=START + hour * HOUR, stream=f"h{hour}")
    labels_file(watched, "a.parquet", range(100))
    watched.look()
    notes = [one.note for one in watched.figures("estimated_auc")]
    learnt = [int(found[1]) if (found := re.search(r"in the (\d+) labelled", note)) else 0 for note in notes]
    watched.write(2, 50, start=START, stream="late")
    labels_file(watched, "b.parquet", range(50), seed=2)
    late = watched.look()
    after = [one.note for one in watched.figures("estimated_auc")]

    assert [1_000, 1_100] == learnt[-2:]
    assert len(set(learnt[:-2])) == 1  # the bundle's own, until there are enough
    assert START + 13 * HOUR in late.windows
    assert "in the 1150 labelled" in after[-1]
    assert () == watched.look().windows


def test_how_long_outcomes_took(watched: Watched) -> None:
    """The wait is that for the first word on a row, corrections or not, and is revised as late outcomes come."""
    watched.spec = MonitorSpec(segments=("plan",), labels=WatchedLabels(path="labels", column="paid", at="at"))
    watched.write(1, 60, step_s=0.0)
    labels_file(watched, "a.parquet", range(20), days=1)
    watched.look()

    def told() -> list[tuple[float | None, int, str]]:
        names = ("label_delay_s_p50", "label_delay_s_p90")
        return [(one.value, one.rows, one.note) for name in names for one in watched.figures(name, segment="")]

    (half, rows, note), (most, _, _) = told()
    labels_file(watched, "b.parquet", range(20, 60), days=10)
    labels_file(watched, "c.parquet", range(20), days=30, flip=True)
    watched.look()
    late = [value for value, _, _ in told()]
    by_plan = watched.figures("label_delay_s_p50")
    again = watched.look()

    assert (20, "of 20 of 60 rows; the others' outcomes are not known yet, or not when they were") == (rows, note)
    assert [DAY_S, DAY_S] == pytest.approx([half, most], rel=0.005)
    assert [10 * DAY_S, 10 * DAY_S] == pytest.approx(late, rel=0.005)
    assert 60 == sum(one.rows for one in by_plan if one.segment)
    assert (0, 0) == (again.counted, len(again.windows))


def test_labels_without_times_say_nothing_of_delay(watched: Watched) -> None:
    """The figure is there and says what to name."""
    watched.spec = MonitorSpec(labels=WatchedLabels(path="labels", column="paid"))
    watched.write(1, 30)
    labels_file(watched, "a.parquet", range(30))
    watched.look()
    (one,) = watched.figures("label_delay_s_p90")

    assert one.value is None
    assert "monitor.labels.at" in one.note


def test_labels_by_request_and_labels_that_disagree(watched: Watched) -> None:
    """Outcomes may name the request; two of them that say different things are refused, and what was counted stays."""
    watched.spec = MonitorSpec(labels=WatchedLabels(path="labels/a.parquet", column="paid", request="id"))
    watched.write(1, 10)
    folder = watched.settings.lake / "labels"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": ["q-1-0", "q-1-3"], "paid": ["yes", "no"]}), folder / "a.parquet")
    watched.look()
    (share,) = watched.figures("labelled_share")
    pq.write_table(pa.table({"id": ["q-1-0", "q-1-0"], "paid": ["yes", "no"]}), folder / "a.parquet")
    look = watched.look()

    assert 0.2 == share.value
    assert "say different things of request=q-1-0" in look.waiting[0]
    assert InputError.__name__ not in look.waiting[0]
    assert [0.2] == [one.value for one in watched.figures("labelled_share")]


@pytest.fixture
def scored(watched: Watched, data: Path, run: Run) -> tuple[Watched, RunReport]:
    """A run over files with rows that are refused, for their cells and for their keys."""
    rows = change(make_input(seed=1), "age", {5: None, 700: None})
    write_rows(data / "day-1.parquet", change(rows, "row_id", {10: "r1-11"}))
    target = watched.settings.lake / "predictions" / "today"
    target.parent.mkdir(parents=True)
    watched.model, watched.now = "demo", datetime.now(UTC) + timedelta(days=1)
    return watched, run(output=str(target), quarantine=QuarantineLimit(share=0.5))


def test_a_run_is_counted_with_the_features_of_its_input(scored: tuple[Watched, RunReport], data: Path) -> None:
    """A run's rows have the features that were scored, segments and outcomes; a second look counts nothing."""
    watched, report = scored
    watched.spec = MonitorSpec(segments=("plan",), labels=WatchedLabels(path="labels", column="paid"))
    keys = open_run(report.folder).predictions(["row_id"])["row_id"].combine_chunks()
    table = pq.read_table(data)
    table = table.filter(pc.is_in(table["row_id"], value_set=keys))
    folder = watched.settings.lake / "labels"
    folder.mkdir()
    paid = pa.repeat("yes", table.num_rows)
    pq.write_table(pa.table({"row_id": table["row_id"], "paid": paid}), folder / "a.parquet")
    look = watched.look()
    assert look.waiting == ()
    again = watched.look()
    (whole,) = [tally for key, tally in watched.tallies().items() if not key.segment]
    rows, segments = report.rows_scored, rows_of(watched)
    conformed = watched.bundle.checker.conform(table)
    expected = WindowTally.of(
        block_of(conformed, score(conformed, watched.bundle), watched.bundle), plan_of(watched.bundle)
    )

    assert report.rows_quarantined >= 3
    assert (rows, 0, ()) == (look.rows, again.counted, look.waiting)
    assert rows == whole.rows == segments.pop("") == sum(segments.values())
    assert (expected.features, expected.score) == (whole.features, whole.score)
    assert (1, 0, report.rows_in) == (whole.runs.committed, whole.runs.refused, whole.runs.rows_in)
    assert [1.0] == [one.value for one in watched.figures("labelled_share", segment="")]
    assert [0.0] == [one.value for one in watched.figures("input_waiting_rows")]


def test_a_run_whose_input_changed_has_its_scores(scored: tuple[Watched, RunReport], data: Path) -> None:
    """What the predictions have is counted, the features are not called missing, and the figures say why."""
    watched, report = scored
    write_rows(data / "day-1.parquet", make_input(seed=8))
    watched.look()
    (whole,) = watched.tallies().values()

    assert (report.rows_scored, {}) == (whole.rows, dict(whole.features.counts))
    assert "features are not counted" in watched.figures("score_mean")[0].note
