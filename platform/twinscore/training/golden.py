"""Reference rows of a bundle: few, and together they reach every branch; knows nothing of how they are scored.

A replica compares its own answers on these rows with the answers recorded here before it says that it is ready. They
hold every category of every column, missing values where the data had them, and the smallest and largest numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["golden_rows"]


def golden_rows(table: pa.Table, *, features: list[str], n_random: int = 256, seed: int = 0) -> NDArray[np.int64]:
    """Return ascending row numbers worth keeping.

    Args:
        table: (n_rows, at least `features`).
        features: raw input columns of the model.
        n_random: rows drawn at random besides the chosen ones; all rows when there are fewer.
    """
    chosen = [np.random.default_rng(seed).permutation(table.num_rows)[:n_random]]
    for name in features:
        column = table[name]
        missing = pc.indices_nonzero(pc.is_null(column, nan_is_null=True)).to_numpy().astype(np.int64)
        chosen.append(missing[:2])
        if pa.types.is_string(column.type):
            chosen.append(_first_of_each(column))
        elif not pa.types.is_boolean(column.type):
            present = pc.indices_nonzero(pc.invert(pc.is_null(column, nan_is_null=True))).to_numpy().astype(np.int64)
            if len(present):
                order = pc.sort_indices(column.take(present)).to_numpy()
                chosen.append(present[order[[0, -1]]])
    return np.unique(np.concatenate(chosen)).astype(np.int64)


def _first_of_each(column: pa.ChunkedArray) -> NDArray[np.int64]:
    codes = pc.dictionary_encode(column).combine_chunks().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    values, first = np.unique(codes, return_index=True)
    return np.asarray(first[values >= 0], dtype=np.int64)
