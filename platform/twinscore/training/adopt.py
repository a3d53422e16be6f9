"""Give a plain MLflow XGBoost version what a bundle needs, from reference rows; knows nothing of training.

The booster stays what it is, bit for bit. Reference rows bring the rest: the contract, the profile, and (with a label)
calibration and metrics. The result is a new version of the same model that names the one it was made from.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.bundle.calibration import Calibration
from twinscore.bundle.card import ModelCard
from twinscore.clock import SystemClock
from twinscore.contract.compile import compile_contract
from twinscore.contract.infer import infer_contract
from twinscore.errors import InputError, ModelNotFound
from twinscore.training.contract_file import given_contract, keep_contract
from twinscore.training.data import Columns, TrainingData, load_data
from twinscore.training.evaluate import COVERAGE, evaluate
from twinscore.training.foreign import Foreign, prove_same, read_foreign
from twinscore.training.outcome import read_outcome
from twinscore.training.prepare import group_columns, learnable
from twinscore.training.record import library_versions, record_version
from twinscore.training.split import enough_rows, key_hash
from twinscore.wiring import bundle_store, model_store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.clock import Clock
    from twinscore.contract.check import Checker
    from twinscore.ports.model_store import ModelVersion
    from twinscore.settings import Settings
    from twinscore.training.evaluate import Evaluation
    from twinscore.training.outcome import Outcome

__all__ = ["ADOPTED_TAG", "adopt"]

ADOPTED_TAG = "twinscore.adopted_from"
"""Version tag that names the version whose booster this is."""


def adopt(
    settings: Settings,
    ref: str,
    data: Path | str | pa.Table,
    *,
    key: str | Sequence[str],
    label: str | None = None,
    time: str | None = None,
    groups: Sequence[str] = (),
    segments: Sequence[str] = (),
    drop: Sequence[str] = (),
    alias: str | None = None,
    contract: Path | None = None,
    clock: Clock | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> ModelVersion:
    """Register a new version with the booster of `ref` and everything that scoring needs.

    Args:
        ref: a version that `mlflow.xgboost.log_model` wrote as UBJ or JSON.
        data: reference rows that the model was not trained on, in the columns that it was trained on.
        key, label, time, groups: roles of columns. Half of the labelled rows calibrate, the other half measures;
            without a label there are no metrics, no intervals and no prediction sets.
        segments: columns whose values are told apart in the reference profile, beside the groups.
        drop: columns that are no features; only needed for a model without feature names.
        alias: set on the new version.
        contract: file to use as it is; None infers one.

    Raises:
        BundleInvalid: the model would need code or pickle to load, or cannot be scored with its own bits.
        InputError, ContractError: what is wrong with the reference rows.
    """
    models, bundles = model_store(settings), bundle_store(settings)
    version = models.resolve(ref)
    if version.bundle_digest is not None:
        message = f"{version.ref} has a bundle already; score and serve it as it is."
        raise ModelNotFound(message, ref=version.ref)
    on_step(f"Reading {version.ref}")
    with tempfile.TemporaryDirectory(prefix="twinscore-adopt-") as scratch:
        foreign = read_foreign(models.download(version, Path(scratch)), ref=version.ref)

    on_step("Reading and checking the reference rows")
    keys = (key,) if isinstance(key, str) else tuple(key)
    columns = Columns(keys, label, time, tuple(groups), tuple(drop), tuple(segments))
    loaded = load_data(data, columns)
    features = foreign.features_in(loaded.table.column_names, not_features=columns.not_features, source=loaded.source)
    checker = _contract(loaded, foreign, features, version.model, contract, settings.home / "contracts")
    table, accepted = learnable(loaded, checker)
    spec = foreign.spec(table, features)
    prove_same(foreign, spec, table, ref=version.ref)

    outcome = None if label is None else _outcome(loaded, accepted, foreign, label)
    half = len(table) // 2
    order = np.argsort(key_hash(table.select(list(columns.key)), 0), kind="stable").astype(np.int64)
    calibrate, test = np.sort(order[:half]), np.sort(order[half:])
    measured: Evaluation | None = None
    if outcome is not None:
        enough_rows(len(table))
        on_step(f"Calibrating on {len(calibrate):,} rows and measuring on {len(test):,}")
        measured = evaluate(
            foreign.booster,
            spec.encode(table),
            outcome,
            calibrate=calibrate,
            test=test,
            groups=group_columns(table, columns, test),
        )
    classes = outcome.classes if outcome else tuple(str(number) for number in range(foreign.n_classes))
    card = ModelCard(
        model=version.model,
        task=foreign.task,
        objective=foreign.objective,
        classes=classes,
        positive=classes[1] if len(classes) == 2 else None,
        label=label,
        key=columns.key,
        time=time,
        groups=columns.groups,
        snapshot=loaded.snapshot_id,
        rows={
            "calibrate": len(calibrate) if outcome else 0,
            "test": len(test) if outcome else 0,
            "unlabelled": loaded.n_unlabelled,
            "refused": int(len(accepted) - accepted.sum()),
        },
        metrics=measured.metrics if measured else {},
        group_metrics=measured.group_metrics if measured else {},
        params={"adopted_from": version.ref, "rounds_kept": foreign.booster.num_boosted_rounds()},
        versions=library_versions(),
        created_at=(clock or SystemClock()).now().isoformat(timespec="seconds"),
        coverage=COVERAGE,
    )
    on_step("Registering the version")
    adopted, _ = record_version(
        models,
        bundles,
        booster=foreign.booster,
        spec=spec,
        contract=checker.contract,
        calibration=measured.calibration if measured else Calibration("none"),
        card=card,
        table=table,
        reference=np.arange(len(table)),
        outcome=outcome.values.astype(np.int64) if outcome and outcome.classes else None,
        segments=columns.segments,
        tags={ADOPTED_TAG: version.ref},
    )
    if alias is not None:
        models.set_alias(adopted.model, alias, adopted.version)
    return adopted


def _contract(
    data: TrainingData, foreign: Foreign, features: list[str], model: str, given: Path | None, contracts: Path
) -> Checker:
    """Compile the given contract, or infer one that knows exactly the categories that the booster knows."""
    columns = data.columns
    if given is not None:
        time = [columns.time] if columns.time else []
        needed = [*columns.key, *features, *time, *columns.groups, *columns.segments]
        return compile_contract(given_contract(given, key=columns.key, needed=needed))
    inferred = infer_contract(
        data.table,
        name=model,
        key=columns.key,
        features=features,
        time=columns.time,
        groups=(*columns.groups, *columns.segments),
    )
    expectations = tuple(
        replace(rule, kwargs={**rule.kwargs, "value_set": list(foreign.categories[rule.kwargs["column"]])})
        if rule.type == "expect_column_values_to_be_in_set" and rule.kwargs["column"] in foreign.categories
        else rule
        for rule in inferred.expectations
    )
    numbered, _ = keep_contract(replace(inferred, expectations=expectations), contracts / model)
    return compile_contract(numbered)


def _outcome(data: TrainingData, accepted: np.ndarray, foreign: Foreign, label: str) -> Outcome:
    column = pa.chunked_array(data.table[label].filter(pa.array(data.labelled))).filter(pa.array(accepted))
    outcome = read_outcome(column, name=label, task=foreign.task)
    if len(outcome.classes) != foreign.n_classes:
        message = (
            f"The label {label!r} has {len(outcome.classes)} classes ({', '.join(outcome.classes[:5])}), the model has "
            f"{foreign.n_classes}; reference rows must hold them all."
        )
        raise InputError(message, column=label, classes=list(outcome.classes))
    return outcome
