"""Shards through a pool of Ray actors: the same run, and errors that arrive as ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from twinscore.batch.drive import drive
from twinscore.batch.plan import plan_shards
from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.shard import ShardJob
from twinscore.batch.snapshot import take_snapshot
from twinscore.batch.spec import ScoreSpec
from twinscore.batch.spec_parts import JoinSpec
from twinscore.bundle.files import Bundle
from twinscore.errors import BundleInvalid, PredictFailed, StoreConflict
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score
from twinscore.settings import Settings

from .conftest import change, make_input, model_version, staging_folder, write_rows

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]


def test_run_on_ray_has_the_scoring_core_s_bits(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """Actors score what the table path scores, refuse what the contract and the keys refuse, and nothing is left."""
    path = data / "day-1.parquet"
    write_rows(path, change(change(pq.read_table(path), "age", {3: -1}), "row_id", {4: "r0-0"}))
    spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"), shard_rows=700)
    report = run_version(settings, spec, model_version(bundle), bundle)
    run = open_run(report.folder)
    run.verify()
    made, lines = run.predictions(), run.quarantine()
    table = bundle.checker.conform(ds.dataset(data).to_table())
    scored = set(made["row_id"].to_pylist())
    table = table.filter([key in scored for key in table["row_id"].to_pylist()])

    assert ["r0-0", "r0-0", "r1-3"] == sorted(lines["row_id"].to_pylist())
    assert 2_997 == report.rows_scored == table.num_rows
    assert check_and_score(table, bundle)[1].to_pydict() == made.select(SCORE_SCHEMA.names).to_pydict()
    assert {"data", "home", "out"} == {item.name for item in tmp_path.iterdir()}


def test_filter_and_side_table_reach_the_workers(
    settings: Settings, bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    """Each actor reads the side table itself, and leaves out what the filter leaves out."""
    tables = [pq.read_table(path) for path in sorted(data.iterdir())]
    pq.write_table(pa.concat_tables(tables).select(["row_id", "debt"]), tmp_path / "side.parquet")
    for path, table in zip(sorted(data.iterdir()), tables, strict=True):
        write_rows(path, table.drop_columns(["debt"]))
    spec = ScoreSpec(
        model="demo", input=str(data), output=str(tmp_path / "out"), shard_rows=700, filter=[["age", ">=", 40]],
        join=(JoinSpec(path=str(tmp_path / "side.parquet"), on="row_id", columns=("debt",)),),
    )  # fmt: skip
    report = run_version(settings, spec, model_version(bundle), bundle)
    table = bundle.checker.conform(pa.concat_tables(tables))
    table = table.filter(pc.field("age") >= 40)
    verdict, scores = check_and_score(table, bundle)

    assert 3_000 == report.rows_in + report.manifest["rows_filtered"]
    assert verdict.n_refused == report.rows_quarantined
    assert scores.to_pydict() == open_run(report.folder).predictions().select(SCORE_SCHEMA.names).to_pydict()


def test_input_that_changes_meanwhile(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A file that is no longer what the snapshot saw stops the run; our own error comes out of the worker."""
    shards = plan_shards(take_snapshot(data, bundle.contract.schema, contract="c"))
    write_rows(data / "day-0.parquet", make_input(seed=9))
    job = ShardJob(str(staging_folder(tmp_path)), (("row_id", "string"),), {"model": "m"})

    with pytest.raises(StoreConflict, match=r"day-0.parquet changed while the run was reading it"):
        list(drive(shards, {}, bundle, job, actors=1))


@pytest.mark.parametrize(
    ("constants", "folder", "kind"),
    [({"model": ["no text"]}, None, PredictFailed), ({"model": "m"}, "nowhere", BundleInvalid)],
)
def test_errors_of_workers_are_ours(
    bundle: Bundle, data: Path, tmp_path: Path, constants: dict[str, object], folder: str | None, kind: type[Exception]
) -> None:
    """What goes wrong in a worker arrives as an error of ours with one readable line, never as Ray's text."""
    shards = plan_shards(take_snapshot(data, bundle.contract.schema, contract="c"))
    job = ShardJob(str(staging_folder(tmp_path)), (("row_id", "string"),), constants)
    used = bundle if folder is None else replace(bundle, folder=tmp_path / folder)

    with pytest.raises(kind) as caught:
        list(drive(shards, {}, used, job, actors=1))

    assert "Traceback" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
