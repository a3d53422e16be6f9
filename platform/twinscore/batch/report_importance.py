"""Which features moved the scores of a run: mean contributions per feature, largest first; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Attribution", "attributions_of", "importance"]

TOP = 20


@dataclass(frozen=True, slots=True)
class Attribution:
    """Contributions (SHAP values, in margins) of one feature, added up over the rows that were explained."""

    feature: str
    count: int
    """Rows."""
    total: float
    total_abs: float
    """Sum of absolute values."""


def attributions_of(document: Mapping[str, Any] | None) -> tuple[Attribution, ...]:
    """Read the manifest's summary of contributions, as `AttributionSummary.to_json` writes it.

    Returns:
        One per feature with finite sums; none when nothing was explained or the form is another.
    """
    if not isinstance(document, Mapping):
        return ()
    try:
        columns = zip(document["features"], document["total"], document["absolute"], strict=True)
        found = [Attribution(str(name), document["rows"], *sums) for name, *sums in columns]
        return tuple(
            one for one in found if one.count > 0 and math.isfinite(one.total) and math.isfinite(one.total_abs)
        )
    except (KeyError, TypeError, ValueError):
        return ()


def importance(attributions: tuple[Attribution, ...], top: int = TOP) -> dict[str, Any] | None:
    """Return the `top` features by mean absolute contribution, with their share of all; None without any.

    A mean above 0 says that the feature raised scores on the whole; mean |SHAP| is the importance of Lundberg et al.,
    2020, "From local explanations to global understanding with explainable AI for trees".
    """
    if not attributions:
        return None
    means = [(one.total_abs / one.count, one.total / one.count, one) for one in attributions]
    whole = math.fsum(mean_abs for mean_abs, _, _ in means)
    ordered = sorted(means, key=lambda item: (-item[0], item[2].feature))
    return {
        "rows": max(one.count for one in attributions),
        "features": [
            {
                "feature": one.feature,
                "mean_abs": mean_abs,
                "mean": mean,
                "share": mean_abs / whole if whole > 0 else None,
            }
            for mean_abs, mean, one in ordered[:top]
        ],
        "more": max(len(ordered) - top, 0),
    }
