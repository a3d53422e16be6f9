"""The reference profile: how features and scores were spread when the model was made; knows nothing of alarms.

Bin edges are fixed here, once, so that counts of any later window can be added up and compared at any scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.bundle.segments import segments_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from twinscore.bundle.features import FeatureSpec

__all__ = ["bin_counts", "bin_edges", "build_profile"]

N_BINS = 20


def build_profile(
    table: pa.Table,
    spec: FeatureSpec,
    scores: npt.NDArray[np.float64],
    label: pa.Array | None = None,
    groups: Sequence[str] = (),
    decisions: pa.Array | None = None,
    segments: Sequence[str] = (),
) -> dict[str, Any]:
    """Profile reference rows.

    Args:
        table: conformed reference rows, (n_rows, contract columns).
        spec: what the features are.
        scores: (n_rows,)
        label: outcomes, (n_rows,); adds the score's counts per class when they are few.
        groups: columns; adds the score's counts per value.
        decisions: class decided for each row, (n_rows,); adds the rows of each.
        segments: columns; adds how the rows of each value were spread, see `bundle.segments`.

    Returns:
        JSON-able: per feature and for the score, edges (n_bins - 1 inner ones) with counts (n_bins,), or categories
        with counts, and the number missing.
    """
    encoded = spec.encode(table)
    features: dict[str, Any] = {}
    for position, feature in enumerate(spec.features):
        values = encoded[:, position].astype(np.float64)
        present = values[~np.isnan(values)]
        missing = int(len(values) - len(present))
        if feature.kind == "categorical":
            counts = np.bincount(present.astype(np.int64), minlength=len(feature.categories))
            features[feature.name] = {
                "kind": "categorical",
                "categories": list(feature.categories),
                "counts": counts.tolist(),
                "missing": missing,
            }
        else:
            features[feature.name] = {"kind": "numeric", **_numeric(present), "missing": missing}
    edges = bin_edges(scores)
    score: dict[str, Any] = _numeric(scores, edges)
    by_group = {name: _by_value(table.column(name), scores, edges) for name in groups}
    profile = {"rows": table.num_rows, "features": features, "score": score, "score_by_group": by_group}
    if label is not None and len(pc.unique(label)) <= N_BINS:
        profile["score_by_class"] = _by_value(label, scores, edges)
    if decisions is not None:
        profile["decisions"] = {one["values"]: one["counts"] for one in pc.value_counts(decisions).to_pylist()}
    if segments:
        profile["segments"] = segments_of(table, segments, spec, encoded, features, scores, edges, decisions)
    return profile


def bin_edges(values: npt.NDArray[np.float64], n_bins: int = N_BINS) -> npt.NDArray[np.float64]:
    """Return ascending inner edges at quantiles of (n_rows,) values: at most n_bins - 1, fewer with ties."""
    if not len(values):
        return np.empty(0)
    return np.unique(np.quantile(values, np.arange(1, n_bins) / n_bins, method="inverted_cdf"))


def bin_counts(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count (n_rows,) values in bins `(edge, next edge]`: (len(edges) + 1,), open at both ends."""
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)


def _numeric(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64] | None = None) -> dict[str, Any]:
    edges = bin_edges(values) if edges is None else edges
    summary = dict.fromkeys(("min", "max", "mean", "std")) if not len(values) else {
        "min": float(values.min()), "max": float(values.max()),
        "mean": float(values.mean()), "std": float(values.std()),
    }  # fmt: skip
    return {"edges": edges.tolist(), "counts": bin_counts(values, edges).tolist(), **summary}


def _by_value(
    column: pa.Array | pa.ChunkedArray, scores: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]
) -> dict[str, Any]:
    coded = pc.dictionary_encode(pc.cast(column, pa.string()))
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names = coded.dictionary.to_pylist()
    return {str(name): bin_counts(scores[codes == code], edges).tolist() for code, name in enumerate(names)}
