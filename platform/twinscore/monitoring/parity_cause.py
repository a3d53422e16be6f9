"""What would explain scores that another path gave for the same cells: one fault of its encoding, found by trying.

A path that feeds a model wrongly leaves its scores behind and nothing else. So the usual faults are made on purpose: a
column cast to float32, two columns swapped, a feature missing, categories in another order, one feature with another
value. A fault that gives every recorded score to the bit is named; where none does, nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.errors import BundleInvalid
from twinscore.scoring.table import predict_margins, score_margins
from twinscore.scoring.trees import read_trees

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from twinscore.bundle.features import Matrix
    from twinscore.bundle.files import Bundle

__all__ = ["Cause", "find_cause"]

_ROWS = 32
"""Differing rows that are tried, and as many that agree: a fault must leave those as they are."""
_VALUE_ROWS = 12
_MOST_TRIED = 5_000
"""Faults that are tried, for models with hundreds of columns."""
_MOST_CATEGORIES = 200
_MOST_VALUES = 1_024


@dataclass(frozen=True, slots=True)
class Cause:
    """A fault that explains every score that was looked at."""

    kind: Literal["float32", "swap", "missing", "category_order", "value"]
    features: tuple[str, ...]
    """Both columns of a swap; of `value`, every feature that could be the one."""
    says: str
    """For people."""


def find_cause(table: pa.Table, recorded: NDArray[np.float64], bundle: Bundle) -> Cause | None:
    """Return the fault that turns the scores of these rows into the recorded ones, or None.

    Args:
        table: cells on which both paths agree, conformed: (n_rows, contract columns).
        recorded: scores that the other path gave: (n_rows,).
        bundle: the version that both are.
    """
    encoded = bundle.spec.encode(table)
    differs = _scores(encoded, bundle).view(np.uint64) != recorded.view(np.uint64)
    if not differs.any():
        return None
    rows = np.concatenate([np.flatnonzero(differs)[:_ROWS], np.flatnonzero(~differs)[:_ROWS]])
    n_differing = min(int(differs.sum()), _ROWS)
    table, recorded = table.take(pa.array(rows)), np.ascontiguousarray(recorded[rows])
    encoded = bundle.spec.encode(table)
    trial = _Trial(encoded, recorded, bundle)
    for number, (cause, other) in enumerate(_whole_faults(table, encoded, bundle)):
        if number >= _MOST_TRIED:
            break
        if trial.explains(other):
            return cause
    return trial.other_order() or trial.other_value(n_differing)


def _whole_faults(table: pa.Table, encoded: Matrix, bundle: Bundle) -> Iterator[tuple[Cause, Matrix]]:
    """Yield faults that are the same in all rows, with what the model would have seen."""
    spec = bundle.spec
    read = spec.columns.names
    doubles = [name for name in read if pa.types.is_floating(spec.columns.field(name).type)]
    for names in [[name] for name in doubles] + [doubles] * (len(doubles) > 1):
        cast = table
        for name in names:
            narrow = pc.cast(pc.cast(table.column(name), pa.float32(), safe=False), pa.float64())
            cast = cast.set_column(cast.column_names.index(name), name, narrow)
        told = names[0] if len(names) == 1 else "every number"
        yield (
            Cause("float32", tuple(names), f"{told} was cast to float32 before the features were made"),
            spec.encode(cast),
        )
    for left, right in combinations(read, 2):
        if spec.columns.field(left).type == spec.columns.field(right).type:
            places = table.column_names.index(left), table.column_names.index(right)
            swapped = table.set_column(places[0], left, table.column(right)).set_column(
                places[1], right, table.column(left)
            )
            yield Cause("swap", (left, right), f"the columns {left} and {right} were swapped"), spec.encode(swapped)
    for first, second in combinations(range(len(spec.features)), 2):
        one, other = spec.features[first], spec.features[second]
        if one.kind == other.kind:
            changed = encoded.copy()
            changed[:, [first, second]] = encoded[:, [second, first]]
            said = f"the features {one.name} and {other.name} were swapped"
            yield Cause("swap", (one.name, other.name), said), changed
    for name in read:
        empty = table.set_column(
            table.column_names.index(name), name, pa.nulls(len(table), spec.columns.field(name).type)
        )
        yield Cause("missing", (name,), f"the column {name} was missing in every row"), spec.encode(empty)
    for place, feature in enumerate(spec.features):
        changed = encoded.copy()
        changed[:, place] = np.nan
        yield Cause("missing", (feature.name,), f"the feature {feature.name} was missing in every row"), changed


@dataclass(frozen=True, slots=True)
class _Trial:
    encoded: Matrix
    recorded: NDArray[np.float64]
    bundle: Bundle

    def explains(self, other: Matrix) -> bool:
        return bool((_scores(other, self.bundle).view(np.uint64) == self.recorded.view(np.uint64)).all())

    def matches(self, place: int, values: NDArray[np.float32], n_rows: int) -> NDArray[np.bool_]:
        """Tell which value of a feature gives a row its recorded score: (n_rows, n_values)."""
        tried = np.repeat(self.encoded[:n_rows], len(values), axis=0)
        tried[:, place] = np.tile(values, n_rows)
        found = _scores(np.ascontiguousarray(tried), self.bundle).reshape(n_rows, len(values))
        same: NDArray[np.bool_] = found.view(np.uint64) == self.recorded[:n_rows, None].view(np.uint64)
        return same

    def other_order(self) -> Cause | None:
        """Return the categorical feature whose categories, each read as one other, explain every row."""
        for place, feature in enumerate(self.bundle.spec.features):
            n_codes = len(feature.categories)
            if feature.kind != "categorical" or not 1 < n_codes <= _MOST_CATEGORIES:
                continue
            codes = np.append(np.arange(n_codes, dtype=np.float32), np.float32(np.nan))
            matches = self.matches(place, codes, len(self.encoded))
            own = np.where(np.isnan(self.encoded[:, place]), n_codes, self.encoded[:, place]).astype(np.int64)
            allowed = {code: matches[own == code].all(axis=0) for code in np.unique(own).tolist()}
            if all(codes_.any() for codes_ in allowed.values()):
                names = [*feature.categories, "nothing"]
                read = [
                    f"{names[code]} as {names[int(np.argmax(fits))]}"
                    for code, fits in allowed.items() if not fits[code]
                ]  # fmt: skip
                said = f"the categories of {feature.name} were in another order ({'; '.join(read[:3])})"
                return Cause("category_order", (feature.name,), said)
        return None

    def other_value(self, n_differing: int) -> Cause | None:
        """Return the features of which one other value in each row explains the differing rows."""
        n_rows = min(n_differing, _VALUE_ROWS)
        fits = []
        for place, feature in enumerate(self.bundle.spec.features):
            values = self._values(place)
            if len(values) and self.matches(place, values, n_rows).any(axis=1).all():
                fits.append(feature.name)
        if not fits:
            return None
        one = fits[0] if len(fits) == 1 else f"one of {', '.join(fits)}"
        return Cause("value", tuple(fits), f"another value of {one} alone explains the differing rows")

    def _values(self, place: int) -> NDArray[np.float32]:
        """Return a value for each piece of the scores as a function of one feature; none where there are too many."""
        feature = self.bundle.spec.features[place]
        if feature.kind == "categorical":
            values = np.arange(len(feature.categories), dtype=np.float32)
        else:
            try:
                trees = read_trees(self.bundle.booster).trees
            except (BundleInvalid, KeyError, ValueError):
                return np.empty(0, np.float32)
            cuts = np.unique(np.concatenate([tree.value[tree.inner & (tree.feature == place)] for tree in trees]))
            # A row with the threshold itself goes right.
            values = np.concatenate([np.nextafter(cuts[:1], np.float32(-np.inf)), cuts]).astype(np.float32)
        return np.append(values, np.float32(np.nan)) if len(values) <= _MOST_VALUES else np.empty(0, np.float32)


def _scores(encoded: Matrix, bundle: Bundle) -> NDArray[np.float64]:
    found = score_margins(predict_margins(encoded, bundle), bundle).column("score").to_numpy()
    return np.ascontiguousarray(found, dtype=np.float64)
