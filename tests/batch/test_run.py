"""A whole run: what becomes visible, and what a reader finds there."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from twinscore.batch.progress import Progress, Reporter
from twinscore.batch.read import open_run
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.contract.model import Expectation
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score
from twinscore.settings import Settings

from .conftest import (
    Run,
    change,
    everything_below,
    make_input,
    model_version,
    with_expectations,
    workers_here,
    write_rows,
)


def test_every_row_has_the_scoring_core_s_bits(run: Run, data: Path, bundle: Bundle) -> None:
    """The run's rows are the input's, in its order, with the bits of `score` on the whole table."""
    report = run(shard_rows=700)
    table = bundle.checker.conform(ds.dataset(data).to_table())
    _, scores = check_and_score(table, bundle)
    made = open_run(report.folder).predictions()

    assert (3_000, 3_000, 0) == (report.rows_in, report.rows_scored, report.rows_quarantined)
    assert table["row_id"].to_pylist() == made["row_id"].to_pylist()
    assert scores.to_pydict() == made.select(SCORE_SCHEMA.names).to_pydict()


def test_every_row_says_where_it_comes_from(run: Run, bundle: Bundle) -> None:
    """Model, version, digests, run, time and snapshot stand in each row and agree with the manifest."""
    report = run()
    made = open_run(report.folder).predictions()
    facts = {name: made[name].unique().to_pylist() for name in made.column_names[1 + len(SCORE_SCHEMA) :]}

    assert facts == {
        "model": ["demo"],
        "version": ["1"],
        "bundle_digest": [bundle.digest],
        "contract_digest": [bundle.contract_digest],
        "run_id": [report.run_id],
        "scored_at": [pd.Timestamp(report.manifest["started_at"]).to_pydatetime()],
        "input_snapshot": [report.manifest["input"]["snapshot"]],
    }


def test_any_reader_opens_a_run(run: Run, data: Path) -> None:
    """pandas, pyarrow, polars and duckdb see the same plain rows and never the quarantine."""
    path = data / "day-0.parquet"
    write_rows(path, change(pq.read_table(path), "age", {5: -1, 6: -1}))
    folder = run().folder
    counts = {
        "pandas": len(pd.read_parquet(folder)),
        "pyarrow": ds.dataset(folder).count_rows(),
        "polars": pl.read_parquet(folder / "part-*.parquet").height,
        "duckdb": duckdb.connect().execute(f"select count(*) from '{folder}/part-*.parquet'").fetchall()[0][0],
    }

    assert counts == dict.fromkeys(counts, 2_998)
    assert ds.dataset(folder).schema.field("model").type == pa.string()
    assert pl.read_parquet(folder / "part-*.parquet").schema["decision"] == pl.String


def test_refused_rows_are_in_quarantine_with_key_rule_and_value(run: Run, data: Path) -> None:
    """A row that breaks the contract is not scored; its key, place, rule and value are kept."""
    path = data / "day-1.parquet"
    table = change(pq.read_table(path), "plan", {10: "yacht", 800: None})
    write_rows(path, change(table, "debt", {800: float("inf")}))
    report = run()
    opened = open_run(report.folder)
    lines = opened.quarantine().to_pylist()
    seen = {(line["row_id"], line["file"], line["row"], line["column"], line["value"]) for line in lines}

    assert seen == {
        ("r1-10", "day-1.parquet", 10, "plan", "yacht"),
        ("r1-800", "day-1.parquet", 800, "plan", "null"),
        ("r1-800", "day-1.parquet", 800, "debt", "inf"),
    }
    assert (3_000, 2_998, 2) == (report.rows_in, report.rows_scored, report.rows_quarantined)
    assert not {"r1-10", "r1-800"} & set(opened.predictions()["row_id"].to_pylist())
    assert report.manifest["rules"] == {
        "expect_column_values_to_be_between(debt)": 1,
        "expect_column_values_to_be_in_set(plan)": 1,
        "expect_column_values_to_not_be_null(plan)": 1,
        "not_finite": 1,
    }


def test_rows_that_share_a_key_are_all_in_quarantine(run: Run, data: Path) -> None:
    """Each occurrence goes, whatever the file, under the name of the contract's uniqueness."""
    path = data / "day-2.parquet"
    write_rows(path, change(pq.read_table(path), "row_id", {0: "r0-999", 1: "twice", 999: "twice"}))
    report = run(shard_rows=600)
    lines = open_run(report.folder).quarantine().to_pylist()

    seen = [(line["row_id"], line["file"], line["row"]) for line in lines]

    assert seen == [
        ("r0-999", "day-0.parquet", 999),
        ("r0-999", "day-2.parquet", 0),
        ("twice", "day-2.parquet", 1),
        ("twice", "day-2.parquet", 999),
    ]
    assert {"expect_column_values_to_be_unique(row_id)"} == {line["rule"] for line in lines}


def test_key_of_the_spec_wins_over_the_contract_s(run: Run, data: Path) -> None:
    """A key may have several columns, also ones that the contract does not know; a missing part refuses the row."""
    for day in range(3):
        path = data / f"day-{day}.parquet"
        part = pa.array([None if row == 7 and day == 0 else row // 2 for row in range(1_000)], pa.int32())
        side = pa.array(["left" if row % 2 or row == 500 else f"right {day}" for row in range(1_000)])
        write_rows(path, pq.read_table(path).append_column("part", part).append_column("side", side))
    report = run(key=("part", "side"), **_lenient())
    opened = open_run(report.folder)
    # "left" is in every file, so only the "right" rows are unique; row 500 became a "left" of its own pair.
    rules = report.manifest["rules"]

    assert ["part", "side"] == opened.predictions().column_names[:2]
    assert 3 * 499 == report.rows_scored
    assert rules["expect_column_values_to_not_be_null(part)"] == 1


def test_second_call_finds_the_first(run: Run) -> None:
    """The same run is done once: nothing is written again, whatever happened to the clock."""
    first = run()
    before = {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}
    second = run()

    assert (False, True) == (first.already_committed, second.already_committed)
    assert first.run_id == second.run_id
    assert before == {path: path.stat().st_mtime_ns for path in first.folder.rglob("*")}


def test_flagged_rows_are_scored_and_marked_for_review(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    """A warning lets the row pass with `contract_warning` as the reason for a look."""
    warned = Expectation("expect_column_values_to_be_between", {"column": "age", "max_value": 60}, "warning")
    report = run(using=with_expectations(bundle, tmp_path / "warned", warned))
    made = open_run(report.folder).predictions()
    marked = made.filter(pa.compute.equal(made["review_reason"], "contract_warning")).num_rows

    assert report.rows_quarantined == 0
    assert 0 < marked == report.manifest["rows_flagged"] < report.rows_scored


def test_manifest_describes_the_run(run: Run, data: Path) -> None:
    """Files with rows and checksums, the input's footers, answers of run-level rules and what was counted."""
    report = run()
    opened = open_run(report.folder)
    opened.verify()
    manifest = json.loads((report.folder / "_manifest.json").read_text())

    assert manifest == report.manifest
    assert ["day-0.parquet", "day-1.parquet", "day-2.parquet"] == [file["name"] for file in manifest["input"]["files"]]
    assert sum(part["rows"] for part in manifest["files"]) == 3_000
    assert all(answer["success"] for answer in manifest["run_results"])
    assert everything_below(report.folder) == {
        "part-00000.parquet",
        "_manifest.json",
        "_report.html",
        "_report.json",
    }
    assert {"data", "home", "out"} == {path.name for path in data.parent.iterdir()}


def test_progress_is_told_step_by_step(settings: Settings, bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A caller sees each step, rows that only grow, and the end."""
    events: list[Progress] = []
    spec = ScoreSpec(model="demo", input=str(data), output=str(tmp_path / "out"), shard_rows=500)
    run_version(settings, spec, model_version(bundle), bundle, reporter=Reporter(events.append), workers=workers_here)
    scored = [event.rows_done for event in events if event.step == "score"]

    assert ["snapshot", "start", "score", "keys", "commit", "done"] == list(dict.fromkeys(one.step for one in events))
    assert scored == sorted(scored)
    assert scored[-1] == events[-1].rows_total == 3_000


def test_small_files_are_scored_together(run: Run, data: Path) -> None:
    """Two hundred files of five rows make one part with all rows in order."""
    for path in data.iterdir():
        path.unlink()
    whole = make_input(1_000)
    for number in range(200):
        write_rows(data / f"{number:03d}.parquet", whole.slice(5 * number, 5))
    report = run()

    assert ["part-00000.parquet"] == [part["name"] for part in report.manifest["files"]]
    assert whole["row_id"].to_pylist() == open_run(report.folder).predictions()["row_id"].to_pylist()


def _lenient() -> dict[str, object]:
    from twinscore.batch.spec import QuarantineLimit

    return {"quarantine": QuarantineLimit(share=1.0)}
