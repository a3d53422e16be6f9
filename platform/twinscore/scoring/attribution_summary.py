"""What the contributions of many rows come to, per feature: small, mergeable, JSON; knows nothing of trees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from twinscore.errors import SchemaMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AttributionSummary"]

Float64 = npt.NDArray[np.float64]

_SUMS = ("total", "absolute", "squares")
_ENDS = ("least", "most")


@dataclass(frozen=True, eq=False)
class AttributionSummary:
    """Contributions of some rows, summed up per feature; each array is float64 (n_features,).

    Args:
        features: names, in the order of the arrays.
        rows: how many rows.
        total: sum of the contributions.
        absolute: sum of their sizes.
        squares: sum of their squares.
        least, most: the smallest and the largest; infinite while there are no rows.
    """

    features: tuple[str, ...]
    rows: int
    total: Float64
    absolute: Float64
    squares: Float64
    least: Float64
    most: Float64

    @classmethod
    def of(cls, contributions: npt.NDArray[np.floating[Any]], features: Sequence[str]) -> AttributionSummary:
        """Sum up contributions of one output: (n_rows, n_features), which may have no rows.

        Raises:
            SchemaMismatch: there are not as many columns as names.
        """
        if contributions.ndim != 2 or contributions.shape[1] != len(features):
            message = f"Contributions of shape {contributions.shape} do not fit {len(features)} features, one a column."
            raise SchemaMismatch(message, expected=len(features), found=list(contributions.shape))
        values = contributions.astype(np.float64)
        return cls(
            features=tuple(features),
            rows=len(values),
            total=values.sum(axis=0),
            absolute=np.abs(values).sum(axis=0),
            squares=np.square(values).sum(axis=0),
            least=values.min(axis=0, initial=np.inf),
            most=values.max(axis=0, initial=-np.inf),
        )

    @property
    def importance(self) -> Float64:
        """Mean size of each feature's contribution, (n_features,); NaN while there are no rows."""
        return self.absolute / self.rows if self.rows else np.full(len(self.features), np.nan)

    def merge(self, other: AttributionSummary) -> AttributionSummary:
        """Return the summary of the rows of both.

        Raises:
            SchemaMismatch: they are about different features, or in another order.
        """
        if self.features != other.features:
            differing = sorted(set(self.features) ^ set(other.features)) or ["their order"]
            message = (
                f"Two summaries of different features cannot be merged; they differ in {', '.join(differing[:5])}."
            )
            raise SchemaMismatch(message, differing=differing[:5])
        return AttributionSummary(
            features=self.features,
            rows=self.rows + other.rows,
            total=self.total + other.total,
            absolute=self.absolute + other.absolute,
            squares=self.squares + other.squares,
            least=np.minimum(self.least, other.least),
            most=np.maximum(self.most, other.most),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON can hold it; ends that are infinite are null."""
        document: dict[str, Any] = {"rows": self.rows, "features": list(self.features)}
        document |= {name: getattr(self, name).tolist() for name in _SUMS}
        for name in _ENDS:
            document[name] = [value if math.isfinite(value) else None for value in getattr(self, name).tolist()]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> AttributionSummary:
        """Read what `to_json` wrote, to the last bit.

        Raises:
            SchemaMismatch: the document is not such a summary.
        """
        try:
            features = tuple(str(name) for name in document["features"])
            parts = {name: np.array(document[name], dtype=np.float64) for name in _SUMS}
            for name, empty in zip(_ENDS, (np.inf, -np.inf), strict=True):
                parts[name] = np.array(
                    [empty if value is None else value for value in document[name]], dtype=np.float64
                )
            rows = int(document["rows"])
        except (KeyError, TypeError, ValueError) as error:
            message = f"This is not a summary of contributions: {type(error).__name__} {error}."
            raise SchemaMismatch(message) from error
        odd = [name for name, values in parts.items() if values.shape != (len(features),)]
        if odd or rows < 0:
            message = f"This is not a summary of contributions: {(odd or ['rows'])[0]!r} does not fit its features."
            raise SchemaMismatch(message, field=(odd or ["rows"])[0])
        return cls(features=features, rows=rows, **parts)
