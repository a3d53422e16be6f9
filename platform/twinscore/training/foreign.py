"""Read an XGBoost model that somebody logged with MLflow, as data; knows nothing of registries.

Only what cannot run code is read: a UBJ or JSON file, through XGBoost's own parser. A pickle, a model with its own code
or of an unknown class is refused by name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import yaml

from twinscore.bundle.features import Feature, FeatureSpec
from twinscore.errors import BundleInvalid, SchemaMismatch, near
from twinscore.training.params import OBJECTIVES

if TYPE_CHECKING:
    from pathlib import Path

    import xgboost

    from twinscore.training.outcome import Task

__all__ = ["Foreign", "prove_same", "read_foreign"]

_SKLEARN = {"xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRegressor"}
_CLASSES = {"xgboost.core.Booster", *_SKLEARN}
_OBJECTIVES = {name for names in OBJECTIVES.values() for name in names}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A booster that was trained elsewhere.

    Args:
        booster: cut to its best round when its own class predicts with that.
        objective: of its training.
        n_classes: 0 for regression.
        names: its features in order; None when it was trained on nameless columns.
        categories: feature to category texts in the order of their codes, for those that the booster remembers.
    """

    booster: xgboost.Booster
    objective: str
    n_classes: int
    names: tuple[str, ...] | None
    categories: dict[str, tuple[str, ...]]

    @property
    def task(self) -> Task:
        """What the scores are."""
        return "classification" if self.n_classes else "regression"

    def features_in(self, columns: list[str], *, not_features: tuple[str, ...], source: str) -> list[str]:
        """Return the columns that are the booster's features, in its order.

        Raises:
            SchemaMismatch: one is missing, or without names the number does not fit.
        """
        if self.names is None:
            left = [name for name in columns if name not in not_features]
            if len(left) != self.booster.num_features():
                message = (
                    f"The model has {self.booster.num_features()} nameless features and {source} has {len(left)} "
                    "columns that could be them; leave the others out with --drop."
                )
                raise SchemaMismatch(message, source=source, expected=self.booster.num_features(), found=len(left))
            return left
        for name in self.names:
            if name not in columns:
                message = f"{source} has no column {name!r}, a feature of the model. {near(name, columns)}"
                raise SchemaMismatch(message, source=source, column=name)
        return list(self.names)

    def spec(self, table: pa.Table, features: list[str]) -> FeatureSpec:
        """Return how conformed columns become the booster's features: (n_rows, contract columns)."""
        chosen = []
        for name in features:
            if name in self.categories:
                chosen.append(Feature(name, "categorical", self.categories[name]))
            else:
                if pa.types.is_string(table.schema.field(name).type):
                    message = (
                        f"The column {name!r} is text, and the model does not remember its categories. Train it on "
                        "pandas categoricals with XGBoost 3.1 or later, or give the numbers that it was trained on."
                    )
                    raise SchemaMismatch(message, column=name)
                chosen.append(Feature(name))
        return FeatureSpec(pa.schema([table.schema.field(name) for name in features]), tuple(chosen))


def read_foreign(folder: Path, *, ref: str) -> Foreign:
    """Read the XGBoost model in a downloaded MLflow model folder.

    Raises:
        BundleInvalid: it is not an XGBoost model, would need code or pickle to load, or cannot be scored alike.
    """
    flavor = _flavor(folder, ref)
    file = _data_file(folder, str(flavor.get("data", "")), ref)
    booster = _parse(file, ref)
    config = json.loads(booster.save_config())["learner"]
    kind, objective = config["gradient_booster"]["name"], config["objective"]["name"]
    if kind != "gbtree":
        raise _refusal(ref, f"it is a {kind!r} booster; only gbtree is scored the same way in both paths")
    if objective not in _OBJECTIVES:
        raise _refusal(ref, f"its objective {objective!r} is not one we can score: {', '.join(sorted(_OBJECTIVES))}")
    if int(config["learner_model_param"]["num_target"]) > 1:
        raise _refusal(ref, "it predicts more than one target")
    categories = _categories(booster)  # a slice of a booster forgets them
    best = booster.attributes().get("best_iteration")
    if best is not None and flavor.get("model_class") in _SKLEARN:
        names, types = booster.feature_names, booster.feature_types
        booster = booster[: int(best) + 1]
        booster.feature_names, booster.feature_types = names, types
    n_classes = int(config["learner_model_param"]["num_class"])
    return Foreign(
        booster=booster,
        objective=objective,
        n_classes=2 if objective == "binary:logistic" else n_classes,
        names=tuple(booster.feature_names) if booster.feature_names else None,
        categories=categories,
    )


def prove_same(foreign: Foreign, spec: FeatureSpec, table: pa.Table, *, ref: str) -> None:
    """Score a frame as XGBoost itself would read it, and the encoded rows; every bit must be the same.

    Args:
        table: conformed reference rows, (n_rows, contract columns).

    Raises:
        BundleInvalid: some row differs.
    """
    import pandas as pd
    import xgboost

    frame = pd.DataFrame({name: table[name].to_pandas() for name in spec.columns.names})
    for name, categories in foreign.categories.items():
        text = table[name].cast(pa.string()).to_pandas().astype(object)
        frame[name] = pd.Categorical(text, categories=list(categories))
    if foreign.names is None:
        frame = frame.astype(np.float64)
        own = foreign.booster.predict(xgboost.DMatrix(frame.to_numpy()), output_margin=True)
    else:
        for name in frame.columns:
            if name not in foreign.categories:
                frame[name] = frame[name].astype(np.float64)
        matrix = xgboost.DMatrix(frame, enable_categorical=True, feature_types=foreign.booster.feature_types)
        own = foreign.booster.predict(matrix, output_margin=True)
    ours = foreign.booster.inplace_predict(spec.encode(table), predict_type="margin")
    different = int((np.asarray(own).view(np.uint32) != np.asarray(ours).view(np.uint32)).sum())
    if different:
        message = (
            f"{ref} cannot be adopted: {different:,} of {table.num_rows:,} reference scores differ from the model's "
            "own. Are the columns those that it was trained on?"
        )
        raise BundleInvalid(message, ref=ref, different=different)


def _flavor(folder: Path, ref: str) -> dict[str, Any]:
    try:
        flavors = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
        raise _refusal(ref, f"its MLmodel is missing or not readable ({error})") from error
    flavor = flavors.get("xgboost")
    if flavor is None:
        known = ", ".join(sorted(flavors)) or "none"
        raise _refusal(ref, f"it has no xgboost flavor (it has: {known}); log it with mlflow.xgboost.log_model")
    if flavor.get("code"):
        raise _refusal(ref, f"it brings its own code ({flavor['code']!r}), which is never run")
    if flavor.get("model_class") not in _CLASSES:
        raise _refusal(ref, f"its class {flavor.get('model_class')!r} is not one of {', '.join(sorted(_CLASSES))}")
    return dict(flavor)


def _data_file(folder: Path, name: str, ref: str) -> Path:
    inside = PurePosixPath(name)
    file = folder / inside
    if inside.is_absolute() or ".." in inside.parts or not inside.parts or file.is_symlink() or not file.is_file():
        raise _refusal(ref, f"its MLmodel names the file {name!r}, which is not a plain file inside the model")
    if inside.suffix not in (".ubj", ".json"):
        raise _refusal(ref, f"its file {name!r} is not UBJ or JSON; log it with model_format='ubj', never as a pickle")
    return file


def _parse(file: Path, ref: str) -> xgboost.Booster:
    import xgboost

    raw = file.read_bytes()
    if not raw.startswith(b"{"):
        raise _refusal(ref, f"its file {file.name!r} is not UBJ or JSON, whatever its name says")
    try:
        return xgboost.Booster(model_file=bytearray(raw))
    except xgboost.core.XGBoostError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise _refusal(ref, f"XGBoost cannot read its file {file.name!r}: {reason}") from error


def _categories(booster: xgboost.Booster) -> dict[str, tuple[str, ...]]:
    remembered: Any = booster.get_categories(export_to_arrow=True)  # None when trained without categories
    named = remembered.to_arrow() if remembered is not None else []
    return {str(name): tuple(str(v) for v in values.to_pylist()) for name, values in named if values is not None}


def _refusal(ref: str, why: str) -> BundleInvalid:
    message = f"{ref} cannot be adopted: {why}."
    return BundleInvalid(message, ref=ref)
