"""Outcomes that arrive late: joined by key, as they were known at a time."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from twinscore.batch.labels import coverage_of, join_labels
from twinscore.batch.outcomes import measure_outcomes
from twinscore.batch.read import CommittedRun, open_run
from twinscore.batch.retry import retry_with
from twinscore.batch.spec_parts import LabelsSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import InputEmpty, InputError, SchemaMismatch, SettingsInvalid
from twinscore.scoring.metrics import auc
from twinscore.testing.models import make_bundle, make_rows

from .conftest import Run, change, make_input, write_rows

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def made(run: Run) -> CommittedRun:
    """3,000 scored rows in several files."""
    return open_run(run(shard_rows=500).folder)


def write_labels(path: Path, seeds: tuple[int, ...] = (0, 1, 2), **columns: pa.Array) -> Path:
    """Write the true outcomes, shuffled, one a minute from NOON on."""
    table = pa.concat_tables([make_rows(seed=seed, rows=1_000).select(["row_id", "label"]) for seed in seeds])
    table = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    moments = [NOON + timedelta(minutes=row) for row in range(table.num_rows)]
    table = table.append_column("seen_at", pa.array(moments, pa.timestamp("us", "UTC")))
    for name, values in columns.items():
        table = table.append_column(name, values)
    pq.write_table(table, path)
    return path


def test_labels_are_joined_in_the_order_of_the_run(made: CommittedRun, tmp_path: Path) -> None:
    """Each row has its own outcome, wherever it stood in the labels; rows and scores are the run's."""
    labels = write_labels(tmp_path / "labels.parquet")
    joined = join_labels(made, LabelsSpec(path=str(labels), column="label", at="seen_at"))
    truth = {row["row_id"]: row["label"] for row in pq.read_table(labels).to_pylist()}

    assert joined["row_id"].to_pylist() == made.predictions(["row_id"])["row_id"].to_pylist()
    assert joined["score"].to_pylist() == made.predictions(["score"])["score"].to_pylist()
    assert joined["label"].to_pylist() == [truth[key] for key in joined["row_id"].to_pylist()]
    assert joined.column_names == [
        "row_id", "score", "decision", "prediction_set", "lower", "upper", "version", "run_id", "label", "label_at",
        "delay",
    ]  # fmt: skip


def test_past_is_seen_as_it_was(made: CommittedRun, tmp_path: Path) -> None:
    """Labels that were known later are not there; those that were, are, to the minute."""
    labels = write_labels(tmp_path / "labels.parquet")
    spec = LabelsSpec(path=str(labels), column="label", at="seen_at")
    then = join_labels(made, spec, as_of=NOON + timedelta(minutes=99))

    assert then.num_rows == 3_000
    assert then.num_rows - then["label"].null_count == 100
    assert max(then["label_at"].drop_null().to_pylist()) == NOON + timedelta(minutes=99)


def test_delay_counts_from_the_score(made: CommittedRun, tmp_path: Path) -> None:
    """A delay is the label's time less the row's `scored_at`; coverage by age follows from it."""
    scored_at = made.predictions(["scored_at"])["scored_at"][0].as_py()
    table = make_rows(seed=0, rows=1_000).select(["row_id", "label"])
    days = [scored_at + timedelta(days=0.5 if row < 300 else 10) for row in range(1_000)]
    pq.write_table(table.append_column("at", pa.array(days, pa.timestamp("us", "UTC"))), tmp_path / "labels.parquet")
    spec = LabelsSpec(path=str(tmp_path / "labels.parquet"), column="label", at="at")
    joined = join_labels(made, spec)
    found = coverage_of(made, spec, as_of=scored_at + timedelta(days=45))

    assert set(joined["delay"].drop_null().to_pylist()) == {timedelta(days=0.5), timedelta(days=10)}
    assert (found.rows, found.labelled) == (3_000, 1_000)
    assert found.by_age == {"1 day": (3_000, 300), "7 days": (3_000, 300), "30 days": (3_000, 1_000)}
    assert coverage_of(made, spec, as_of=scored_at + timedelta(days=2)).by_age == {"1 day": (3_000, 300)}


def test_key_of_another_name(made: CommittedRun, tmp_path: Path) -> None:
    """Labels may call the key otherwise; a wrong number of names is refused."""
    table = pq.read_table(write_labels(tmp_path / "labels.parquet")).rename_columns({"row_id": "id"})
    pq.write_table(table, tmp_path / "theirs.parquet")
    spec = LabelsSpec(path=str(tmp_path / "theirs.parquet"), column="label", key=("id",))

    assert join_labels(made, spec)["label"].null_count == 0
    with pytest.raises(SettingsInvalid, match="name one for each"):
        join_labels(made, LabelsSpec(path=spec.path, column="label", key=("id", "label")))


def test_two_labels_of_a_key_are_refused(made: CommittedRun, tmp_path: Path) -> None:
    """An example is named; one that was known later than asked does not count."""
    table = pq.read_table(write_labels(tmp_path / "labels.parquet"))
    twice = change(table.slice(0, 1), "seen_at", {0: NOON + timedelta(days=9)})
    pq.write_table(pa.concat_tables([table, twice]), tmp_path / "twice.parquet")
    spec = LabelsSpec(path=str(tmp_path / "twice.parquet"), column="label", at="seen_at")

    with pytest.raises(InputError, match=f"more than once what became of {table['row_id'][0].as_py()}"):
        join_labels(made, spec)
    assert join_labels(made, spec, as_of=NOON + timedelta(days=8))["label"].null_count == 0


def test_what_is_missing_is_said(made: CommittedRun, tmp_path: Path) -> None:
    """No file, no column, no time: each has its own message, with what is near."""
    path = str(write_labels(tmp_path / "labels.parquet", day=pa.array(["x"] * 3_000)))
    with pytest.raises(InputEmpty):
        join_labels(made, LabelsSpec(path=str(tmp_path / "*.none"), column="label"))
    with pytest.raises(SchemaMismatch, match="Did you mean 'label'"):
        join_labels(made, LabelsSpec(path=path, column="lable"))
    with pytest.raises(SettingsInvalid, match=r"labels\.at"):
        join_labels(made, LabelsSpec(path=path, column="label"), as_of=NOON)
    with pytest.raises(SchemaMismatch, match="must be a time or a day"):
        join_labels(made, LabelsSpec(path=path, column="label", at="day"))
    with pytest.raises(SchemaMismatch, match="no time column 'seen_at'"):
        join_labels(made, LabelsSpec(path=path, column="label"), since="seen_at")


def test_rows_that_came_home_have_outcomes(run: Run, data: Path, bundle: Bundle, tmp_path: Path) -> None:
    """A linked run's rows are rows of the run."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", {3: -5}))
    made = open_run(run().folder)
    write_rows(tmp_path / "fixed.parquet", make_input(seed=0).slice(3, 1))
    retry_with(made, bundle, str(tmp_path / "fixed.parquet"))
    labels = write_labels(tmp_path / "labels.parquet")
    joined = join_labels(made, LabelsSpec(path=str(labels), column="label"))

    assert (joined.num_rows, joined["label"].null_count) == (3_000, 0)
    assert len(set(joined["run_id"].to_pylist())) == 2


def test_two_classes_are_measured_as_in_training(made: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """The figures are those of the same scores and outcomes, computed apart; sets are held against the outcome."""
    labels = write_labels(tmp_path / "labels.parquet", (0, 1))
    joined = join_labels(made, LabelsSpec(path=str(labels), column="label"))
    metrics = measure_outcomes(joined, bundle.card)
    known = [row for row in joined.to_pylist() if row["label"] is not None]
    score = np.array([row["score"] for row in known])
    positive = np.array([row["label"] == bundle.card.positive for row in known])

    assert metrics["n"] == 2_000
    assert metrics["auc"] == auc(score, positive)
    assert metrics["log_loss"] == pytest.approx(-np.log(np.where(positive, score, 1 - score)).mean())
    assert metrics["accuracy"] == np.mean([row["decision"] == row["label"] for row in known])
    assert metrics["set_coverage"] == np.mean([row["label"] in row["prediction_set"] for row in known])


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_measured(run: Run, data: Path, tmp_path: Path, task: str) -> None:
    """More classes have accuracy and sets, numbers have errors and intervals."""
    using = make_bundle(tmp_path / task, task)  # type: ignore[arg-type]
    made = open_run(run(using=using).folder)
    table = pa.concat_tables([make_rows(task, 1_000, seed) for seed in range(3)])  # type: ignore[arg-type]
    pq.write_table(table.select(["row_id", "label"]), tmp_path / "labels.parquet")
    joined = join_labels(made, LabelsSpec(path=str(tmp_path / "labels.parquet"), column="label"))
    metrics = measure_outcomes(joined, using.card)
    rows = joined.to_pylist()

    if task == "multiclass":
        assert metrics["accuracy"] == np.mean([row["decision"] == row["label"] for row in rows])
        assert metrics["set_coverage"] == np.mean([row["label"] in row["prediction_set"] for row in rows])
    else:
        assert metrics["mae"] == pytest.approx(np.mean([abs(row["score"] - row["label"]) for row in rows]))
        assert metrics["interval_coverage"] == np.mean([row["lower"] <= row["label"] <= row["upper"] for row in rows])


def test_label_that_is_no_class_is_refused(made: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """A label of another world is named, and so are the classes."""
    table = change(pq.read_table(write_labels(tmp_path / "labels.parquet")), "label", {0: "perhaps"})
    pq.write_table(table, tmp_path / "odd.parquet")
    joined = join_labels(made, LabelsSpec(path=str(tmp_path / "odd.parquet"), column="label"))

    with pytest.raises(SchemaMismatch, match=r"'perhaps' is no class .* no, yes"):
        measure_outcomes(joined, bundle.card)


def test_no_outcome_yet_is_an_answer(made: CommittedRun, bundle: Bundle, tmp_path: Path) -> None:
    """Labels of other rows only: all rows are there, none has an outcome, nothing is measured."""
    path = write_labels(tmp_path / "labels.parquet", (7,))
    spec = LabelsSpec(path=str(path), column="label")

    assert join_labels(made, spec)["label"].null_count == 3_000
    assert coverage_of(made, spec).share == 0.0
    assert measure_outcomes(join_labels(made, spec), bundle.card) == {}


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 9)), max_size=25), st.integers(0, 9))
def test_join_is_that_of_a_dictionary(labels: list[tuple[int, bool, int]], until: int) -> None:
    """For any labels and any time: what a loop over rows would join, or a refusal when a key is there twice."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        keys = [f"k{number}" for number in range(20)]
        constants = {"decision": "yes", "version": "1", "run_id": "r", "scored_at": NOON}
        predictions = pa.table(
            {
                "id": keys,
                "score": [0.5] * 20,
                "lower": [0.0] * 20,
                "upper": [1.0] * 20,
                "prediction_set": [["yes"]] * 20,
            }
            | {name: [value] * 20 for name, value in constants.items()}
        )
        pq.write_table(predictions, folder / "part-00000.parquet")
        at = [NOON + timedelta(days=day) for _, _, day in labels]
        table = pa.table(
            {
                "id": pa.array([f"k{number}" for number, _, _ in labels], pa.string()),
                "label": pa.array([value for _, value, _ in labels], pa.bool_()),
                "at": pa.array(at, pa.timestamp("us", "UTC")),
            }
        )
        pq.write_table(table, folder / "labels.parquet")
        run = CommittedRun(folder, {"run_id": "r", "key": ["id"], "files": [{"name": "part-00000.parquet"}]})
        spec = LabelsSpec(path=str(folder / "labels.parquet"), column="label", at="at")
        known = [(f"k{number}", value) for number, value, day in labels if day <= until and number < 20]
        as_of = NOON + timedelta(days=until)
        if len({key for key, _ in known}) < len(known):
            with pytest.raises(InputError):
                join_labels(run, spec, as_of=as_of)
        else:
            found = join_labels(run, spec, as_of=as_of)
            assert found["label"].to_pylist() == [dict(known).get(key) for key in keys]
