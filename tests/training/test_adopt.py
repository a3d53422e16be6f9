"""Plain `mlflow.xgboost` versions, adopted: the same bits, and nothing that could run code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost
import yaml
from mlflow.tracking import MlflowClient

from twinscore.errors import BundleInvalid, InputError, ModelNotFound, SchemaMismatch
from twinscore.scoring.row import RowScorer
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings
from twinscore.testing.models import make_rows
from twinscore.training.adopt import ADOPTED_TAG, adopt
from twinscore.wiring import load_version, model_store

FEATURES = ["age", "visits", "income", "debt", "member", "city", "plan"]
ROWS = make_rows("binary", 1200)


def frame(rows: pa.Table = ROWS) -> pd.DataFrame:
    """The features as a person would train on them: text as pandas categoricals."""
    features = rows.select(FEATURES).to_pandas()
    for name in ("city", "plan"):
        features[name] = pd.Categorical(features[name].astype(object), categories=sorted(set(features[name].dropna())))
    return features.astype({"visits": np.float64})


def log(settings: Settings, name: str, model: Any, change: Callable[[Path], None] | None = None) -> str:
    """Log a model as MLflow users do and return its reference."""
    model_store(settings)
    client = MlflowClient(settings.embedded_registry_uri, settings.embedded_registry_uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        experiment = client.create_experiment(
            name, artifact_location=str(settings.registry_folder / "artifacts" / name)
        )
        client.create_registered_model(name)
    else:
        experiment = found.experiment_id
    run = client.create_run(experiment)
    folder = Path(settings.home, "logged", run.info.run_id)
    folder.parent.mkdir(exist_ok=True)
    mlflow.xgboost.save_model(model, str(folder), model_format="ubj", pip_requirements=["xgboost"])
    if change is not None:
        change(folder)
    client.log_artifacts(run.info.run_id, str(folder), "model")
    made = client.create_model_version(name, f"{run.info.artifact_uri}/model", run_id=run.info.run_id)
    return f"models:/{name}/{made.version}"


def classifier() -> xgboost.XGBClassifier:
    """A classifier with early stopping, whose best round is not its last."""
    label = (np.asarray(ROWS["label"]) == "yes").astype(int)
    model = xgboost.XGBClassifier(
        n_estimators=60, max_depth=4, learning_rate=0.5, early_stopping_rounds=5, n_jobs=2, enable_categorical=True
    )
    return model.fit(frame()[:900], label[:900], eval_set=[(frame()[900:], label[900:])], verbose=False)


@pytest.fixture(scope="module")
def small() -> xgboost.XGBClassifier:
    """A tiny classifier."""
    model = xgboost.XGBClassifier(n_estimators=3, n_jobs=2, enable_categorical=True)
    return model.fit(frame(), np.arange(len(ROWS)) % 2)


def test_a_classifier_keeps_its_bits(settings: Settings) -> None:
    """An adopted XGBClassifier gives its own probabilities in both paths, at its best round, with calibration."""
    model = classifier()
    ref = log(settings, "clicks", model)

    adopted = adopt(settings, ref, ROWS, key="row_id", label="label", groups=["city"], segments=["plan"])
    _, bundle = load_version(settings, adopted.ref)
    conformed = bundle.checker.conform(ROWS)
    verdict, scored = check_and_score(conformed, bundle)

    own = model.predict_proba(frame())[:, 1].astype(np.float64)
    assert verdict.accepted.all()
    assert (own.view(np.uint64) == scored["score"].to_numpy().view(np.uint64)).all()
    scorer = RowScorer(bundle)
    assert [row["score"] for row in scored.slice(0, 50).to_pylist()] == [
        scorer.score(row)["score"] for row in conformed.slice(0, 50).to_pylist()
    ]
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    assert model.best_iteration + 1 == bundle.booster.num_boosted_rounds()
    assert bundle.card.classes == ("no", "yes")
    assert bundle.calibration.kind == "classes"
    assert set(bundle.card.group_metrics["city"]) >= {"amsterdam", "(missing)"}
    assert {"basic", "plus", "premium"} <= set(bundle.profile["segments"]["plan"])


def test_an_adopted_version_says_where_it_comes_from(settings: Settings) -> None:
    """The new version is the next of the same model, tagged with the version that it was made from."""
    ref = log(settings, "origin", classifier())

    adopted = adopt(settings, ref, ROWS, key="row_id", label="label", alias="champion")

    client = MlflowClient(settings.embedded_registry_uri, settings.embedded_registry_uri)
    assert client.get_model_version("origin", adopted.version).tags[ADOPTED_TAG] == "origin/1"
    assert model_store(settings).resolve("origin").version == "2"
    with pytest.raises(ModelNotFound, match="has a bundle already"):
        adopt(settings, adopted.ref, ROWS, key="row_id")


def test_a_regressor_without_label_keeps_its_bits(settings: Settings) -> None:
    """Without a label there is no calibration and no metric, and the predictions are the model's own."""
    target = frame()["income"].fillna(0.0).to_numpy() / 1000
    model = xgboost.XGBRegressor(n_estimators=30, max_depth=4, n_jobs=2, enable_categorical=True).fit(frame(), target)
    ref = log(settings, "amounts", model)

    adopted = adopt(settings, ref, ROWS.drop_columns(["label"]), key="row_id")
    _, bundle = load_version(settings, adopted.ref)
    _, scored = check_and_score(bundle.checker.conform(ROWS), bundle)

    own = model.predict(frame()).astype(np.float64)
    assert (own.view(np.uint64) == scored["score"].to_numpy().view(np.uint64)).all()
    assert bundle.calibration.kind == "none"
    assert bundle.card.metrics == {}
    assert scored["lower"].null_count == len(scored)


def test_a_booster_of_three_classes_keeps_its_bits(settings: Settings) -> None:
    """A plain Booster predicts with all of its rounds, and its class probabilities come through."""
    rows = make_rows("multiclass", 900, seed=3)
    codes = pd.Categorical(rows["label"].to_pandas()).codes
    matrix = xgboost.DMatrix(frame(rows), codes, enable_categorical=True)
    booster = xgboost.train({"objective": "multi:softprob", "num_class": 3, "max_depth": 3, "nthread": 2}, matrix, 12)
    ref = log(settings, "medals", booster)

    adopted = adopt(settings, ref, rows, key="row_id", label="label")
    _, bundle = load_version(settings, adopted.ref)
    _, scored = check_and_score(bundle.checker.conform(rows), bundle)

    own = booster.predict(matrix)
    assert (own.max(axis=1).astype(np.float64) == scored["score"].to_numpy()).all()
    names = np.array(["bronze", "gold", "silver"])
    assert list(names[own.argmax(axis=1)]) == scored["decision"].to_pylist()


def test_a_category_that_the_model_does_not_know_is_refused(settings: Settings) -> None:
    """The contract of an adopted model has exactly the categories of its booster."""
    ref = log(settings, "known", classifier())
    adopted = adopt(settings, ref, ROWS, key="row_id", label="label")
    _, bundle = load_version(settings, adopted.ref)
    foreign = ROWS.slice(0, 2).set_column(ROWS.column_names.index("city"), "city", pa.array(["atlantis", "berlin"]))

    verdict, _ = check_and_score(bundle.checker.conform(foreign), bundle)

    assert [False, True] == list(verdict.accepted)


def test_a_model_of_nameless_numbers_is_adopted(settings: Settings) -> None:
    """A model trained on a plain array takes the columns that are left, in their order."""
    numbers = ROWS.select(["row_id", "age", "visits", "income", "debt"])
    array = numbers.drop_columns(["row_id"]).to_pandas().to_numpy(np.float64)
    model = xgboost.XGBRegressor(n_estimators=10, n_jobs=2).fit(array, array[:, 0])
    ref = log(settings, "nameless", model)

    adopted = adopt(settings, ref, numbers, key="row_id")
    _, bundle = load_version(settings, adopted.ref)
    _, scored = check_and_score(bundle.checker.conform(numbers), bundle)

    assert (model.predict(array).astype(np.float64) == scored["score"].to_numpy()).all()
    with pytest.raises(SchemaMismatch, match="4 nameless features"):
        adopt(settings, ref, ROWS, key="row_id")


def edit(**facts: object) -> Callable[[Path], None]:
    """Change facts of the xgboost flavor in MLmodel."""

    def change(folder: Path) -> None:
        described = yaml.safe_load((folder / "MLmodel").read_text())
        described["flavors"]["xgboost"].update(facts)
        (folder / "MLmodel").write_text(yaml.safe_dump(described))

    return change


def pickled(folder: Path) -> None:
    """Put a pickle where the model should be."""
    (folder / "model.ubj").write_bytes(b"\x80\x05cos\nsystem\n.")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (pickled, "is not UBJ or JSON, whatever its name says"),
        (edit(data="model.pkl"), r"'model\.pkl', which is not a plain file"),
        (edit(data="../../mlflow.db"), "not a plain file inside the model"),
        (edit(code="code"), "brings its own code"),
        (edit(model_class="evil.Boom"), r"'evil\.Boom' is not one of"),
        (lambda folder: (folder / "MLmodel").unlink(), "MLmodel is missing"),
        (lambda folder: (folder / "model.ubj").write_bytes(b"{i"), "XGBoost cannot read"),
    ],
)
def test_what_could_run_code_or_is_broken_is_refused(
    settings: Settings, small: xgboost.XGBClassifier, change: Callable[[Path], None], expected: str
) -> None:
    """Pickles, own code, unknown classes, paths out of the model and torn files are refused before parsing."""
    ref = log(settings, "evil", small, change)

    with pytest.raises(BundleInvalid, match=f"cannot be adopted: .*{expected}"):
        adopt(settings, ref, ROWS, key="row_id")


def test_wrong_reference_rows_are_named(settings: Settings, small: xgboost.XGBClassifier) -> None:
    """A missing feature column and a label without one of the classes are said by name."""
    ref = log(settings, "rows", small)

    with pytest.raises(SchemaMismatch, match=r"no column 'income', a feature of the model\. Did you mean 'incomes'"):
        adopt(settings, ref, ROWS.rename_columns({"income": "incomes"}), key="row_id")
    with pytest.raises(InputError, match="has 3 classes"):
        adopt(settings, ref, make_rows("multiclass", 600), key="row_id", label="label")


def test_a_dart_booster_is_refused(settings: Settings) -> None:
    """A booster whose scores the single-row path cannot give is refused by its kind."""
    matrix = xgboost.DMatrix(frame(), np.arange(len(ROWS)) % 2, enable_categorical=True)
    booster = xgboost.train({"booster": "dart", "objective": "binary:logistic", "nthread": 2}, matrix, 2)

    with pytest.raises(BundleInvalid, match="'dart' booster; only gbtree"):
        adopt(settings, log(settings, "dart", booster), ROWS, key="row_id")
