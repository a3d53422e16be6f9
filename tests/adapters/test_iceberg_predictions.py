"""What is in an Iceberg table after a run: snapshots, files, and nothing left over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog

from twinscore.ports.prediction_sink import PredictionSink
from twinscore.settings import load_settings
from twinscore.testing.predictions import make_run
from twinscore.wiring import prediction_sink

A, B, C = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
def sink(tmp_path: Path) -> PredictionSink:
    """A sink on a catalog of the test's own."""
    return prediction_sink(load_settings(home=tmp_path), f"iceberg+sqlite:///{tmp_path / 'catalog.db'}", "risk.scores")


@pytest.fixture
def catalog(sink: PredictionSink, tmp_path: Path) -> Iterator[Catalog]:
    """The catalog, as a stranger opens it."""
    sink.publish(make_run(500, A))
    catalog = load_catalog("twinscore", type="sql", uri=f"sqlite:///{tmp_path / 'catalog.db'}")
    yield catalog
    catalog.close()


def test_a_snapshot_names_its_run(sink: PredictionSink, catalog: Catalog) -> None:
    """One snapshot adds one run, and says which, from which model, and in whose place."""
    sink.publish(make_run(500, A))
    sink.publish(make_run(600, B, supersedes=(A,)))

    table = catalog.load_table("risk.scores")
    said = [snapshot.summary.additional_properties for snapshot in table.snapshots() if snapshot.summary]
    runs = [facts for facts in said if "twinscore.run-id" in facts]

    assert [A, B] == [facts["twinscore.run-id"] for facts in runs]
    assert ["500", "600"] == [facts["added-records"] for facts in runs]
    assert {"demo"} == {facts["twinscore.model"] for facts in runs}
    assert A == runs[1]["twinscore.supersedes"]
    assert 500 == table.scan(snapshot_id=table.snapshots()[0].snapshot_id).count()


def test_a_run_is_known_after_its_snapshot_expired(sink: PredictionSink, catalog: Catalog) -> None:
    """Its rows still say that it is there."""
    sink.publish(make_run(300, B))
    table = catalog.load_table("risk.scores")
    table.maintenance.expire_snapshots().by_id(table.snapshots()[0].snapshot_id).commit()

    assert sink.publish(make_run(500, A)).already_there


def test_a_failed_publication_leaves_no_file(sink: PredictionSink, catalog: Catalog, tmp_path: Path) -> None:
    """Files that no snapshot names are deleted when an error, not a kill, ends the publisher."""
    before = sorted(tmp_path.rglob("*.parquet"))
    run = make_run(500, B)

    def broken() -> Iterator[pa.RecordBatch]:
        yield next(run.batches())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sink.publish(replace(run, batches=broken))

    assert 1 == len(before)
    assert before == sorted(tmp_path.rglob("*.parquet"))


def test_rows_that_others_mixed_are_still_superseded(sink: PredictionSink, catalog: Catalog) -> None:
    """A compaction may put several runs into one file; the others' rows stay."""
    sink.publish(make_run(300, B))
    table = catalog.load_table("risk.scores")
    table.overwrite(table.scan().to_arrow())

    sink.publish(make_run(200, C, supersedes=(A,)))

    found = catalog.load_table("risk.scores").scan().to_arrow()["run_id"].value_counts().to_pylist()
    assert {B: 300, C: 200} == {item["values"]: item["counts"] for item in found}
