"""A committed run on its way into a sink."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from twinscore.batch.publish import publish_run, published_run
from twinscore.batch.read import open_run
from twinscore.batch.spec_parts import PublishSpec
from twinscore.errors import FileUnreadable, SettingsInvalid, TwinscoreError
from twinscore.settings import Settings
from twinscore.wiring import prediction_sink

from .conftest import Run


def test_a_run_is_handed_over_as_it_is_on_disk(run: Run) -> None:
    """The same rows in the same order, with where they come from, and nothing of the quarantine."""
    opened = open_run(run(shard_rows=500).folder)

    handed = published_run(opened, supersedes=["b" * 16])

    assert pa.Table.from_batches(list(handed.stream())).equals(opened.predictions())
    assert (opened.manifest["run_id"], "demo", "1", "demo", 3_000, ("b" * 16,)) == (
        handed.run_id, handed.model, handed.version, handed.dataset, handed.rows, handed.supersedes,
    )  # fmt: skip


def test_batches_may_be_asked_for_again(run: Run) -> None:
    """A sink that begins anew gets the rows from the beginning."""
    handed = published_run(open_run(run().folder))

    assert sum(batch.num_rows for batch in handed.batches()) == sum(batch.num_rows for batch in handed.batches())
    assert {3_000} == {handed.rows, sum(batch.num_rows for batch in handed.batches())}


def test_a_table_holds_what_the_folder_holds(run: Run, settings: Settings) -> None:
    """Scores are the same bits in the database as in the files."""
    opened = open_run(run().folder)
    sink = prediction_sink(settings, "sqlite:///scores.db")

    first, second = publish_run(opened, sink), publish_run(opened, sink)

    with closing(sqlite3.connect(settings.lake / "scores.db")) as connection:
        found = dict(connection.execute("select row_id, score from demo"))
    table = opened.predictions(["row_id", "score"])
    assert dict(zip(table["row_id"].to_pylist(), table["score"].to_pylist(), strict=True)) == found
    assert (False, True, 3_000) == (first.already_there, second.already_there, second.rows)


@pytest.mark.parametrize("uri", ["iceberg:", "sqlite:///scores.db"])
def test_a_changed_run_is_not_published(run: Run, settings: Settings, uri: str) -> None:
    """A file that was lost after the commit is named, and the sink is not touched."""
    opened = open_run(run().folder)
    part: Path = min(opened.folder.glob("part-*.parquet"))
    part.unlink()

    with pytest.raises(FileUnreadable, match=f"{part.name} is missing"):
        publish_run(opened, prediction_sink(settings, uri))


def test_a_spec_publishes_what_it_commits(run: Run, settings: Settings) -> None:
    """Every sink gets the rows after the commit; a second call finds them there."""
    wanted = (PublishSpec(to="sqlite:///scores.db", table="loans"), PublishSpec(to="iceberg:", table="loans"))
    first, second = run(publish=wanted), run(publish=wanted)

    with closing(sqlite3.connect(settings.lake / "scores.db")) as connection:
        (count,) = connection.execute("select count(*) from loans").fetchone()
    assert [(3_000, False), (3_000, False)] == [(one.rows, one.already_there) for one in first.published]
    assert (True, [True, True], 3_000) == (
        second.already_committed, [one.already_there for one in second.published], count,
    )  # fmt: skip


def test_a_sink_that_fails_leaves_the_run_committed(run: Run, settings: Settings, tmp_path: Path) -> None:
    """The error says so; the same call publishes when the sink is mended, without scoring again."""
    (settings.lake).mkdir(parents=True)
    place = settings.lake / "scores.db"
    place.write_text("not a database, but long enough to be read as one" * 30)
    wanted = (PublishSpec(to="sqlite:///scores.db", table="loans"),)

    with pytest.raises(TwinscoreError, match=r"is committed at .* and not published to sqlite.* Run the same again"):
        run(publish=wanted)
    place.unlink()
    again = run(publish=wanted)

    assert (True, False) == (again.already_committed, again.published[0].already_there)
    assert (tmp_path / "out" / "_manifest.json").exists()


def test_a_sink_that_cannot_be_is_refused_before_scoring(run: Run, tmp_path: Path) -> None:
    """An unknown kind of sink ends the run before it begins."""
    with pytest.raises(SettingsInvalid, match="oracle"):
        run(publish=(PublishSpec(to="oracle://host/db", table="loans"),))

    assert not (tmp_path / "out").exists()
