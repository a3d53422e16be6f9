"""From raw columns to what the booster sees: float32, categories as codes, missing as NaN; knows nothing of boosters.

`encode` takes a table and `encode_row` one row; both give the same bits. Numbers are rounded once, from float64 to
float32; derived features are evaluated by the same Arrow kernels on many rows or on one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.bundle.expression import Expression, parse
from twinscore.contract.model import type_name, type_of
from twinscore.errors import BundleInvalid, near

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

__all__ = ["MOST_CATEGORIES", "Feature", "FeatureSpec", "Matrix", "infer_features"]

Matrix = npt.NDArray[np.float32]

MOST_CATEGORIES = 1000
"""Text with more distinct values than this is an id or free text, not a category."""

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_NAN = float("nan")
_CALENDAR = ("hour", "dayofweek", "month")


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the booster.

    Args:
        name: unique; the raw column's own name unless it is derived.
        kind: numeric, or categorical with `categories` whose positions are the codes.
        expression: text of a derived feature; None takes the column called `name`.
    """

    name: str
    kind: Literal["numeric", "categorical"] = "numeric"
    categories: tuple[str, ...] = ()
    expression: str | None = None


@dataclass(frozen=True)
class FeatureSpec:
    """Which raw columns a booster needs, and how they become its features.

    Args:
        columns: raw columns and their Arrow types.
        features: in the booster's order.
    """

    columns: pa.Schema
    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        for name in names:
            if names.count(name) > 1:
                message = f"Feature {name!r} is there twice; give one of them another name."
                raise BundleInvalid(message, feature=name)
        for feature in self.features:
            if feature.expression is not None:
                parse(feature.expression).check(self.columns)
            elif feature.name not in self.columns.names:
                message = f"Feature {feature.name!r} has no column. {near(feature.name, self.columns.names)}"
                raise BundleInvalid(message, feature=feature.name)
            elif feature.kind == "numeric" and not _is_number(self.columns.field(feature.name).type):
                found = self.columns.field(feature.name).type
                message = (
                    f"Feature {feature.name!r} is numeric but its column is {found}; derive a number from it, "
                    f"such as hour({feature.name})."
                )
                raise BundleInvalid(message, feature=feature.name, type=str(found))
            elif feature.kind == "categorical" and not _is_countable(self.columns.field(feature.name).type):
                found = self.columns.field(feature.name).type
                message = f"Feature {feature.name!r} is categorical but its column is {found}; make it text or whole."
                raise BundleInvalid(message, feature=feature.name, type=str(found))

    @property
    def names(self) -> list[str]:
        """Feature names in the booster's order."""
        return [feature.name for feature in self.features]

    @property
    def feature_types(self) -> list[str]:
        """XGBoost's type of each feature: `q` for numbers, `c` for categories."""
        return ["c" if feature.kind == "categorical" else "q" for feature in self.features]

    def encode(self, table: pa.Table, *, known: tuple[Matrix, Collection[str]] | None = None) -> Matrix:
        """Encode a table: (n_rows, at least `columns`) to C-contiguous float32 (n_rows, n_features).

        Args:
            known: such a matrix, and the features that it has already; the others are filled in.
        """
        shape = table.num_rows, len(self.features)
        out, done = (np.empty(shape, dtype=np.float32), frozenset[str]()) if known is None else known
        if len(done) == len(self.features):
            return out
        derived = {name: _one_chunk(table.column(name)) for name, _ in self._derived_columns}
        for position, expression in self._derived_plan:
            out[:, position] = _within_float32(_as_numpy(expression.evaluate(derived)))
        for position, feature in enumerate(self.features):
            if feature.expression is not None or feature.name in done:
                continue
            if feature.kind == "categorical":
                out[:, position] = _codes(table.column(feature.name), self._value_sets[feature.name])
            else:
                out[:, position] = _as_numpy(table.column(feature.name))
        return out

    def encode_row(self, row: Mapping[str, object]) -> Matrix:
        """Encode one row of `decode_rows` values: float32 (n_features,), the bits that `encode` gives."""
        get = row.get
        names, codes_at = self._row_plan
        values: list[Any] = [get(name) for name in names]
        for position, codes in codes_at:
            value = values[position]
            values[position] = None if value is None else codes.get(_category_text(value))
        encoded = np.array(values, dtype=np.float32)  # None is NaN
        if self._derived_plan:
            scalars = {name: pa.scalar(get(name), arrow) for name, arrow in self._derived_columns}
            for position, expression in self._derived_plan:
                number = expression.of_row(scalars)
                encoded[position] = number if number is not None and abs(number) <= _FLOAT32_MAX else _NAN
        return encoded

    def to_json(self) -> dict[str, Any]:
        """Return the specification as JSON can hold it."""
        return {
            "columns": [{"name": field.name, "type": type_name(field.type)} for field in self.columns],
            "features": [
                {
                    "name": feature.name,
                    "kind": feature.kind,
                    **({"categories": list(feature.categories)} if feature.kind == "categorical" else {}),
                    **({"expression": feature.expression} if feature.expression is not None else {}),
                }
                for feature in self.features
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FeatureSpec:
        """Read what `to_json` wrote.

        Raises:
            BundleInvalid: the document is not a feature specification.
        """
        try:
            columns = pa.schema([(str(item["name"]), type_of(item["type"])) for item in document["columns"]])
            features = tuple(
                Feature(
                    str(item["name"]),
                    _kind(item["kind"]),
                    tuple(str(value) for value in item.get("categories", ())),
                    item.get("expression"),
                )
                for item in document["features"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            message = f"features.json is not a feature specification: {type(error).__name__} {error}."
            raise BundleInvalid(message) from error
        return cls(columns, features)

    @cached_property
    def _derived_plan(self) -> list[tuple[int, Expression]]:
        """Place in the booster's order and expression of every derived feature."""
        return [(place, parse(f.expression)) for place, f in enumerate(self.features) if f.expression is not None]

    @cached_property
    def _derived_columns(self) -> list[tuple[str, pa.DataType]]:
        names = {name for _, expression in self._derived_plan for name in expression.inputs}
        return [(name, self.columns.field(name).type) for name in sorted(names)]

    @cached_property
    def _value_sets(self) -> dict[str, pa.Array]:
        return {f.name: pa.array(f.categories, pa.string()) for f in self.features if f.kind == "categorical"}

    @cached_property
    def _row_plan(self) -> tuple[list[str], list[tuple[int, dict[str, int]]]]:
        """Columns to read, and the codes of categories; a derived feature reads nothing here, so its place is NaN."""
        names = ["" if feature.expression is not None else feature.name for feature in self.features]
        codes = [
            (position, {value: code for code, value in enumerate(feature.categories)})
            for position, feature in enumerate(self.features)
            if feature.kind == "categorical"
        ]
        return names, codes


def infer_features(table: pa.Table, *, exclude: Sequence[str], derived: Mapping[str, str] | None = None) -> FeatureSpec:
    """Choose features from a conformed table: (n_rows, columns).

    Numbers and booleans are numeric; text is categorical, its categories sorted; times and dates become calendar
    features. `derived` adds features by expression.

    Args:
        exclude: columns that are no features (key, label, dropped ones); `derived` may still read them.

    Raises:
        BundleInvalid: text with too many distinct values, or no feature at all.
        ExpressionInvalid: a derived feature is not in the language or does not fit the columns.
    """
    features: list[Feature] = []
    for field in table.schema:
        if field.name in exclude:
            continue
        if _is_number(field.type):
            features.append(Feature(field.name))
        elif pa.types.is_temporal(field.type):
            parts = _CALENDAR if pa.types.is_timestamp(field.type) else _CALENDAR[1:]
            features += [Feature(f"{field.name}_{part}", expression=f'{part}(col("{field.name}"))') for part in parts]
        else:
            features.append(Feature(field.name, "categorical", _categories(table, field.name)))
    features += [Feature(name, expression=text) for name, text in (derived or {}).items()]
    if not features:
        message = (
            f"No feature is left: every column is a key, a label or dropped ({', '.join(table.column_names[:5])})."
        )
        raise BundleInvalid(message)
    needed = {feature.name for feature in features if feature.expression is None}
    for feature in features:
        if feature.expression is not None:
            needed |= parse(feature.expression).inputs
    absent = sorted(needed - set(table.column_names))
    if absent:
        message = (
            f"A derived feature reads column {absent[0]!r}, which is not there. {near(absent[0], table.column_names)}"
        )
        raise BundleInvalid(message, column=absent[0])
    return FeatureSpec(pa.schema([field for field in table.schema if field.name in needed]), tuple(features))


def _categories(table: pa.Table, name: str) -> tuple[str, ...]:
    values = sorted(value for value in pc.unique(table.column(name)).to_pylist() if value is not None)
    if len(values) > MOST_CATEGORIES:
        message = (
            f"Column {name!r} is text with {len(values):,} distinct values, more than {MOST_CATEGORIES}: an id or free "
            f"text rather than a category. Leave it out with --drop {name}."
        )
        raise BundleInvalid(message, column=name, distinct=len(values))
    return tuple(str(value) for value in values)


def _is_number(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_boolean(arrow))


def _is_countable(arrow: pa.DataType) -> bool:
    """Tell whether values of a type print the same in Arrow and in Python."""
    types = pa.types
    return bool(types.is_string(arrow) or types.is_integer(arrow) or types.is_boolean(arrow) or types.is_date32(arrow))


def _as_numpy(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return numbers as numpy with NaN for null; integers keep every bit up to 2**53."""
    if pa.types.is_boolean(column.type) or (pa.types.is_integer(column.type) and column.null_count):
        column = pc.cast(column, pa.float64(), safe=False)
    if isinstance(column, pa.ChunkedArray):
        return cast("npt.NDArray[Any]", column.to_numpy())
    return cast("npt.NDArray[Any]", column.to_numpy(zero_copy_only=False))


def _codes(column: pa.ChunkedArray, value_set: pa.Array) -> npt.NDArray[Any]:
    if column.type != pa.string():
        column = pc.cast(column, pa.string())
    return _as_numpy(pc.index_in(column, value_set=value_set, skip_nulls=True))


def _category_text(value: object) -> str:
    """Return a category as Arrow prints it when it casts to text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _within_float32(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A derived number beyond float32 is undefined, as infinity is."""
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(values) <= _FLOAT32_MAX, values, np.nan)


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _kind(text: str) -> Literal["numeric", "categorical"]:
    if text not in ("numeric", "categorical"):
        message = f"features.json has a feature of kind {text!r}. {near(text, ['numeric', 'categorical'])}"
        raise BundleInvalid(message, kind=text)
    return cast('Literal["numeric", "categorical"]', text)
