"""Which rows of a batch get their contributions, and the columns that hold them; knows no files and no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from twinscore.scoring.attribution import explain_encoded, explanation_schema
from twinscore.scoring.attribution_summary import AttributionSummary

if TYPE_CHECKING:
    import numpy.typing as npt

    from twinscore.batch.spec_parts import ExplainSpec
    from twinscore.bundle.files import Bundle

__all__ = ["chosen_rows", "explained_rows", "spread"]


def chosen_rows(
    spec: ExplainSpec, review: npt.NDArray[np.bool_], hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Return which rows are explained: (n_rows,).

    A sample is drawn by the hash of the key: the same rows in every run, however the input is cut.

    Args:
        spec: what the run was asked for.
        review: rows that a person should look at, (n_rows,).
        hashes: of the rows' keys, (n_rows,).
    """
    if spec.rows == "flagged":
        return review
    if spec.rows == "sample":
        return hashes < np.uint64(min(int(spec.sample * 2**64), 2**64 - 1))
    return np.full(len(review), spec.rows == "all")


def explained_rows(
    encoded: npt.NDArray[np.float32], margins: npt.NDArray[np.float32], chosen: npt.NDArray[np.bool_], bundle: Bundle
) -> tuple[pa.Table, AttributionSummary]:
    """Return the explanations of the chosen rows, in order, and their summary.

    Args:
        encoded: (n_rows, n_features)
        margins: (n_rows,) or (n_rows, n_classes)
        chosen: (n_rows,)
    """
    if not chosen.all():
        encoded, margins = encoded[chosen], margins[chosen]
    table = explain_encoded(encoded, margins, bundle)
    listed = table.column("contributions").combine_chunks()
    values = listed.flatten().to_numpy().reshape(len(encoded), len(bundle.spec.features))
    return table, AttributionSummary.of(values, bundle.spec.names)


def spread(explained: pa.Table, chosen: npt.NDArray[np.bool_], bundle: Bundle) -> pa.Table:
    """Return explanations for all rows, null where a row was not chosen: (n_rows, `explanation_schema`)."""
    if chosen.all():
        return explained
    places = pa.array(np.cumsum(chosen) - 1, mask=~chosen)
    columns = [column.take(places) for column in explained.combine_chunks().columns]
    return pa.table(columns, schema=explanation_schema(bundle))
