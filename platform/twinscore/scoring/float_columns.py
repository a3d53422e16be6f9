"""All float64 columns of a table in one pass: into the booster's matrix, and against the ranges of the contract.

For a request of a thousand rows it is not the numbers that cost, but to ask Arrow and numpy for each column anew. The
columns are read where they lie. Source: Arrow's C data interface, https://arrow.apache.org/docs/format/CDataInterface.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from twinscore.scoring import column_loops

if TYPE_CHECKING:
    from twinscore.bundle.features import FeatureSpec, Matrix
    from twinscore.bundle.files import Bundle
    from twinscore.contract.check import Checker

__all__ = ["FloatColumns", "Read", "float_columns_of"]

_pointer_of: Any = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class Read(NamedTuple):
    """What was read of a table.

    Args:
        matrix: C-contiguous float32 (n_rows, n_features), NaN for missing; only `features` are filled in.
        features: names of the features that are.
        within: columns of which every value that is there lies within `Checker.bounds`.
    """

    matrix: Matrix
    features: frozenset[str]
    within: frozenset[str]


class FloatColumns:
    """Reads conformed tables of one version; made once, safe to share between threads.

    Args:
        spec: which columns are features.
        checker: the contract's, with its bounds.
    """

    def __init__(self, spec: FeatureSpec, checker: Checker) -> None:
        columns, bounds = checker.contract.columns, checker.bounds
        features = {
            feature.name: place
            for place, feature in enumerate(spec.features)
            if feature.kind == "numeric" and feature.expression is None
        }
        floats = [column.name if column.type == pa.float64() else "" for column in columns]
        self._schema = checker.contract.schema
        self._n_features = len(spec.features)
        self._names = [column.name for column in columns]
        self._features = frozenset(features) & frozenset(floats)
        self._places = np.array([features.get(name, column_loops.NO_FEATURE) if name else column_loops.NO_FLOAT
                                 for name in floats], dtype=np.int64)  # fmt: skip
        self._lows, self._highs = np.array([bounds.get(name, (-np.inf, np.inf)) for name in floats]).reshape(-1, 2).T
        self._bounded = np.array([name in bounds for name in floats])

    def read(self, table: pa.Table) -> Read | None:
        """Return what was read of a conformed table, (n_rows, contract columns); None of any other."""
        if not table.schema.equals(self._schema):  # addresses are read, so nothing is taken on trust
            return None
        matrix = np.empty((table.num_rows, self._n_features), dtype=np.float32)
        beyond = ~self._bounded
        first = 0
        for batch in table.to_batches():
            _, capsule = batch.__arrow_c_array__()
            address = _pointer_of(capsule, b"arrow_array")
            rows = matrix[first : first + batch.num_rows]
            column_loops.read_floats(address, self._places, self._lows, self._highs, rows, beyond)
            first += batch.num_rows
        within = [name for name, out in zip(self._names, beyond.tolist(), strict=True) if not out]
        return Read(matrix, self._features, frozenset(within))


def float_columns_of(bundle: Bundle) -> FloatColumns:
    """Return what reads the tables of a bundle, made at the first call."""
    found = _MADE.get(bundle.booster)
    if found is None or found[0] is not bundle.checker:
        _MADE[bundle.booster] = found = bundle.checker, FloatColumns(bundle.spec, bundle.checker)
    return found[1]


_MADE: weakref.WeakKeyDictionary[Any, tuple[Any, FloatColumns]] = weakref.WeakKeyDictionary()
