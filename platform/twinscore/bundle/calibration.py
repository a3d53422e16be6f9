"""Split conformal calibration: how wrong scores were on rows the booster never saw; knows nothing of boosters.

Classes get a prediction set (Sadinle, Lei and Wasserman, 2019, "Least Ambiguous Set-Valued Classifiers"): every class
whose probability is at least `1 - q`. Numbers get an interval of absolute residuals, one quantile per bin of the
predicted value (Mondrian conformal prediction: Vovk, Gammerman and Shafer, 2005, "Algorithmic Learning in a Random
World", 4.5), so that it is wide where the model is unsure. Both cover a new exchangeable outcome with a probability of
at least `coverage`: the quantile is the ceil((n + 1) * coverage)-th smallest of n.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["Calibration", "conformal_quantile", "fit_classes", "fit_interval"]

FEWEST_PER_BIN = 100
"""Calibration rows that a bin of predicted values needs; fewer would make its quantile noise."""
MOST_BINS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """Conformal quantiles of one model version.

    Args:
        kind: `classes`, `interval`, or `none` when no label was there to calibrate with.
        coverage: share of outcomes that sets and intervals promise to cover.
        edges: ascending inner edges of the bins of predicted values, (n_bins - 1,); empty for classes.
        quantiles: (n_bins,) residuals, or one nonconformity for classes; infinite when rows were too few.
        n_rows: calibration rows.
    """

    kind: Literal["classes", "interval", "none"]
    coverage: float = 0.9
    edges: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    n_rows: int = 0

    def intervals(self, predicted: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return lower and upper ends for predictions, each (n_rows,); NaN without calibration."""
        if self.kind != "interval":
            missing = np.full(len(predicted), np.nan)
            return missing, missing
        width = np.asarray(self.quantiles)[np.searchsorted(np.asarray(self.edges), predicted, side="left")]
        return predicted - width, predicted + width

    def interval(self, predicted: float) -> tuple[float, float]:
        """Return lower and upper end for one prediction: the bits that `intervals` gives."""
        if self.kind != "interval":
            return math.nan, math.nan
        width = self.quantiles[bisect_left(self.edges, predicted)]
        return predicted - width, predicted + width

    @property
    def least_probability(self) -> float:
        """Probability from which a class belongs to the prediction set; NaN without calibration."""
        return 1.0 - self.quantiles[0] if self.kind == "classes" else math.nan

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as JSON can hold it; an infinite quantile becomes null."""
        return {
            "kind": self.kind,
            "coverage": self.coverage,
            "edges": list(self.edges),
            "quantiles": [value if math.isfinite(value) else None for value in self.quantiles],
            "n_rows": self.n_rows,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` wrote.

        Raises:
            BundleInvalid: the document is not a calibration.
        """
        try:
            found = cls(
                document["kind"],
                float(document["coverage"]),
                tuple(float(value) for value in document["edges"]),
                tuple(math.inf if value is None else float(value) for value in document["quantiles"]),
                int(document["n_rows"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            message = f"calibration.json is not a calibration: {type(error).__name__} {error}."
            raise BundleInvalid(message) from error
        wanted = {"classes": 1, "interval": len(found.edges) + 1, "none": 0}.get(found.kind)
        if wanted != len(found.quantiles) or list(found.edges) != sorted(found.edges):
            message = f"calibration.json of kind {found.kind!r} does not hold ascending edges and {wanted} quantiles."
            raise BundleInvalid(message, kind=found.kind)
        return found


def fit_classes(prob: npt.ArrayLike, y: npt.ArrayLike, coverage: float = 0.9) -> Calibration:
    """Calibrate prediction sets on held-out rows.

    Args:
        prob: probabilities, (n_rows, n_classes); (n_rows,) means the second of two classes.
        y: class numbers, (n_rows,).
        coverage: share of outcomes to cover.
    """
    shares = np.asarray(prob, dtype=np.float64)
    if shares.ndim == 1:
        shares = np.column_stack([1.0 - shares, shares])
    truth = np.asarray(y, dtype=np.int64)
    strangeness = 1.0 - shares[np.arange(len(truth)), truth]
    return Calibration("classes", coverage, (), (conformal_quantile(strangeness, coverage),), len(truth))


def fit_interval(pred: npt.ArrayLike, y: npt.ArrayLike, coverage: float = 0.9) -> Calibration:
    """Calibrate intervals on held-out rows: predictions and outcomes, each (n_rows,)."""
    predicted = np.asarray(pred, dtype=np.float64)
    residual = np.abs(np.asarray(y, dtype=np.float64) - predicted)
    n_bins = int(np.clip(len(predicted) // FEWEST_PER_BIN, 1, MOST_BINS))
    edges = np.unique(np.quantile(predicted, np.arange(1, n_bins) / n_bins)) if n_bins > 1 else np.empty(0)
    edges = _wide_enough(predicted, edges)
    place = np.searchsorted(edges, predicted, side="left")
    quantiles = tuple(conformal_quantile(residual[place == k], coverage) for k in range(len(edges) + 1))
    return Calibration("interval", coverage, tuple(edges.tolist()), quantiles, len(predicted))


def conformal_quantile(strangeness: npt.NDArray[np.float64], coverage: float) -> float:
    """Return the ceil((n + 1) * coverage)-th smallest of (n,) values, or infinity when there are too few."""
    rank = math.ceil((len(strangeness) + 1) * coverage)
    if rank > len(strangeness):
        return math.inf
    return float(np.partition(strangeness, rank - 1)[rank - 1])


def _wide_enough(predicted: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Drop edges until every bin holds enough rows: tied predictions can starve one."""
    while len(edges):
        counts = np.bincount(np.searchsorted(edges, predicted, side="left"), minlength=len(edges) + 1)
        smallest = int(np.argmin(counts))
        if counts[smallest] >= FEWEST_PER_BIN:
            break
        edges = np.delete(edges, min(smallest, len(edges) - 1))
    return edges
