"""From encoded rows to a booster: histograms, native categories, early stopping; knows nothing of tables or files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xgboost
    from numpy.typing import NDArray

    from twinscore.training.params import BoosterParams

__all__ = ["Fitted", "fit", "predict", "shap_base"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A booster cut to its best round.

    Args:
        booster: only the trees up to the best round.
        n_rounds: rounds kept.
        stop_metric, stop_value: what early stopping watched on the held-out part, and its best value.
    """

    booster: xgboost.Booster
    n_rounds: int
    stop_metric: str
    stop_value: float


def fit(
    encoded: NDArray[np.float32],
    outcome: NDArray[Any],
    *,
    train: NDArray[np.int64],
    stop: NDArray[np.int64],
    feature_names: Sequence[str],
    feature_types: Sequence[str],
    params: BoosterParams,
) -> Fitted:
    """Train until the held-out part stops getting better.

    Args:
        encoded: (n_rows, n_features) with categories as codes and NaN for missing.
        outcome: (n_rows,) class numbers or amounts.
        train, stop: row numbers to learn from and to watch.
        feature_names, feature_types: `q` or `c` per feature.

    Raises:
        SettingsInvalid: XGBoost refuses a parameter's value.
    """
    import xgboost

    def matrix(rows: NDArray[np.int64], like: Any = None) -> Any:
        return xgboost.QuantileDMatrix(
            encoded[rows],
            label=outcome[rows].astype(np.float32),
            feature_names=list(feature_names),
            feature_types=list(feature_types),
            enable_categorical=True,
            missing=np.nan,
            ref=like,
            max_bin=int(params.booster.get("max_bin", 256)),
            nthread=int(params.booster["nthread"]),
        )

    history: dict[str, dict[str, list[float]]] = {}
    try:
        learn = matrix(train)
        booster = xgboost.train(
            {**params.booster, "verbosity": 0},
            learn,
            num_boost_round=params.num_boost_round,
            evals=[(matrix(stop, learn), "stop")],
            early_stopping_rounds=params.early_stopping_rounds,
            evals_result=history,
            verbose_eval=False,
        )
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        message = (
            f"XGBoost refuses to train: {lines[0][:300] if lines else type(error).__name__}. Check the parameters."
        )
        raise SettingsInvalid(message) from error
    best = int(booster.best_iteration)
    metric = list(history["stop"])[-1]
    kept = booster[: best + 1]
    kept.feature_names, kept.feature_types = list(feature_names), list(feature_types)
    return Fitted(kept, best + 1, metric, float(history["stop"][metric][best]))


def predict(booster: xgboost.Booster, encoded: NDArray[np.float32], *, margin: bool = False) -> NDArray[np.float32]:
    """Return the booster's own float32 predictions: (n_rows,) or (n_rows, n_classes)."""
    return np.asarray(booster.predict(_matrix(booster, encoded), output_margin=margin), dtype=np.float32)


def shap_base(booster: xgboost.Booster, encoded: NDArray[np.float32]) -> list[float]:
    """Return the margin that contributions start from: one number, or one per class.

    It is the same for every row (Lundberg et al., 2020), so one row of (n_rows, n_features) is asked.
    """
    contributions = np.asarray(booster.predict(_matrix(booster, encoded[:1]), pred_contribs=True))
    return [float(value) for value in contributions.reshape(-1, contributions.shape[-1])[:, -1]]


def _matrix(booster: xgboost.Booster, encoded: NDArray[np.float32]) -> Any:
    import xgboost

    return xgboost.DMatrix(
        encoded,
        feature_names=booster.feature_names,
        feature_types=booster.feature_types,
        enable_categorical=True,
        missing=np.nan,
    )
