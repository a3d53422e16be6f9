"""Which part of the rows a column puts a row in: its values, or quarters of its range when there are many; pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_VALUES", "segments_of"]

MOST_VALUES = 20
"""Values that are parts of their own; the rarest of more are one part."""
_MISSING, _OTHER = "(missing)", "(other)"
_QUARTERS = (0.25, 0.5, 0.75)


def segments_of(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return the name and the rows, a mask of (n_rows,), of each part of a column; every row is in one.

    >>> [(name, int(rows.sum())) for name, rows in segments_of(pa.array(["a", "b", "a", None]))]
    [('a', 2), ('b', 1), ('(missing)', 1)]
    """
    kind = column.type
    many = len(pc.unique(column)) > MOST_VALUES
    if many and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return _by_range(column)
    return _by_value(column)


def _by_value(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, NDArray[np.bool_]]]:
    text = pc.cast(column, pa.string())
    coded = pc.dictionary_encode(text)
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    names = coded.dictionary.to_pylist()
    codes = coded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(names) + 1)
    order = sorted(range(len(names)), key=lambda code: (-counts[code], names[code]))
    shown, rest = order[:MOST_VALUES], order[MOST_VALUES:]
    found = [(str(names[code]), codes == code) for code in shown]
    if rest:
        found.append((_OTHER, np.isin(codes, rest)))
    if counts[len(names)]:
        found.append((_MISSING, codes == len(names)))
    return found


def _by_range(column: pa.ChunkedArray | pa.Array) -> list[tuple[str, NDArray[np.bool_]]]:
    values = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64)
    known = ~np.isnan(values)
    edges = np.unique(np.quantile(values[known], _QUARTERS))
    place = np.searchsorted(edges, values, side="left")
    names = [f"up to {edges[0]:.4g}"]
    names += [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    names.append(f"above {edges[-1]:.4g}")
    found = [(name, known & (place == number)) for number, name in enumerate(names)]
    found.append((_MISSING, ~known))
    return [(name, rows) for name, rows in found if rows.any()]
