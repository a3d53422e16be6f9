"""twinscore: one model version, two paths, one score.

The public Python API. Names load on first use, so that `import twinscore` stays light:
nothing of Ray, MLflow, XGBoost or Great Expectations is imported before it is needed.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twinscore.api import (
        adopt,
        check_parity,
        down,
        freshness,
        labels,
        monitor_report,
        parity,
        retry,
        score,
        serve,
        shadow_report,
        status,
        train,
        up,
        watch,
    )
    from twinscore.errors import TwinscoreError
    from twinscore.settings import Settings, load_settings

# OpenMP reads this when XGBoost loads. Its threads otherwise spin while they wait for each other, which on a busy
# machine turns a training of 1.5 s into one of 70 s (measured: 2 threads, 2 cores shared with other work).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__all__ = [
    "Settings",
    "TwinscoreError",
    "adopt",
    "check_parity",
    "down",
    "freshness",
    "labels",
    "load_settings",
    "monitor_report",
    "parity",
    "retry",
    "score",
    "serve",
    "shadow_report",
    "status",
    "train",
    "up",
    "watch",
]

_HOMES = {
    "Settings": "twinscore.settings",
    "TwinscoreError": "twinscore.errors",
    "load_settings": "twinscore.settings",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        message = f"module 'twinscore' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_HOMES.get(name, "twinscore.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
