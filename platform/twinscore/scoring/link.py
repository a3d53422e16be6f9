"""From margins to scores, as the objective says; knows nothing of trees.

The same compiled loop serves one row and a million, and gives the bits of `Booster.predict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from twinscore.errors import BundleInvalid, near

__all__ = ["LINKS", "Link", "link_of"]

Float32 = npt.NDArray[np.float32]
Link = Callable[[Float32], Float32]
"""Margins (n_rows,) or (n_rows, n_classes) to scores of the same shape."""

LINKS = {
    "binary:logistic": "logistic",
    "reg:logistic": "logistic",
    "multi:softprob": "softmax",
    "multi:softmax": "softmax",
    "count:poisson": "exponential",
    "reg:gamma": "exponential",
    "reg:tweedie": "exponential",
    "reg:squarederror": "identity",
    "reg:absoluteerror": "identity",
    "reg:pseudohubererror": "identity",
    "reg:quantileerror": "identity",
}
"""XGBoost objective -> link."""


def link_of(objective: str) -> Link:
    """Return the link of an XGBoost objective.

    Raises:
        BundleInvalid: the objective is not one whose scores we can compute with the booster's bits.
    """
    if objective not in LINKS:
        message = f"Objective {objective!r} is not supported. {near(objective, LINKS)}"
        raise BundleInvalid(message, objective=objective)
    if LINKS[objective] == "identity":
        return lambda margins: margins
    from twinscore.scoring import kernels

    kernel: Any = getattr(kernels, LINKS[objective])

    def apply(margins: Float32) -> Float32:
        out = np.empty_like(margins)
        kernel(margins, out)
        return out

    return apply
