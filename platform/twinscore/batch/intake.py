"""What a run takes in: its files, where each column comes from, and the snapshot of it all; knows no Ray."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.batch.aside import Allowance, is_of_the_file, set_aside
from twinscore.batch.find import find_inputs, hive_values
from twinscore.batch.footer import read_footer, read_footer_at
from twinscore.batch.place import Place
from twinscore.batch.plan import whole_files
from twinscore.batch.recipe import Recipe, Side
from twinscore.batch.sides import side_table
from twinscore.batch.snapshot import Snapshot, take_snapshot
from twinscore.contract.conform import canonical_type
from twinscore.contract.model import type_name, type_of
from twinscore.errors import FileUnreadable, InputEmpty, SchemaMismatch, SettingsInvalid, near

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from twinscore.batch.aside import AsideFile
    from twinscore.batch.place import Found
    from twinscore.batch.spec import ScoreSpec
    from twinscore.batch.spec_parts import JoinSpec
    from twinscore.contract.model import Contract

__all__ = ["Intake", "open_intake"]


@dataclass(frozen=True, slots=True)
class Intake:
    """An input that was found fit to be scored."""

    key: pa.Schema
    """Key columns, in the types that they are compared in."""
    wanted: pa.Schema
    """Columns of a row: the contract's, then those of the key that it lacks."""
    recipe: Recipe
    snapshot: Snapshot
    shown: str | list[str]

    @property
    def is_empty(self) -> bool:
        """Whether there is no row to read; only with `empty: commit`."""
        return self.snapshot.rows == self.snapshot.rows_left_out

    def to_plain(self) -> dict[str, Any]:
        """Return what the manifest keeps of the input."""
        recipe = self.recipe
        return {
            "path": self.shown,
            "snapshot": self.snapshot.digest,
            "columns": dict(recipe.columns),
            "filter": recipe.filter.to_plain() if recipe.filter else None,
            "joins": [side.to_plain() for side in recipe.sides],
            "files": self.snapshot.to_plain(),
            "set_aside": [file.to_plain() for file in self.snapshot.aside],
        }


@dataclass(frozen=True, slots=True)
class _First:
    """The first file of an input: what columns there are."""

    shown: str
    schema: pa.Schema
    folders: dict[str, str | None]

    def type_of(self, name: str) -> pa.DataType | None:
        """Return the contract type of a column of the file; None when it is absent or of none."""
        places = self.schema.get_all_field_indices(name)
        return canonical_type(self.schema.field(places[0]).type) if len(places) == 1 else None

    def problem(self, name: str) -> str:
        found = self.schema.get_all_field_indices(name)
        if not found:
            return f"is missing in {self.shown}. {near(name, [*self.schema.names, *self.folders])}"
        if len(found) > 1:
            return f"is there {len(found)} times in {self.shown}."
        return f"is of type {self.schema.field(found[0]).type} in {self.shown}, which no contract can hold."


def open_intake(spec: ScoreSpec, contract: Contract, *, aside: Mapping[str, AsideFile] | None = None) -> Intake:
    """Find the files of a spec with absolute paths, and hold them against the contract.

    Args:
        spec: with `quarantine.files`, files that do not fit are set aside as far as its limit goes.
        contract: what the files must be.
        aside: files that are known to be broken where only reading shows it.

    Raises:
        FileUnreadable: a file or side table is missing, or is no Parquet.
        SchemaMismatch: a column is missing or of another type, in the files, the filter, the key or a side table.
        InputEmpty: there is no file, no row, or none that the filter leaves; not with `empty: commit`.
        RunRefused: more files than allowed, or all, would be set aside.
        SettingsInvalid: a location, a renamed column or a joined one is not known, or a side table is too large.
        StoreUnavailable: an object store does not answer.
    """
    may_be_empty = spec.empty == "commit"
    found: tuple[Place, list[Found]] | None = None
    try:
        found = find_inputs(spec.inputs)
    except InputEmpty:
        if not may_be_empty:
            raise
    allowance = Allowance(spec.quarantine, aside or {}) if spec.quarantine.files else None
    first = _first_file(spec, contract, *found, allowance) if found else _First("no file", pa.schema([]), {})
    key = _key_schema(spec, contract, first)
    wanted = pa.schema([*contract.schema, *(item for item in key if item.name not in contract.schema.names)])
    _check_names(spec, wanted)
    sides = tuple(_side(join, wanted, _join_type(join, spec, wanted, first)) for join in spec.join)
    types = _extra_types(spec, wanted, first)
    extra = {**types, **{side.on: type_of(side.key_type) for side in sides}}
    recipe = Recipe(
        place=None if found is None or found[0].is_local else found[0],
        columns=spec.columns,
        filter=spec.filter.typed(types) if spec.filter else None,
        extra=tuple(extra.items()),
        sides=sides,
    )
    shown = spec.shown_input
    if found is None:
        return Intake(key, wanted, recipe, Snapshot(()), shown)
    snapshot = take_snapshot(
        spec.inputs, wanted, contract=contract.name, recipe=recipe, found=found, may_be_empty=may_be_empty,
        allowance=allowance,
    )  # fmt: skip
    # Read before anything is scored: a table that is too large, or has a key twice, stops the run here.
    for side in sides:
        side_table(side)
    return Intake(key, wanted, recipe, snapshot, shown)


def _first_file(
    spec: ScoreSpec, contract: Contract, place: Place, found: list[Found], allowance: Allowance | None
) -> _First:
    """Return the first file; where bad ones may be set aside, the first that can be read and has the key."""
    if allowance is None:
        return _opened(place, found[0])
    key = [spec.columns.get(name, name) for name in spec.key or contract.key]
    readable: _First | None = None
    broken: list[AsideFile] = []
    for one in found:
        try:
            first = _opened(place, one)
        except FileUnreadable as error:
            if not is_of_the_file(error):
                raise
            broken.append(set_aside(place, one, error))
            continue
        if all(first.type_of(name) is not None or name in first.folders for name in key):
            return first
        readable = readable or first
    if readable is None:
        allowance.check(broken, ", ".join(Place.at(location).shown() for location in spec.inputs), len(found))
    assert readable is not None
    return readable


def _opened(place: Place, found: Found) -> _First:
    shown = place.shown(found.name)
    if place.is_local:
        metadata = read_footer(shown)[2]
    else:
        *_, metadata, file = read_footer_at(place, found.name)
        file.close()
    return _First(shown, metadata.schema.to_arrow_schema(), hive_values(shown))


def _key_schema(spec: ScoreSpec, contract: Contract, first: _First) -> pa.Schema:
    """Return the key columns and their types: the contract's, else those of the first file, else a folder's text."""
    known = {column.name: column.type for column in contract.columns}
    fields = []
    for name in spec.key or contract.key:
        place = spec.columns.get(name, name)
        kind = known.get(name) or first.type_of(place)
        if kind is None and (place in first.folders or first.shown == "no file") and place not in first.schema.names:
            kind = pa.string()
        if kind is None:
            message = f"The key column {name!r} {first.problem(place)}"
            raise SchemaMismatch(message, column=name, path=first.shown)
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def _check_names(spec: ScoreSpec, wanted: pa.Schema) -> None:
    """Refuse a renamed or joined column that nothing asks for: it is a misspelling."""
    filtered = spec.filter.columns if spec.filter else ()
    joined = [name for join in spec.join for name in join.names]
    known = {*wanted.names, *filtered, *(join.on for join in spec.join)}
    for name in spec.columns:
        if name not in known or name in joined:
            why = "comes from a side table" if name in joined else "is no column of the contract, the key or the filter"
            message = f"columns of the spec renames {name!r}, which {why}. {near(name, known - set(joined))}"
            raise SettingsInvalid(message, column=name)
    for name in joined:
        if name not in wanted.names:
            message = f"join of the spec takes {name!r}, which is no column of the contract. {near(name, wanted.names)}"
            raise SettingsInvalid(message, column=name)
    for name in (*filtered, *(join.on for join in spec.join)):
        if name in joined:
            message = f"The column {name!r} comes from a side table; filters and joins know the input's columns only."
            raise SettingsInvalid(message, column=name)


def _extra_types(spec: ScoreSpec, wanted: pa.Schema, first: _First) -> dict[str, pa.DataType]:
    """Return the types that the filter's columns are compared in."""
    types: dict[str, pa.DataType] = {}
    for condition in (one for every in spec.filter.any_of for one in every) if spec.filter else ():
        name = condition.column
        place = spec.columns.get(name, name)
        kind = wanted.field(name).type if name in wanted.names else first.type_of(place)
        if kind is None and place not in first.schema.names and (place in first.folders or first.shown == "no file"):
            # A folder's text has no type of its own: it is read as what it is compared with.
            kind = types.get(name) or _type_of_value(condition.value)
        if kind is None:
            message = f"The filter {spec.filter} speaks of column {place!r}, which {first.problem(place)}"
            raise SchemaMismatch(message, column=place, path=first.shown)
        types[name] = kind
    return types


def _type_of_value(value: str | float | dt.date | tuple[Any, ...] | None) -> pa.DataType:
    one = value[0] if isinstance(value, tuple) else value
    if one is None:
        return pa.string()
    return canonical_type(pa.scalar(one).type) or pa.string()


def _join_type(join: JoinSpec, spec: ScoreSpec, wanted: pa.Schema, first: _First) -> pa.DataType:
    place = spec.columns.get(join.on, join.on)
    kind = wanted.field(join.on).type if join.on in wanted.names else first.type_of(place)
    if kind is None and place not in first.schema.names and (place in first.folders or first.shown == "no file"):
        kind = pa.string()
    if kind is None:
        message = f"The join of {join.path} is on column {place!r}, which {first.problem(place)}"
        raise SchemaMismatch(message, column=place, path=first.shown)
    if pa.types.is_floating(kind):
        message = f"The join of {join.path} is on column {join.on!r}, which is float64: such keys are equal by chance."
        raise SchemaMismatch(message, column=join.on)
    return kind


def _side(join: JoinSpec, wanted: pa.Schema, kind: pa.DataType) -> Side:
    """Return the side table that a join names, its files held against what is taken from it."""
    columns = tuple(
        (name, source, type_name(wanted.field(name).type))
        for name, source in zip(join.names, join.columns, strict=True)
    )
    place, found = find_inputs((join.path,))
    schema = pa.schema([pa.field(join.on, kind), *(pa.field(name, type_of(type_)) for name, _, type_ in columns)])
    recipe = Recipe(
        place=None if place.is_local else place,
        columns={name: source for name, source, _ in columns if name != source},
    )
    snapshot = take_snapshot(join.path, schema, contract=f"join on {join.on}", recipe=recipe, found=(place, found))
    shown = place.shown(found[0].name) if len(found) == 1 else place.shown()
    token = hashlib.sha256(json.dumps([snapshot.digest, join.on, type_name(kind), columns]).encode()).hexdigest()
    return Side(
        token=token, shown=shown, on=join.on, key_type=type_name(kind), columns=columns, max_bytes=join.max_bytes,
        place=place, pieces=whole_files(snapshot), files=tuple(snapshot.to_plain()),
    )  # fmt: skip
