"""A committed run on its way into a sink, file by file; knows no sink and no Ray."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from twinscore.errors import InputEmpty, TwinscoreError
from twinscore.ports.prediction_sink import PublishedRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from twinscore.batch.read import CommittedRun
    from twinscore.ports.prediction_sink import PredictionSink, Published

__all__ = ["publish_all", "publish_run", "published_run"]

_BATCH_ROWS = 65_536


def publish_all(run: CommittedRun, sinks: Sequence[tuple[str, PredictionSink]]) -> tuple[Published, ...]:
    """Publish a run to every sink, each named by where it is; what was published before is left as it is.

    Raises:
        TwinscoreError: a sink refused; the run stays committed, and the message says how to publish it later.
    """
    published = []
    for where, sink in sinks:
        try:
            published.append(publish_run(run, sink))
        except TwinscoreError as error:
            message = (
                f"Run {run.manifest['run_id']} is committed at {run.folder} and not published to {where}: "
                f"{error.message} Run the same again to publish it."
            )
            raise type(error)(message, **error.fields) from error
    return tuple(published)


def publish_run(
    run: CommittedRun, sink: PredictionSink, *, dataset: str | None = None, supersedes: Sequence[str] = ()
) -> Published:
    """Publish the scored rows of a run, and of the runs linked to it; what is in quarantine stays in the run's folder.

    Raises:
        FileUnreadable: a file is missing or has another size than the manifest says.
        InputEmpty: the run has no scored row.
        SchemaMismatch, StoreConflict, StoreUnavailable: see `PredictionSink.publish`.
    """
    first = sink.publish(published_run(run, dataset=dataset, supersedes=supersedes))
    linked = [
        sink.publish(_published_run(run, manifest, dataset, ())) for manifest in run.linked if manifest["rows_scored"]
    ]
    return replace(
        first,
        rows=first.rows + sum(one.rows for one in linked),
        already_there=first.already_there and all(one.already_there for one in linked),
    )


def published_run(run: CommittedRun, *, dataset: str | None = None, supersedes: Sequence[str] = ()) -> PublishedRun:
    """Return the run as sinks take it, without the runs linked to it.

    Args:
        dataset: name of the table when the sink has none of its own; the model's name unless given, `_` for its points.
        supersedes: run ids whose rows this run replaces.

    Raises:
        FileUnreadable, InputEmpty: see `publish_run`.
    """
    run.verify(contents=False)
    return _published_run(run, run.manifest, dataset, supersedes)


def _published_run(
    run: CommittedRun, manifest: Mapping[str, Any], dataset: str | None, supersedes: Sequence[str]
) -> PublishedRun:
    files = [run.folder / part["name"] for part in manifest["files"] if "/" not in part["name"]]
    if not files:
        message = f"Run {manifest['run_id']} at {run.folder} has no scored row; there is nothing to publish."
        raise InputEmpty(message, folder=str(run.folder), run_id=manifest["run_id"])
    with pq.ParquetFile(files[0]) as first:
        schema = first.schema_arrow
    return PublishedRun(
        run_id=manifest["run_id"],
        model=manifest["model"],
        version=manifest["version"],
        # A point would name a schema.
        dataset=dataset or manifest["model"].replace(".", "_"),
        schema=schema,
        batches=lambda: _batches(files),
        rows=manifest["rows_scored"],
        supersedes=tuple(supersedes),
    )


def _batches(files: Sequence[Path]) -> Iterator[pa.RecordBatch]:
    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH_ROWS)
