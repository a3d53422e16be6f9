"""What the registry is told about a bundle: metrics, parameters and tags; knows nothing of how it was trained."""

from __future__ import annotations

import math
import re
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.bundle.card import ModelCard
    from twinscore.contract.model import Contract
    from twinscore.ports.model_store import ModelStore, ModelVersion

__all__ = ["flat_metrics", "library_versions", "register_bundle"]

_LIBRARIES = ("twinscore", "xgboost", "numpy", "pyarrow", "pandas", "numba", "mlflow", "great-expectations")
_MOST_GROUP_METRICS = 500
_REFUSED_IN_NAMES = re.compile(r"[^\w.\- /]")


def library_versions() -> dict[str, str]:
    """Return the installed version of every library that touches a model."""
    return {name: installed(name) for name in _LIBRARIES}


def register_bundle(
    models: ModelStore,
    folder: Path,
    *,
    digest: str,
    card: ModelCard,
    contract: Contract,
    tags: Mapping[str, str] | None = None,
) -> ModelVersion:
    """Register a bundle as the next version of its model, findable by what it was made from."""
    return models.register(
        card.model,
        folder,
        metrics=flat_metrics(card),
        params=dict(card.params),
        tags={
            "twinscore.bundle_digest": digest,
            "twinscore.contract_digest": contract.digest,
            "twinscore.contract": f"{contract.name} v{contract.version}",
            "twinscore.task": card.task,
            "twinscore.data_snapshot": str(card.snapshot),
            "twinscore.label": str(card.label),
            "twinscore.key": ", ".join(card.key),
            "twinscore.metrics": ", ".join(f"{name} {value:.4g}" for name, value in sorted(card.metrics.items())),
            **(tags or {}),
        },
    )


def flat_metrics(card: ModelCard) -> dict[str, float]:
    """Return the card's metrics by one name each, such as `auc` and `group/sex/Female/auc`; NaN is left out."""
    flat = dict(card.metrics)
    for column, values in card.group_metrics.items():
        for value, metrics in values.items():
            for name, number in metrics.items():
                if len(flat) < _MOST_GROUP_METRICS:
                    flat[_REFUSED_IN_NAMES.sub("_", f"group/{column}/{value or '(empty)'}/{name}")[:250]] = number
    return {name: float(value) for name, value in flat.items() if math.isfinite(value)}
