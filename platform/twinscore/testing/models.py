"""Small real models for tests: seeded rows and a whole bundle in a second or two; knows nothing of registries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from twinscore.bundle.calibration import fit_classes, fit_interval
from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import infer_features
from twinscore.bundle.files import read_bundle, write_bundle
from twinscore.bundle.profile import build_profile
from twinscore.contract.compile import compile_contract
from twinscore.contract.infer import infer_contract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twinscore.bundle.files import Bundle

__all__ = ["DERIVED", "make_bundle", "make_rows"]

Task = Literal["binary", "multiclass", "regression"]

DERIVED = {"debt_ratio": "debt / income", "opened_hour": "hour(opened_at)"}
"""The derived features of every bundle made here."""

_OBJECTIVE = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
_CLASSES = {"binary": ("no", "yes"), "multiclass": ("bronze", "gold", "silver"), "regression": ()}
_CITY = ("amsterdam", "berlin", "cairo", "delhi", "essen")
_PLAN = ("basic", "plus", "premium")


def make_rows(task: Task = "binary", rows: int = 2000, seed: int = 0) -> pa.Table:
    """Return rows that the contract of `make_bundle` accepts.

    Returns:
        Table with key `row_id`, numbers, booleans, text, missing values, a time `opened_at` and the outcome `label`.
    """
    rng = np.random.default_rng(seed)
    income = np.round(rng.lognormal(10.0, 0.5, rows), 2)
    debt = np.round(income * rng.gamma(1.5, 0.2, rows), 2)
    age = rng.integers(18, 90, rows)
    city = rng.integers(0, len(_CITY), rows)
    plan = rng.integers(0, len(_PLAN), rows)
    signal = np.log(income) - 10.0 - 2.0 * debt / income + 0.01 * (age - 50) + 0.3 * (city == 2) + 0.2 * plan
    noisy = signal + rng.normal(0.0, 0.5, rows)
    start = datetime(2025, 1, 1, tzinfo=UTC)
    opened = [start + timedelta(minutes=int(minute)) for minute in rng.integers(0, 500_000, rows)]
    table = pa.table(
        {
            "row_id": pa.array([f"r{seed}-{number}" for number in range(rows)]),
            "age": pa.array(age, pa.int64()),
            "visits": pa.array(rng.poisson(3, rows), pa.int64(), mask=rng.random(rows) < 0.1),
            "income": pa.array(income, mask=rng.random(rows) < 0.05),
            "debt": pa.array(debt),
            "member": pa.array(rng.random(rows) < 0.4),
            "city": pa.array(_CITY).take(pa.array(city, mask=rng.random(rows) < 0.05)),
            "plan": pa.array(_PLAN).take(pa.array(plan)),
            "opened_at": pa.array(opened, pa.timestamp("us", tz="UTC")),
        }
    )
    return table.append_column("label", pa.array(_label(task, noisy)))


def make_bundle(
    folder: Path,
    task: Task = "binary",
    rows: int = 2000,
    trees: int = 20,
    seed: int = 0,
    segments: Sequence[str] = (),
) -> Bundle:
    """Train on `make_rows`, write a complete bundle at `folder` (which must not exist) and read it back."""
    import xgboost

    data = make_rows(task, rows, seed)
    table = data.drop_columns(["label"])
    contract = infer_contract(table, name=f"{task}_model", key=["row_id"], time="opened_at")
    table = compile_contract(contract).conform(table)
    spec = infer_features(table, exclude=["row_id", "opened_at"], derived=DERIVED)
    encoded = spec.encode(table)
    classes = _CLASSES[task]
    label = data["label"].to_pylist()
    outcome = np.array([classes.index(value) for value in label] if classes else label, dtype=np.float64)

    params: dict[str, Any] = {
        "objective": _OBJECTIVE[task],
        "max_depth": 4,
        "eta": 0.2,
        "nthread": 2,
        "seed": seed,
        **({"num_class": len(classes)} if task == "multiclass" else {}),
    }
    matrix = xgboost.DMatrix(
        encoded,
        outcome,
        feature_names=spec.names,
        feature_types=spec.feature_types,
        enable_categorical=True,
    )
    booster = xgboost.train(params, matrix, trees)
    predicted = booster.predict(matrix)
    if task == "regression":
        calibration = fit_interval(predicted.astype(np.float64), outcome)
    else:
        shares = predicted if task == "multiclass" else np.column_stack([1.0 - predicted, predicted])
        calibration = fit_classes(shares.astype(np.float64), outcome.astype(np.int64))
    score = predicted.max(axis=1) if predicted.ndim == 2 else predicted
    contributions = booster.predict(matrix, pred_contribs=True)
    card = ModelCard(
        model=f"{task}_model",
        task="regression" if task == "regression" else "classification",
        objective=_OBJECTIVE[task],
        classes=classes,
        positive=classes[1] if task == "binary" else None,
        label="label",
        key=("row_id",),
        time="opened_at",
        rows={"train": rows},
        created_at="2025-01-01T00:00:00+00:00",
    )
    write_bundle(
        folder,
        booster=booster,
        spec=spec,
        contract=contract,
        profile=build_profile(
            table, spec, score.astype(np.float64), label=data["label"].combine_chunks(), segments=segments
        ),
        calibration=calibration,
        shap_base=[float(value) for value in contributions.reshape(rows, -1, contributions.shape[-1])[0, :, -1]],
        card=card,
        golden=table.slice(0, 300),
    )
    return read_bundle(folder)


def _label(task: Task, noisy: np.ndarray) -> list[str] | np.ndarray:
    if task == "regression":
        return np.round(100.0 + 30.0 * noisy, 3)
    classes = np.array(_CLASSES[task])
    if task == "binary":
        return list(classes[(noisy > np.median(noisy)).astype(int)])
    return list(classes[np.searchsorted(np.quantile(noisy, [1 / 3, 2 / 3]), noisy)])
