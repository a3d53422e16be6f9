"""From a measured booster to a registered version: write the bundle, verify it, register it; knows no training.

The bundle store verifies before the registry hears of anything, so a version never names a bundle that does not load.
"""

from __future__ import annotations

import math
import re
import tempfile
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.bundle.files import write_bundle
from twinscore.bundle.profile import build_profile
from twinscore.training.evaluate import scores_of
from twinscore.training.fit import predict, shap_base
from twinscore.training.golden import golden_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xgboost
    from numpy.typing import NDArray

    from twinscore.bundle.calibration import Calibration
    from twinscore.bundle.card import ModelCard
    from twinscore.bundle.features import FeatureSpec
    from twinscore.contract.model import Contract
    from twinscore.ports.bundle_store import BundleStore
    from twinscore.ports.model_store import ModelStore, ModelVersion

__all__ = ["flat_metrics", "library_versions", "record_version"]

_LIBRARIES = ("twinscore", "xgboost", "numpy", "pyarrow", "pandas", "numba", "mlflow", "great-expectations")
_MOST_GROUP_METRICS = 500
_REFUSED_IN_NAMES = re.compile(r"[^\w.\- /]")


def library_versions() -> dict[str, str]:
    """Return the installed version of every library that touches a model."""
    return {name: installed(name) for name in _LIBRARIES}


def record_version(
    models: ModelStore,
    bundles: BundleStore,
    *,
    booster: xgboost.Booster,
    spec: FeatureSpec,
    contract: Contract,
    calibration: Calibration,
    card: ModelCard,
    table: pa.Table,
    reference: NDArray[np.int64],
    outcome: NDArray[np.int64] | None,
    segments: Sequence[str] = (),
    seed: int = 0,
    tags: Mapping[str, str] | None = None,
) -> tuple[ModelVersion, str]:
    """Write a bundle, keep it in the bundle store, and register it as the next version of its model.

    Args:
        table: accepted rows, (n_rows, contract columns); golden rows are drawn from them.
        reference: row numbers that the profile describes.
        outcome: class numbers of the reference rows, when they are known.
        segments: columns, beside the card's groups, whose values the profile describes apart.

    Returns:
        the version, and the bundle's digest.
    """
    rows = table.take(pa.array(reference))
    label = None if outcome is None else pa.array(np.array(card.classes, dtype=object)[outcome], pa.string())
    predicted = predict(booster, spec.encode(rows))
    scores = scores_of(predicted)
    golden = table.take(pa.array(golden_rows(table, features=spec.columns.names, seed=seed)))
    with tempfile.TemporaryDirectory(prefix="twinscore-bundle-") as scratch:
        folder = Path(scratch, "bundle")
        write_bundle(
            folder,
            booster=booster,
            spec=spec,
            contract=contract,
            profile=build_profile(
                rows, spec, scores, label, card.groups, _decisions(predicted, card), (*card.groups, *segments)
            ),
            calibration=calibration,
            shap_base=shap_base(booster, spec.encode(rows.slice(0, 1))),
            card=card,
            golden=golden,
        )
        digest = bundles.publish(folder)
        version = models.register(
            card.model,
            folder,
            metrics=flat_metrics(card),
            params=dict(card.params),
            tags={**_tags(card, contract, digest), **(tags or {})},
        )
    return version, digest


def flat_metrics(card: ModelCard) -> dict[str, float]:
    """Return the card's metrics by one name each, such as `auc` and `group/sex/Female/auc`; NaN is left out."""
    flat = dict(card.metrics)
    for column, values in card.group_metrics.items():
        for value, metrics in values.items():
            for name, number in metrics.items():
                if len(flat) < _MOST_GROUP_METRICS:
                    flat[_REFUSED_IN_NAMES.sub("_", f"group/{column}/{value or '(empty)'}/{name}")[:250]] = number
    return {name: float(value) for name, value in flat.items() if math.isfinite(value)}


def _decisions(predicted: NDArray[np.float32], card: ModelCard) -> pa.Array | None:
    """Return the class that is decided for each row, as scoring decides it; None for numbers."""
    if card.task != "classification":
        return None
    positive = predicted.astype(np.float64) >= card.threshold
    decided = positive.astype(np.int64) if predicted.ndim == 1 else np.argmax(predicted, axis=1)
    return pa.array(card.classes, pa.string()).take(pa.array(decided))


def _tags(card: ModelCard, contract: Contract, digest: str) -> dict[str, str]:
    return {
        "twinscore.bundle_digest": digest,
        "twinscore.contract_digest": contract.digest,
        "twinscore.contract": f"{contract.name} v{contract.version}",
        "twinscore.task": card.task,
        "twinscore.data_snapshot": str(card.snapshot),
        "twinscore.label": str(card.label),
        "twinscore.key": ", ".join(card.key),
        "twinscore.metrics": ", ".join(f"{name} {value:.4g}" for name, value in sorted(card.metrics.items())),
    }
