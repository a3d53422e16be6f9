"""The whole way on real data: train, load, score, and the same bits through MLflow."""

from __future__ import annotations

from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from twinscore.scoring.metrics import auc
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings
from twinscore.training.train import TrainedVersion
from twinscore.wiring import load_version


def test_adult_is_as_good_as_known(settings: Settings, adult: TrainedVersion, adult_test: Path) -> None:
    """The AUC on the separate test file is where gradient boosting is known to be, and the card's own is near."""
    _, bundle = load_version(settings, "adult")
    table = pq.read_table(adult_test)

    verdict, scored = check_and_score(bundle.checker.conform(table), bundle)
    positive = table["label"].to_numpy()[verdict.accepted] == 1
    found = auc(scored["score"].to_numpy(), positive)

    assert verdict.accepted.all()
    assert found is not None
    assert 0.92 <= found <= 0.935
    assert abs(found - adult.metrics["auc"]) < 0.015
    assert set(adult.group_metrics) == {"sex", "race"}


def test_prediction_sets_cover_what_they_promise(settings: Settings, adult: TrainedVersion, adult_test: Path) -> None:
    """Nine of ten outcomes of the separate test file are in their prediction sets."""
    _, bundle = load_version(settings, adult.ref)
    table = pq.read_table(adult_test)

    _, scored = check_and_score(bundle.checker.conform(table), bundle)
    sets, labels = scored["prediction_set"].to_pylist(), table["label"].to_pylist()
    coverage = np.mean([str(label) in members for label, members in zip(labels, sets, strict=True)])

    assert 0.88 <= coverage <= 0.92


def test_beijing_covers_the_months_after_training(pm25: TrainedVersion) -> None:
    """Trained on the past, the intervals cover the period after it; the error is that of weather without history."""
    assert pm25.task == "regression"
    assert pm25.rows["unlabelled"] == 2067
    assert 0.87 <= pm25.metrics["interval_coverage"] <= 0.93
    assert 60 <= pm25.metrics["rmse"] <= 75
    assert pm25.metrics["r2"] > 0.4


@pytest.mark.parametrize("name", ["adult", "pm25"])
def test_mlflow_gives_the_same_bits(name: str, settings: Settings, request: pytest.FixtureRequest) -> None:
    """`mlflow.pyfunc.load_model` on a pandas frame answers with the bits of the bulk path, and one row does too."""
    trained: TrainedVersion = request.getfixturevalue(name)
    source: Path = request.getfixturevalue("adult_test" if name == "adult" else "beijing")
    _, bundle = load_version(settings, trained.ref)
    table = pq.read_table(source).slice(0, 2000)
    conformed = bundle.checker.conform(table)
    verdict, scored = check_and_score(conformed, bundle)
    assert verdict.accepted.all()

    mlflow.set_tracking_uri(settings.embedded_registry_uri)
    mlflow.set_registry_uri(settings.embedded_registry_uri)
    model = mlflow.pyfunc.load_model(f"models:/{trained.model}@champion")
    frame = table.drop_columns([bundle.card.label]).to_pandas()
    answered = model.predict(frame)

    expected = scored.to_pandas()
    for column in ("score", "lower", "upper", "uncertainty"):
        bits = expected[column].to_numpy(np.float64).view(np.uint64)
        assert (bits == answered[column].to_numpy(np.float64).view(np.uint64)).all()
    assert scored["decision"].to_pylist() == list(answered["decision"])
    scorer = RowScorer(bundle)
    assert scorer.uses_forest
    for row, one in zip(conformed.slice(0, 100).to_pylist(), scored.slice(0, 100).to_pylist(), strict=True):
        assert one == scorer.score(row)


@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray that drops timezone")  # MLflow's own loop
def test_mlflow_takes_integers_with_and_without_gaps(settings: Settings, tmp_path: Path) -> None:
    """A nullable integer column passes MLflow's schema whether this frame has a gap or not."""
    from twinscore.testing.models import make_rows
    from twinscore.training.train import train

    rows = make_rows("binary", 600)
    trained = train(settings, model="gaps", data=rows, label="label", key="row_id")
    mlflow.set_tracking_uri(settings.embedded_registry_uri)
    model = mlflow.pyfunc.load_model(f"models:/{trained.ref}")
    frame = rows.drop_columns(["label"]).to_pandas()
    whole = frame[frame["visits"].notna()].astype({"visits": np.int64})

    answered = pd.concat([model.predict(frame[frame["visits"].isna()]), model.predict(whole)])

    order = np.concatenate([np.flatnonzero(frame["visits"].isna()), np.flatnonzero(frame["visits"].notna())])
    together = model.predict(frame)["score"].to_numpy()[order]
    assert (together.view(np.uint64) == answered["score"].to_numpy().view(np.uint64)).all()
    assert answered["refused"].isna().all()
