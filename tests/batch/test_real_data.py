"""The whole bulk path on real data: trained, registered, scored; what is in the run is what the core says."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.batch.progress import Reporter
from twinscore.batch.read import open_run
from twinscore.batch.run import run_batch, run_version
from twinscore.batch.spec import ScoreSpec
from twinscore.scoring.table import SCORE_SCHEMA, check_and_score
from twinscore.settings import Settings
from twinscore.training.train import train
from twinscore.wiring import load_version

from .conftest import workers_here

QUICK = {"num_boost_round": 30}


def scored_like_the_core(settings: Settings, model: str, data: Path, output: str) -> tuple[int, int]:
    version, bundle = load_version(settings, model)
    spec = ScoreSpec(model=model, input=str(data), output=output)
    report = run_version(settings, spec, version, bundle, reporter=Reporter(None), workers=workers_here)
    run = open_run(report.folder)
    run.verify()
    verdict, scores = check_and_score(bundle.checker.conform(pq.read_table(data)), bundle)

    assert scores.to_pydict() == run.predictions(SCORE_SCHEMA.names).to_pydict()
    assert verdict.n_refused == report.rows_quarantined
    return report.rows_in, report.rows_quarantined


def test_census_income(settings: Settings, adult_train: Path, adult_test: Path) -> None:
    """All 16,281 test rows of `adult` are scored or in quarantine, with the core's bits."""
    train(settings, model="adult", data=adult_train, label="label", key="row_id", groups=["sex"], params=QUICK)
    rows, refused = scored_like_the_core(settings, "adult@champion", adult_test, "predictions/adult/test")

    assert rows == 16_281
    assert refused < 0.01 * rows
    assert (settings.lake / "predictions/adult/test/_manifest.json").is_file()


def test_air_of_beijing(settings: Settings, beijing: Path) -> None:
    """All 43,824 hours of `beijing_pm25`, rows without a label included, are scored with intervals."""
    train(settings, model="air", data=beijing, label="pm25", key="row_id", time="event_time", params=QUICK)
    rows, _ = scored_like_the_core(settings, "air", beijing, "predictions/air")
    made = open_run(settings.lake / "predictions/air").predictions(["lower", "score", "upper"])

    assert rows == 43_824
    assert [0, 0, 0] == [made[name].null_count for name in made.column_names]
    assert pa.types.is_float64(made.schema.field("score").type)


def test_unknown_model_is_answered_by_the_registry(settings: Settings, adult_test: Path) -> None:
    """The alias is resolved first: without such a model nothing is read."""
    from twinscore.errors import ModelNotFound

    spec = ScoreSpec(model="nobody", input=str(adult_test), output="predictions/nobody")

    with pytest.raises(ModelNotFound):
        run_batch(settings, spec)
