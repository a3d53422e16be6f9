"""Scored rows as Arrow columns, as the log and runs have them, to blocks that are counted; knows neither.

Of what is not at hand (columns that the log hashes or drops, an input that is gone) the features that need it are
absent, which is another thing than missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.bundle.expression import parse
from twinscore.contract.show import value_names
from twinscore.monitoring.block import Block, Codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from twinscore.bundle.features import Feature
    from twinscore.bundle.files import Bundle

__all__ = ["block_of", "codes_of", "with_labels"]


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Raw columns of a version, and which of its features they give."""

    table: pa.Table
    absent: frozenset[str]


def block_of(columns: pa.Table, scored: pa.Table, bundle: Bundle, groups: Sequence[str] = ()) -> Block:
    """Return scored rows as a block.

    Args:
        columns: (n_rows, raw columns that are at hand), by their names in the contract.
        scored: (n_rows, SCORE_SCHEMA) without a null score; uncertainty and reason may be left out.
        bundle: what scored them.
        groups: columns whose values are kept as groups; those that are not at hand are left out.
    """
    inputs = _inputs(columns, bundle)
    encoded = bundle.spec.encode(inputs.table)
    decision = scored["decision"]
    return Block(
        features=encoded,
        absent=inputs.absent,
        unseen=_unseen(inputs, encoded, bundle),
        score=_floats(scored["score"]),
        decision=_codes(decision, bundle.card.classes),
        lower=_floats(scored["lower"]),
        upper=_floats(scored["upper"]),
        set_size=pc.fill_null(pc.list_value_length(scored["prediction_set"]), -1).to_numpy().astype(np.int64),
        review=pc.fill_null(scored["review"], False).to_numpy(),
        groups={name: codes_of(columns[name]) for name in groups if name in columns.column_names},
    )


def with_labels(
    block: Block, scored: pa.Table, outcome: pa.Array, bundle: Bundle, delay_s: NDArray[np.float64] | None = None
) -> Block:
    """Return a block with its outcomes.

    Args:
        scored: what `block_of` was given.
        outcome: (n_rows,) as the labels have it; null where it is not known.
        delay_s: (n_rows,) seconds from the score to the outcome, NaN where that is not known.
    """
    block = replace(block, delay_s=delay_s)
    if bundle.card.task == "regression":
        label = _floats(pa.chunked_array([outcome]))
        known = ~np.isnan(label) & ~np.isnan(block.lower) & ~np.isnan(block.upper)
        inside = (block.lower <= label) & (label <= block.upper)
        return replace(block, label=label, covered=np.where(known, inside, -1).astype(np.int64))
    codes = _codes(pa.chunked_array([outcome.cast(pa.string())]), bundle.card.classes)
    label = np.where(codes.codes < 0, np.nan, codes.codes)
    inside = _in_set(scored["prediction_set"], codes.codes, bundle.card.classes)
    return replace(block, label=label, covered=np.where((codes.codes >= 0) & (block.set_size >= 0), inside, -1))


def codes_of(column: pa.ChunkedArray) -> Codes:
    """Return a column as codes of its shown values, in the order of the values; missing cells have a code too."""
    shown = value_names(column).dictionary_encode()
    names = shown.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    places = np.empty(len(names), np.int64)
    places[order] = np.arange(len(names))
    codes = places[shown.indices.to_numpy()] if len(names) else np.zeros(0, np.int64)
    return Codes(codes, tuple(names[place] for place in order))


def _inputs(columns: pa.Table, bundle: Bundle) -> _Inputs:
    cells, unknown = [], set()
    for item in bundle.spec.columns:
        found = None
        if item.name in columns.column_names:
            try:
                found = columns[item.name].cast(item.type)
            except pa.ArrowException:
                found = None  # the live version's contract, which a canary's rows stand under, has another type
        if found is None:
            unknown.add(item.name)
            found = pa.chunked_array([pa.nulls(columns.num_rows, item.type)])
        cells.append(found)
    absent = frozenset(one.name for one in bundle.spec.features if _reads(one) & unknown)
    return _Inputs(pa.table(cells, schema=bundle.spec.columns), absent)


def _reads(feature: Feature) -> set[str]:
    return {feature.name} if feature.expression is None else set(parse(feature.expression).inputs)


def _unseen(inputs: _Inputs, encoded: NDArray[np.float32], bundle: Bundle) -> dict[str, NDArray[np.bool_]]:
    found = {}
    for place, feature in enumerate(bundle.spec.features):
        if feature.kind == "categorical" and feature.name not in inputs.absent:
            empty = np.isnan(encoded[:, place])
            if empty.any():
                found[feature.name] = empty & inputs.table[feature.name].is_valid().to_numpy()
    return found


def _codes(column: pa.ChunkedArray, names: tuple[str, ...]) -> Codes:
    coded = column.combine_chunks()
    coded = coded if pa.types.is_dictionary(coded.type) else coded.dictionary_encode()
    places = pc.index_in(coded.dictionary, value_set=pa.array(names, pa.string()), skip_nulls=True)
    of_names = pc.fill_null(places, -1).to_numpy().astype(np.int64)
    codes = pc.fill_null(coded.indices, -1).to_numpy()
    return Codes(np.where(codes < 0, -1, of_names[codes] if len(of_names) else -1), names)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    found: NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return found


def _in_set(sets: pa.ChunkedArray, codes: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Tell which rows' set holds the class of their code: (n_rows,)."""
    lists = sets.combine_chunks()
    members = pc.fill_null(pc.index_in(pc.list_flatten(lists), value_set=pa.array(names, pa.string())), -1).to_numpy()
    parents = pc.list_parent_indices(lists).to_numpy()
    inside = np.zeros(len(codes), bool)
    inside[parents[members == codes[parents]]] = True
    return inside
