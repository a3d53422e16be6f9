"""The commands as Python functions: thin, with settings read from the environment unless given.

import twinscore
version = twinscore.train(model="adult", data="adult_train.parquet", label="label", key="row_id")
report = twinscore.score("adult@champion", "adult_test.parquet", "scores/")
"""

from twinscore.api.both_paths import (
    adopt,
    down,
    freshness,
    labels,
    parity,
    retry,
    score,
    serve,
    status,
    train,
    up,
)
from twinscore.api.watching import check_parity, monitor_report, shadow_report, watch

__all__ = [
    "adopt",
    "check_parity",
    "down",
    "freshness",
    "labels",
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
