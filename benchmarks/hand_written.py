"""What a careful person writes without a framework: the limit that the batch measurements compare with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from reference import key_of

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle


def encoder(bundle: Bundle) -> Any:
    """Return what a careful person writes to fill the matrix: numbers as they are, texts as codes."""
    if any(feature.expression is not None for feature in bundle.spec.features):
        sys.exit("The hand-written loop knows no derived features; take a model without them.")
    features = [(feature.name, pa.array(feature.categories) if feature.kind == "categorical" else None)
                for feature in bundle.spec.features]  # fmt: skip

    def encode(batch: pa.RecordBatch) -> np.ndarray:
        matrix = np.empty((batch.num_rows, len(features)), np.float32)
        for place, (name, words) in enumerate(features):
            column = batch.column(name)
            if words is not None:
                column = pc.index_in(column, value_set=words)
            plain = column if pa.types.is_floating(column.type) else column.cast(pa.float64())
            matrix[:, place] = plain.to_numpy(zero_copy_only=False)
        return matrix

    return encode


def columns_of(bundle: Bundle) -> list[str]:
    return [key_of(bundle).name, *(feature.name for feature in bundle.spec.features)]


def key_and_score(bundle: Bundle) -> pa.Schema:
    return pa.schema([key_of(bundle), ("score", pa.float32())])


def one_score(scores: np.ndarray) -> np.ndarray:
    """Return the score of each row: of several classes, the likeliest one's."""
    return scores if scores.ndim == 1 else scores.max(axis=1)
