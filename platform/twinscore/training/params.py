"""XGBoost parameters: our defaults, a person's file on top, unknown names refused; knows nothing of data.

XGBoost itself only warns about a misspelt parameter and trains without it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twinscore.errors import SettingsInvalid, near

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.training.outcome import Task

__all__ = ["OBJECTIVES", "BoosterParams", "booster_params", "read_params"]

_ROUNDS = {"num_boost_round": 1000, "early_stopping_rounds": 30}
"""Named as in `xgboost.train`; early stopping decides in practice."""

_TREE_NAMES = """
alpha base_score colsample_bylevel colsample_bynode colsample_bytree eta eval_metric gamma grow_policy huber_slope
interaction_constraints lambda learning_rate max_bin max_cat_threshold max_cat_to_onehot max_delta_step max_depth
max_leaves min_child_weight min_split_loss monotone_constraints num_parallel_tree objective reg_alpha reg_lambda
sampling_method scale_pos_weight seed subsample tree_method tweedie_variance_power
"""
_TREE = frozenset(_TREE_NAMES.split())
"""Of https://xgboost.readthedocs.io/en/stable/parameter.html, those of tree boosters that a file may set."""

_OURS = {
    "booster": "only gbtree is scored the same way in both paths",
    "num_class": "it follows from the label",
    "nthread": "it follows from TWINSCORE_NUM_CPUS",
    "n_jobs": "it follows from TWINSCORE_NUM_CPUS",
    "device": "training runs on the CPU",
    "n_estimators": "write num_boost_round",
    "quantile_alpha": "one model gives one number; intervals come from calibration",
    "enable_categorical": "it is always on",
}

OBJECTIVES: dict[str, tuple[str, ...]] = {
    "binary": ("binary:logistic",),
    "multiclass": ("multi:softprob",),
    "regression": (
        "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:gamma", "reg:tweedie", "count:poisson",
    ),
}  # fmt: skip

_METRIC = {"binary": "logloss", "multiclass": "mlogloss"}


@dataclass(frozen=True, slots=True)
class BoosterParams:
    """What `xgboost.train` is called with, apart from data."""

    booster: Mapping[str, Any]
    num_boost_round: int
    early_stopping_rounds: int

    @property
    def objective(self) -> str:
        """Name of the loss."""
        return str(self.booster["objective"])

    def to_json(self) -> dict[str, Any]:
        """Return every parameter by name, for the card and the registry."""
        return {
            **self.booster,
            "num_boost_round": self.num_boost_round,
            "early_stopping_rounds": self.early_stopping_rounds,
        }


def read_params(path: Path | str) -> dict[str, Any]:
    """Read a YAML or JSON file of parameters.

    Raises:
        SettingsInvalid: the file is missing, unreadable or not a mapping.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        message = f"The parameter file {file} cannot be read: {str(error).splitlines()[0]}."
        raise SettingsInvalid(message, path=str(file)) from error
    if not isinstance(found, dict):
        message = f"The parameter file {file} must hold names and values, such as 'max_depth: 6'."
        raise SettingsInvalid(message, path=str(file))
    return {str(name): value for name, value in found.items()}


def booster_params(
    task: Task, n_classes: int, *, given: Mapping[str, Any] | None = None, seed: int = 0, threads: int = 1
) -> BoosterParams:
    """Return our defaults with the given parameters on top.

    Raises:
        SettingsInvalid: a name is unknown or not for a file to set, or a value has no use there.
    """
    kind = "regression" if task == "regression" else "binary" if n_classes == 2 else "multiclass"
    given = dict(given or {})
    for name, value in given.items():
        if name in _OURS:
            message = f"The parameter {name!r} cannot be set: {_OURS[name]}."
            raise SettingsInvalid(message, parameter=name)
        if name not in _TREE and name not in _ROUNDS:
            message = f"The XGBoost parameter {name!r} is unknown. {near(name, [*_TREE, *_ROUNDS])}"
            raise SettingsInvalid(message, parameter=name)
        if value is None or (isinstance(value, dict) and name != "monotone_constraints"):
            message = f"The parameter {name!r} has the value {value!r}; write a number or a word."
            raise SettingsInvalid(message, parameter=name)
    rounds = {name: _positive(name, given.pop(name, default)) for name, default in _ROUNDS.items()}
    objective = given.get("objective", OBJECTIVES[kind][0])
    if objective not in OBJECTIVES[kind]:
        message = (
            f"The objective {objective!r} does not fit a {kind} label, or is not scored the same way in both paths. "
            f"{near(str(objective), OBJECTIVES[kind])}"
        )
        raise SettingsInvalid(message, parameter="objective", value=objective)
    booster: dict[str, Any] = {
        "booster": "gbtree",
        "tree_method": "hist",
        "learning_rate": 0.1,
        "max_depth": 6,
        "seed": seed,
        **given,
        "objective": objective,
        "nthread": threads,
    }
    if "eta" in given:
        booster.pop("learning_rate")
    if kind == "multiclass":
        booster["num_class"] = n_classes
    if kind in _METRIC:
        booster.setdefault("eval_metric", _METRIC[kind])
    return BoosterParams(booster, rounds["num_boost_round"], rounds["early_stopping_rounds"])


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        message = f"The parameter {name!r} must be a whole number of at least 1, got {value!r}."
        raise SettingsInvalid(message, parameter=name)
    return value
