"""How the reference rows of each segment were spread, in the bins of all rows; part of the reference profile.

Only segments that may be held against something are kept: the largest of each column, and none of a few rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from twinscore.contract.show import value_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from twinscore.bundle.features import FeatureSpec

__all__ = ["FEWEST_ROWS", "MOST_VALUES", "segments_of"]

MOST_VALUES = 50
"""Segments of one column that are kept."""
FEWEST_ROWS = 30
"""A segment of fewer reference rows is not kept."""


def segments_of(
    table: pa.Table,
    columns: Sequence[str],
    spec: FeatureSpec,
    encoded: npt.NDArray[np.float32],
    features: Mapping[str, Any],
    scores: npt.NDArray[np.float64],
    score_edges: npt.NDArray[np.float64],
    decisions: pa.Array | None = None,
) -> dict[str, Any]:
    """Return the counts of each segment of each column.

    Args:
        table: conformed reference rows, (n_rows, contract columns).
        columns: whose values are segments.
        spec: what the features are.
        encoded: what `spec` makes of the rows, (n_rows, n_features).
        features: profile of each feature, with the edges or categories that are counted by.
        scores: (n_rows,)
        score_edges: ascending inner edges.
        decisions: class decided for each row, (n_rows,).

    Returns:
        JSON-able: column -> value -> rows, features (name -> counts (n_bins,), missing), score (n_bins,), and decisions
        (class -> rows) where they were given.
    """
    cells = [(one.name, _cells(encoded[:, at], features[one.name]), _bins(features[one.name]))
             for at, one in enumerate(spec.features)]  # fmt: skip
    score = np.searchsorted(score_edges, scores, side="left"), len(score_edges) + 1
    found: dict[str, Any] = {}
    for column in dict.fromkeys(columns):
        coded = value_names(table.column(column)).dictionary_encode()
        codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
        rows = np.bincount(codes, minlength=len(names))
        large = [code for code in range(len(names)) if rows[code] >= FEWEST_ROWS]
        kept = sorted(large, key=lambda code: (-rows[code], names[code]))[:MOST_VALUES]
        counts = {name: _table(codes, place, len(names), bins + 1) for name, place, bins in cells}
        by_score = _table(codes, score[0], len(names), score[1])
        found[column] = {}
        for code in sorted(kept, key=names.__getitem__):
            one: dict[str, Any] = {
                "rows": int(rows[code]),
                "features": {name: {"counts": each[code, :-1].tolist(), "missing": int(each[code, -1])}
                             for name, each in counts.items()},
                "score": by_score[code].tolist(),
            }  # fmt: skip
            if decisions is not None:
                decided = pc.value_counts(decisions.filter(codes == code)).to_pylist()
                one["decisions"] = {each["values"]: each["counts"] for each in decided}
            found[column][names[code]] = one
    return found


def _bins(feature: Mapping[str, Any]) -> int:
    return len(feature["counts"])


def _cells(values: npt.NDArray[np.float32], feature: Mapping[str, Any]) -> npt.NDArray[np.int64]:
    """Return the bin or category of each value, and the place after the last where it is missing: (n_rows,)."""
    empty = np.isnan(values)
    if feature["kind"] == "categorical":
        places = np.where(empty, 0.0, values).astype(np.int64)
    else:
        places = np.searchsorted(np.asarray(feature["edges"], np.float64), values.astype(np.float64), side="left")
    return np.where(empty, _bins(feature), places)


def _table(
    codes: npt.NDArray[np.int64], places: npt.NDArray[np.int64], values: int, bins: int
) -> npt.NDArray[np.int64]:
    """Count rows by value and place: (values, bins)."""
    flat = codes.astype(np.int64) * bins + places
    return np.bincount(flat, minlength=values * bins).reshape(values, bins)
