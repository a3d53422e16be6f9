"""Where a committed run is published besides its folder; knows no database and no table format.

A sink holds each run whole or not at all. What it keeps beside the rows is which run superseded which, so that a
publication that comes late or comes again changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from twinscore.errors import FileUnreadable, SchemaMismatch, SettingsInvalid, StoreConflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pyarrow as pa

__all__ = ["RUN_COLUMN", "PredictionSink", "Published", "PublishedRun", "is_there"]

RUN_COLUMN = "run_id"
"""The column by which a sink tells one run's rows from another's."""


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """A run on its way into a sink.

    Args:
        run_id: the run's fingerprint; every row carries it in the column `run_id`.
        model, version: what scored.
        dataset: name of the table, unless the sink was given one.
        schema: of the rows.
        batches: returns the rows from the beginning, in batches that fit in memory; may be called more than once.
        rows: how many there are.
        supersedes: runs whose rows go away in the step in which these become visible; () appends.

    Raises:
        SchemaMismatch: there is no column `run_id`.
        SettingsInvalid: the run supersedes itself.
    """

    run_id: str
    model: str
    version: str
    dataset: str
    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]
    rows: int
    supersedes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if RUN_COLUMN not in self.schema.names:
            message = f"Run {self.run_id} has no column {RUN_COLUMN!r}; a sink tells runs apart by it. Score again."
            raise SchemaMismatch(message, run_id=self.run_id, column=RUN_COLUMN)
        if self.run_id in self.supersedes:
            message = f"Run {self.run_id} cannot supersede itself. Leave it out of the superseded runs."
            raise SettingsInvalid(message, run_id=self.run_id)

    def stream(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows once, and prove at the end that they were all.

        Raises:
            FileUnreadable: there are more or fewer rows than said.
        """
        seen = 0
        for batch in self.batches():
            seen += batch.num_rows
            yield batch
        if seen != self.rows:
            message = f"Run {self.run_id} has {seen} rows instead of {self.rows}; nothing was published. Score again."
            raise FileUnreadable(message, run_id=self.run_id, expected=self.rows, found=seen)


@dataclass(frozen=True, slots=True)
class Published:
    """A run in a sink.

    Args:
        rows: of this run that are there now.
        replaced: rows of superseded runs that went away with this call.
        already_there: an earlier call published it; nothing was written now.
        where: address and table, without a password.
    """

    run_id: str
    rows: int
    replaced: int
    already_there: bool
    where: str


class PredictionSink(Protocol):
    """A place that takes runs, each once."""

    def publish(self, run: PublishedRun) -> Published:
        """Make all rows of `run` visible in one step; the rows of the runs it supersedes go away in the same step.

        Publishing what is there already changes nothing. Memory is that of one batch, whatever the size of the run.

        Raises:
            SchemaMismatch: the table has other columns, or a column has a type that the sink cannot hold.
            StoreConflict: a later run superseded this one, or others wrote all the time.
            StoreUnavailable: the sink does not answer, refuses, or is full; nothing became visible.
            FileUnreadable: the run's rows are not those that it says.
        """
        ...


def is_there(run: PublishedRun, heirs: Mapping[str, str | None], where: str) -> bool:
    """Tell whether a sink holds the run already.

    Args:
        heirs: each run that the sink knows, with the run that superseded it; None for one whose rows are visible.
        where: the sink, for the message.

    Raises:
        StoreConflict: a later run took its place, and `run` does not supersede that one in turn.
    """
    if run.run_id not in heirs:
        return False
    last = run.run_id
    while (heir := heirs.get(last)) is not None:
        last = heir
    if last == run.run_id:
        return True
    if last in run.supersedes:
        return False
    message = (
        f"Run {run.run_id} was superseded by run {last} in {where}. "
        f"To bring it back, publish it with {last} among the runs that it supersedes."
    )
    raise StoreConflict(message, run_id=run.run_id, superseded_by=last)
