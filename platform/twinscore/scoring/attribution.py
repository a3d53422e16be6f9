"""Why a row has its score: exact path-dependent SHAP values of the margin, for one row or a million.

The values are those of XGBoost's `pred_contribs=True` (TreeSHAP, Lundberg et al., 2020), from the tables of
`attribution_tables`. A version is held against XGBoost on golden rows before its first use; where it has no tables, or
differs, XGBoost itself explains: slower, never different.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twinscore.errors import BundleInvalid, SchemaMismatch
from twinscore.scoring.attribution_tables import expected_margins, refusal, tabulate
from twinscore.scoring.link import link_of
from twinscore.scoring.table import predict_margins
from twinscore.scoring.trees import read_trees

if TYPE_CHECKING:
    import xgboost

    from twinscore.bundle.files import Bundle

__all__ = [
    "EXACT",
    "XGBOOST",
    "Attribution",
    "attribution_of",
    "explain",
    "explain_encoded",
    "explanation_schema",
    "top",
]

EXACT, XGBOOST = "exact_table", "xgboost"
"""How contributions are computed: from tables, or by XGBoost's own `pred_contribs`."""

_TOLERANCE = 1e-4
"""How far from XGBoost's float32 sums a golden row may be; times the largest contribution where that is above 1."""
_PROVING_ROWS = 16
_FEW_ROWS = 4
"""Up to here one row after the other is faster than a block that is mostly empty."""
_ROWS_AT_ONCE = 16_384
"""Explained rows are rounded to float32 in pieces, so that float64 is never held for a whole table."""

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


class Attribution:
    """The contributions of one booster; immutable, safe to share between threads.

    Args:
        booster: any booster that XGBoost itself can explain.
        tables: False asks XGBoost for every row.

    Raises:
        xgboost.core.XGBoostError: XGBoost cannot explain the booster either.
    """

    def __init__(self, booster: xgboost.Booster, *, tables: bool = True) -> None:
        self._n_features = int(booster.num_features())
        self._types = booster.feature_types
        self._names = booster.feature_names
        self.mismatch: str | None = None
        """Why XGBoost explains, or None."""
        self._booster: xgboost.Booster | None = None
        if tables:
            try:
                trees = read_trees(booster)
                self.mismatch = refusal(trees)
            except (BundleInvalid, KeyError, ValueError) as error:
                self.mismatch = f"no flat form: {error}"
        else:
            self.mismatch = "asked for"
        if self.mismatch is not None:
            self._booster = booster
            self.base: Float64 = self._own(np.full((1, self._n_features), np.nan, dtype=np.float32))[0, :, -1]
            return
        from twinscore.scoring import attribution_kernels

        self.base = expected_margins(trees)
        self._plan = tabulate(trees)
        self._trees = [np.flatnonzero(trees.outputs == output) for output in range(len(trees.base))]
        self._add, self._add_each = attribution_kernels.add_contributions, attribution_kernels.add_each

    @property
    def method(self) -> str:
        """`exact_table` or `xgboost`."""
        return EXACT if self._booster is None else XGBOOST

    @property
    def n_outputs(self) -> int:
        """1, or the number of classes when there are more than two."""
        return len(self.base)

    @property
    def table_bytes(self) -> int:
        """Memory that the tables take; 0 where XGBoost explains."""
        return 0 if self._booster is not None else int(self._plan.tables.nbytes)

    def contributions(self, encoded: Float32, *, output: int | npt.NDArray[np.int64] | None = None) -> Float64:
        """Return what each feature adds to the margin, so that `base + contributions.sum(-1)` is the margin.

        Args:
            encoded: float32 (n_rows, n_features), as `FeatureSpec.encode` gives it.
            output: one output for all rows, or one for each row, (n_rows,); None gives all of them.

        Returns:
            float64 (n_rows, n_features); (n_rows, n_outputs, n_features) where there are several and `output` is None.

        Raises:
            SchemaMismatch: the rows have another number of features, or an output does not exist.
        """
        self._refuse_misfit(encoded, output)
        if output is None and self.n_outputs > 1:
            every = np.zeros((len(encoded), self.n_outputs, self._n_features))
            for number in range(self.n_outputs):
                every[:, number] = self.contributions(encoded, output=number)
            return every
        if self._booster is not None:
            own = self._own(encoded)[:, :, :-1]
            return np.ascontiguousarray(own[np.arange(len(own)), 0 if output is None else output])
        if output is None or np.ndim(output) == 0:
            return self._of_output(encoded, 0 if output is None else int(output))
        chosen = np.zeros((len(encoded), self._n_features))
        for number in np.unique(output):
            rows = np.flatnonzero(output == number)
            chosen[rows] = self._of_output(encoded[rows], int(number))
        return chosen

    def _of_output(self, encoded: Float32, output: int) -> Float64:
        plan = self._plan
        out = np.zeros((len(encoded), self._n_features))
        rows = np.ascontiguousarray(encoded, dtype=np.float32)
        add = self._add_each if len(rows) <= _FEW_ROWS else self._add
        add(
            rows, out, self._trees[output], plan.firsts, plan.tests, plan.thresholds, plan.words, plan.pushes,
            plan.sums, plan.places, plan.tables, plan.used,
        )  # fmt: skip
        return out

    def _own(self, encoded: Float32) -> Float64:
        """Return XGBoost's own contributions and, last, the base: float64 (n_rows, n_outputs, n_features + 1)."""
        import xgboost

        assert self._booster is not None
        # A matrix refuses infinity, which the trees themselves send where the largest number goes.
        largest = float(np.finfo(np.float32).max)
        finite = np.nan_to_num(encoded, nan=np.nan, posinf=largest, neginf=-largest)
        matrix = xgboost.DMatrix(
            finite, feature_names=self._names, feature_types=self._types, enable_categorical=True, missing=np.nan
        )
        found = np.asarray(self._booster.predict(matrix, pred_contribs=True), dtype=np.float64)
        return found.reshape(len(encoded), -1, self._n_features + 1)

    def _refuse_misfit(self, encoded: Float32, output: Any) -> None:
        if encoded.ndim != 2 or encoded.shape[1] != self._n_features:
            message = f"Rows of shape {encoded.shape} cannot be explained: the booster has {self._n_features} features."
            raise SchemaMismatch(message, expected=self._n_features, found=list(encoded.shape))
        if output is None or not np.size(output):
            return
        if np.min(output) < 0 or np.max(output) >= self.n_outputs or np.shape(output) not in ((), (len(encoded),)):
            message = (
                f"Output {output} does not exist: there are {self.n_outputs}, counted from 0, and {len(encoded)} rows."
            )
            raise SchemaMismatch(message, outputs=self.n_outputs)


def attribution_of(bundle: Bundle) -> Attribution:
    """Return the attribution of a bundle, made and held against XGBoost on golden rows at the first call."""
    with _LOCK:
        if bundle.booster not in _MADE:
            _MADE[bundle.booster] = _proved(bundle)
        return _MADE[bundle.booster]


def explanation_schema(bundle: Bundle) -> pa.Schema:
    """Return the columns of `explain`.

    `contributions`: what each feature adds to the margin of the decided output, float32, in the order of
    `bundle.spec.names`; `contribution_base`: where they start; `additivity_error`: how far base and contributions, as
    stored, end from the margin.
    """
    return pa.schema(
        [
            pa.field("contributions", pa.list_(pa.float32(), len(bundle.spec.features))),
            pa.field("contribution_base", pa.float64()),
            pa.field("additivity_error", pa.float64()),
        ]
    )


def explain(table: pa.Table, bundle: Bundle, margins: Float32 | None = None) -> pa.Table:
    """Explain rows that the contract accepted.

    For more than two classes the class is explained that `score` decides for.

    Args:
        table: conformed, (n_rows, contract columns).
        bundle: the version.
        margins: what `margins_of` gave for `table`; None computes them.

    Returns:
        (n_rows, `explanation_schema`), in the order of `table`.
    """
    encoded = bundle.spec.encode(table)
    return explain_encoded(encoded, predict_margins(encoded, bundle) if margins is None else margins, bundle)


def explain_encoded(encoded: Float32, margins: Float32, bundle: Bundle) -> pa.Table:
    """Explain encoded rows, (n_rows, n_features), that have these margins; see `explain`."""
    attribution = attribution_of(bundle)
    decided = np.zeros(len(encoded), dtype=np.int64)
    reached = margins
    if attribution.n_outputs > 1:
        decided = np.argmax(link_of(bundle.card.objective)(margins), axis=1)
        reached = margins[np.arange(len(encoded)), decided]
    stored = np.empty(encoded.shape, dtype=np.float32)
    for first in range(0, len(encoded), _ROWS_AT_ONCE):
        part = slice(first, first + _ROWS_AT_ONCE)
        stored[part] = attribution.contributions(encoded[part], output=decided[part])
    base = attribution.base[decided]
    error = np.abs(stored.sum(axis=1, dtype=np.float64) + base - reached)
    schema = explanation_schema(bundle)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), type=schema.field(0).type)
    return pa.table([listed, pa.array(base), pa.array(error)], schema=schema)


def top(contributions: npt.NDArray[np.floating[Any]], k: int) -> tuple[npt.NDArray[np.int64], Float64]:
    """Return the features that matter most in each row: their places and contributions, both (n_rows, at most k).

    The largest by absolute value come first; of equal ones the first feature.

    Args:
        contributions: (n_rows, n_features).
    """
    size = np.abs(contributions)
    k = min(k, contributions.shape[1])
    if k < contributions.shape[1]:
        least = -np.partition(-size, k - 1, axis=1)[:, k - 1 : k] if k else np.full((len(size), 1), np.inf)
        above, level = size > least, size == least
        room = k - above.sum(axis=1, keepdims=True)
        taken = above | (level & (np.cumsum(level, axis=1) <= room))
        places = np.nonzero(taken)[1].reshape(len(size), k)
    else:
        places = np.broadcast_to(np.arange(k), size.shape)
    order = np.argsort(-np.take_along_axis(size, places, axis=1), axis=1, kind="stable")
    places = np.take_along_axis(places, order, axis=1)
    return places, np.take_along_axis(contributions, places, axis=1).astype(np.float64)


_MADE: weakref.WeakKeyDictionary[xgboost.Booster, Attribution] = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def _proved(bundle: Bundle) -> Attribution:
    attribution = Attribution(bundle.booster)
    if attribution.method == XGBOOST:
        return attribution
    golden = bundle.checker.conform(bundle.golden.slice(0, _PROVING_ROWS), source="golden rows")
    encoded = bundle.spec.encode(golden)
    own = Attribution(bundle.booster, tables=False)
    expected = own.contributions(encoded)
    found = attribution.contributions(encoded)
    allowed = _TOLERANCE * max(1.0, float(np.abs(expected).max()), float(np.abs(own.base).max()))
    off = max(float(np.abs(found - expected).max()), float(np.abs(attribution.base - own.base).max()))
    if off <= allowed:
        return attribution
    own.mismatch = f"the tables are up to {off:.3g} from XGBoost's contributions on golden rows"
    return own
