"""What one batch scoring is asked to do: a value and its YAML file; knows nothing of Ray, models or Parquet.

model: loans@champion
input: data/loans               # a file, a folder, a glob or a URI, or a list; relative paths lie in the lake
output: predictions/loans/demo  # a folder that must not hold another run
key: [loan_id]                  # optional: the contract's key when left out
columns: {income: yearly_inc}   # optional: where the files call a column otherwise
filter: [[country, in, [DE, FR]]]
join: [{path: features/customers, on: customer_id, columns: [segment]}]
quarantine: {share: 0.1}        # optional: most rows that may be refused; files: true sets bad files aside
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twinscore.batch.filter import Filter, parse_filter
from twinscore.batch.place import Place, is_uri
from twinscore.batch.spec_parts import (
    ExplainSpec,
    FreshnessSpec,
    JoinSpec,
    LabelsSpec,
    PublishSpec,
    QuarantineLimit,
    refuse,
)
from twinscore.document import changed, load_document, read_value
from twinscore.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["QuarantineLimit", "ScoreSpec", "load_document", "load_score_spec", "read_score_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSpec:
    """One batch scoring: which model, over what, to where."""

    model: str
    """`NAME@ALIAS`, `NAME/VERSION` or `NAME` (its champion); resolved once, when the run starts."""
    input: str | tuple[str, ...]
    """Parquet file, folder, glob or URI, or a list of them; a relative path lies in the lake."""
    output: str
    """Folder that the run becomes; a relative path lies in the lake."""
    key: tuple[str, ...] = ()
    """Columns that identify a row; empty means the contract's key."""
    columns: dict[str, str] = field(default_factory=dict)
    """Column of the contract or the key to column of the files, where the names differ."""
    filter: Any = None
    """Conditions that a row must fulfil to be scored: a `Filter`, or the lists that one is made of."""
    join: tuple[JoinSpec, ...] = ()
    """Side tables whose columns are joined to the rows."""
    quarantine: QuarantineLimit = field(default_factory=QuarantineLimit)
    """The most rows that may be refused."""
    shard_rows: int | None = None
    """Rows per shard, and so per output file; None chooses by the size of the input."""
    empty: Literal["fail", "commit"] = "fail"
    """What becomes of an input without a row: an error, or a run without a row."""
    restart: bool = False
    """Begin again, whatever an earlier process of this run left."""
    explain: ExplainSpec = field(default_factory=ExplainSpec)
    """Which rows get their contributions."""
    publish: tuple[PublishSpec, ...] = ()
    """Tables that the committed run is copied into."""
    cache: bool = False
    """Whether the committed run becomes a file that serving replicas answer from."""
    labels: LabelsSpec | None = None
    """Outcomes to compare the scores with."""
    freshness: FreshnessSpec | None = None
    """How old the input may be."""

    def __post_init__(self) -> None:
        for name in ("model", "input", "output"):
            value = getattr(self, name)
            if not value or not all(isinstance(one, str) and one for one in self.inputs):
                refuse(name, "text that is not empty", value)
        if len(set(self.key)) != len(self.key):
            refuse("key", "columns that are each named once", list(self.key))
        if self.shard_rows is not None and self.shard_rows < 1:
            refuse("shard_rows", "at least 1", self.shard_rows)
        joined = [name for one in self.join for name in one.names]
        if len(set(joined)) != len(joined):
            refuse("join", "side tables without a column in common; give one a prefix", joined)
        if self.filter is not None and not isinstance(self.filter, Filter):
            object.__setattr__(self, "filter", parse_filter(self.filter))
        for location in self.inputs:
            Place.at(location)
        if is_uri(self.output):
            if not self.output.startswith("file://"):
                shown = self.output.partition("?")[0].rpartition("@")[2]
                message = (
                    f"The output {shown} is in an object store, which cannot make a run visible at once. "
                    "Choose a folder that every node sees, and copy the committed run from there."
                )
                raise SettingsInvalid(message, setting="output")
            object.__setattr__(self, "output", Place.at(self.output).root)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The input as a list."""
        return (self.input,) if isinstance(self.input, str) else tuple(self.input)

    @property
    def shown_input(self) -> str | list[str]:
        """The input as manifests and messages may have it: URIs without options."""
        shown = [Place.at(location).shown() for location in self.inputs]
        return shown[0] if isinstance(self.input, str) else shown

    def placed(self, lake: Path) -> ScoreSpec:
        """Return the spec with absolute paths: relative ones are put into the lake, URIs stay."""

        def put(path: str) -> str:
            return path if is_uri(path) else str(lake / Path(path).expanduser())

        return replace(
            self,
            input=put(self.input) if isinstance(self.input, str) else tuple(put(one) for one in self.input),
            output=put(self.output),
            join=tuple(replace(one, path=put(one.path)) for one in self.join),
            labels=self.labels and replace(self.labels, path=put(self.labels.path)),
        )


def load_score_spec(path: Path, changes: Sequence[str] = ()) -> ScoreSpec:
    """Read a spec from YAML; `changes` such as `output=predictions/today` or `quarantine.share=0` win over the file.

    Raises:
        SettingsInvalid: the file cannot be read, or a key or value is wrong; file and key are named.
    """
    return read_score_spec(load_document(path, changes), source=str(path))


def read_score_spec(document: Mapping[str, Any], *, changes: Sequence[str] = (), source: str = "The spec") -> ScoreSpec:
    """Make a spec of plain values, as YAML or JSON hold them; `changes` as for `load_score_spec`.

    Raises:
        SettingsInvalid: a key is unknown or missing, or a value is wrong.
    """
    values = changed(dict(document), changes, source=source)
    if values.get("filter") is not None:
        values["filter"] = parse_filter(values["filter"], source=source)
    return read_value(ScoreSpec, values, source=source)
