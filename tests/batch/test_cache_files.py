"""A committed run as a file that answers by key: the bits of the run, its retries too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from twinscore.batch.cache_files import build_feature_cache, build_score_cache
from twinscore.batch.progress import Reporter
from twinscore.batch.read import open_run
from twinscore.batch.retry import retry_with
from twinscore.batch.run import run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.bundle.files import Bundle
from twinscore.cache.catalog import score_files, score_path
from twinscore.cache.features import FeatureLookup
from twinscore.cache.live import LiveScores
from twinscore.cache.score_file import Cached, ScoreCache
from twinscore.cache.spec import FeaturesSpec, ScoresSpec
from twinscore.clock import SystemClock
from twinscore.contract.rows import decode_rows, table_to_rows
from twinscore.errors import FileUnreadable, InputEmpty, RunRefused, StoreUnavailable
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import SCORE_SCHEMA
from twinscore.settings import Settings
from twinscore.training.train import train
from twinscore.wiring import load_version

from .conftest import Run, change, make_input, workers_here, write_rows


def live(settings: Settings, bundle: Bundle, model: str = "demo") -> LiveScores:
    scores = LiveScores(
        settings.lake.resolve(), model, bundle_digest=bundle.digest, contract=bundle.contract,
        spec=ScoresSpec(ttl_s=3600), clock=SystemClock(),
    )  # fmt: skip
    scores.refresh()
    return scores


def test_the_cache_answers_with_the_bits_of_the_run(run: Run, settings: Settings, bundle: Bundle) -> None:
    """Every row of the folder is found by its key, with every column of the score as it is there."""
    report = run(cache=True, shard_rows=700)
    scores = live(settings, bundle)
    found = {}
    for row in open_run(report.folder).predictions(["row_id", *SCORE_SCHEMA.names]).to_pylist():
        found[row.pop("row_id")] = row

    assert score_path(settings.lake.resolve(), "demo", bundle.digest, report.run_id) == report.cache
    assert found == {key: _values(scores.find({"row_id": key})) for key in found}
    assert {report.run_id} == {scores.find({"row_id": key}).run_id for key in found}


def test_a_second_call_builds_what_is_missing(run: Run) -> None:
    """The run is there already; its file comes back."""
    first = run(cache=True)
    assert first.cache is not None
    first.cache.unlink()
    again = run(cache=True)

    assert (True, True, first.cache) == (again.already_committed, first.cache.exists(), again.cache)
    assert run().cache is None


def test_the_facts_are_those_of_the_manifest(run: Run, settings: Settings) -> None:
    """Who reads the file learns which run it is."""
    report = run()
    build_score_cache(settings, report.folder)
    (one,) = score_files(settings.lake.resolve(), "demo", report.manifest["bundle_digest"])
    wanted = {
        name: report.manifest[name] for name in ("run_id", "model", "version", "bundle_digest", "contract_digest")
    }
    wanted |= {
        "scored_at": report.manifest["started_at"], "input_snapshot": report.manifest["input"]["snapshot"],
        "rows": 3_000, "rows_without_key": 0,
    }  # fmt: skip

    assert wanted == {name: one.facts[name] for name in wanted}


def test_rows_that_came_home_are_found(
    run: Run, settings: Settings, bundle: Bundle, data: Path, tmp_path: Path
) -> None:
    """A retry adds rows to the run; building again adds them to the file, under the retry's own id."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", {5: -1}))
    report = run(cache=True)
    write_rows(tmp_path / "repaired.parquet", make_input(seed=0).slice(5, 1))
    before = live(settings, bundle)
    linked = retry_with(open_run(report.folder), bundle, str(tmp_path / "repaired.parquet"))
    build_score_cache(settings, report.folder)
    after = live(settings, bundle)

    assert (1, "NOT_FOUND", "PRESENT", linked.run_id, report.run_id) == (
        report.rows_quarantined, before.find({"row_id": "r0-5"}).status, after.find({"row_id": "r0-5"}).status,
        after.find({"row_id": "r0-5"}).run_id, after.find({"row_id": "r0-6"}).run_id,
    )  # fmt: skip


def test_a_changed_run_is_not_built_from(run: Run, settings: Settings) -> None:
    """A file that was lost after the commit is named."""
    report = run()
    min(report.folder.glob("part-*.parquet")).unlink()

    with pytest.raises(FileUnreadable, match="is missing"):
        build_score_cache(settings, report.folder)


def test_a_refused_run_answers_nobody(run: Run, settings: Settings, data: Path, tmp_path: Path) -> None:
    """What was refused as a whole has scores of no standing."""
    write_rows(data / "day-0.parquet", change(make_input(seed=0), "age", dict.fromkeys(range(1_000), -1)))
    with pytest.raises(RunRefused):
        run(cache=True)
    (kept,) = tmp_path.glob("out.refused-*")

    with pytest.raises(RunRefused, match="must answer nobody"):
        build_score_cache(settings, kept)


def test_a_run_without_a_row_has_no_file(run: Run, settings: Settings) -> None:
    """A spec goes on quietly; the command says why."""
    report = run(cache=True, filter=[["age", ">", 1000]], empty="commit")

    with pytest.raises(InputEmpty, match="there is nothing to look up"):
        build_score_cache(settings, report.folder)
    assert report.cache is None


def test_a_cache_that_cannot_be_built_leaves_the_run_committed(run: Run, settings: Settings, tmp_path: Path) -> None:
    """The error says so; the same call builds it when the lake is mended, without scoring again."""
    settings.lake.mkdir(parents=True)
    (settings.lake / "cache").write_text("in the way")

    with pytest.raises(StoreUnavailable, match=r"is committed at .* and its cache is not built.* Run the same again"):
        run(cache=True)
    (settings.lake / "cache").unlink()

    assert (tmp_path / "out" / "_manifest.json").exists()
    assert run(cache=True).cache is not None


def test_features_of_a_deployment(settings: Settings, bundle: Bundle) -> None:
    """The table lies in the lake, the file beside the model's scores."""
    settings.lake.mkdir(parents=True)
    pq.write_table(make_input().select(["row_id", "income", "city"]), settings.lake / "customers.parquet")
    spec = FeaturesSpec(table="customers.parquet", columns=("income", "city"))
    found = FeatureLookup(build_feature_cache(settings, "demo", bundle.contract, spec), bundle.contract, spec)
    wanted = make_input().select(["row_id", "income", "city"]).to_pylist()

    assert wanted == [found.join({"row_id": row["row_id"]}, now_s=0.0).row for row in wanted]


def test_census_income(settings: Settings, adult_train: Path, adult_test: Path) -> None:
    """Every scored row of `adult`: the cache, the run and the single-row scorer say the same bits."""
    train(settings, model="adult", data=adult_train, label="label", key="row_id", params={"num_boost_round": 20})
    version, bundle = load_version(settings, "adult@champion")
    spec = ScoreSpec(model="adult@champion", input=str(adult_test), output="predictions/adult", cache=True)
    report = run_version(settings, spec, version, bundle, reporter=Reporter(None), workers=workers_here)
    assert report.cache is not None
    cache = ScoreCache.open(report.cache, bundle.contract)
    made = open_run(report.folder).predictions(["row_id", *SCORE_SCHEMA.names]).to_pylist()
    now_s = SystemClock().now().timestamp()

    found = [cache.find({"row_id": row["row_id"]}, now_s=now_s, ttl_s=3600.0) for row in made]

    assert (16_281, report.rows_scored) == (report.rows_in, len(cache))
    assert [{name: row[name] for name in SCORE_SCHEMA.names} for row in made] == [_values(one) for one in found]
    conformed = bundle.checker.conform(pq.read_table(adult_test))
    rows, _ = decode_rows(table_to_rows(conformed.slice(0, 500)), bundle.contract)
    scorer = RowScorer(bundle)
    for row in rows:
        faults = bundle.checker.check_row(row, at="")
        cached = cache.find(row, now_s=now_s, ttl_s=3600.0)
        if isinstance(cached, Cached):
            assert scorer.score(row, flagged=bool(faults)) == cached.values
        else:
            assert any(fault.severity == "critical" for fault in faults)


def _values(found: Any) -> dict[str, Any]:
    values: dict[str, Any] = found.values
    return values
