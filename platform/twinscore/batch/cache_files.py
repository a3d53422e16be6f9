"""A committed run as a file of scores that the serving processes map; reads the run's folder, knows no Ray."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.batch.read import CommittedRun, open_run
from twinscore.cache.catalog import drop_older, score_path
from twinscore.cache.features import build_features, feature_path
from twinscore.cache.score_file import Source, build_scores
from twinscore.clock import SystemClock
from twinscore.contract.conform import canonical_type
from twinscore.errors import InputEmpty, RunRefused, SchemaMismatch, TwinscoreError
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from twinscore.cache.spec import FeaturesSpec
    from twinscore.clock import Clock
    from twinscore.contract.model import Contract
    from twinscore.settings import Settings

__all__ = ["build_feature_cache", "build_score_cache", "cache_committed"]

_BATCH_ROWS = 65_536
_FACTS = ("run_id", "model", "version", "bundle_digest", "contract_digest")


def build_score_cache(settings: Settings, run_folder: Path, *, clock: Clock | None = None) -> Path:
    """Write the scored rows of a run, and of the runs linked to it, as a file of scores, and return where it is.

    The file belongs to the run's bundle; of one bundle's files the newest two stay. The same run again, such as after
    a retry, replaces its file.

    Raises:
        FileUnreadable, StoreConflict: no run is there, or it is not as it was committed.
        RunRefused: the run was refused as a whole.
        InputEmpty: it has no scored row.
        SchemaMismatch: it has a key twice, or a key of a type that no contract can hold.
        StoreUnavailable: the lake cannot be written.
    """
    run = open_run(run_folder)
    manifest = run.manifest
    if "refused" in manifest:
        message = f"Run {manifest['run_id']} at {run_folder} was refused as a whole; its scores must answer nobody."
        raise RunRefused(message, run_id=manifest["run_id"])
    run.verify(contents=False)
    manifests = [one for one in (manifest, *run.linked) if one["rows_scored"]]
    if not manifests:
        message = f"Run {manifest['run_id']} at {run_folder} has no scored row; there is nothing to look up."
        raise InputEmpty(message, folder=str(run_folder), run_id=manifest["run_id"])
    key = _key_schema(run, manifests[0])
    parts = [
        (Source(one["run_id"], datetime.fromisoformat(one["started_at"])), _rows(run, one, key)) for one in manifests
    ]
    facts = {
        **{name: manifest[name] for name in _FACTS},
        "input_snapshot": manifest["input"]["snapshot"],
        "scored_at": manifest["started_at"],
        "built_at": (clock or SystemClock()).now().isoformat(),
    }
    lake, model, digest = settings.lake.resolve(), manifest["model"], manifest["bundle_digest"]
    path = score_path(lake, model, digest, manifest["run_id"])
    build_scores(path, key, parts, rows=sum(one["rows_scored"] for one in manifests), facts=facts)
    drop_older(lake, model, digest)
    return path


def cache_committed(settings: Settings, run_folder: Path, run_id: str) -> Path:
    """Build the file of a run that was committed just now.

    Raises:
        TwinscoreError: it cannot be built; the run stays committed, and the message says how to build it later.
    """
    try:
        return build_score_cache(settings, run_folder)
    except TwinscoreError as error:
        message = (
            f"Run {run_id} is committed at {run_folder} and its cache is not built: {error.message} "
            "Run the same again to build it."
        )
        raise type(error)(message, **error.fields) from error


def build_feature_cache(
    settings: Settings, model: str, contract: Contract, spec: FeaturesSpec, *, clock: Clock | None = None
) -> Path:
    """Write the table of features that a deployment names as a file that its replicas map, and return where it is.

    Raises:
        FileUnreadable, SchemaMismatch, StoreUnavailable: see `build_features`.
    """
    lake = settings.lake.resolve()
    path = feature_path(lake, model, spec)
    build_features(path, lake / spec.table, spec, contract, now=(clock or SystemClock()).now())
    return path


def _scored_files(manifest: Mapping[str, Any]) -> Sequence[str]:
    return [part["name"] for part in manifest["files"] if "/" not in part["name"]]


def _key_schema(run: CommittedRun, manifest: Mapping[str, Any]) -> pa.Schema:
    with pq.ParquetFile(run.folder / _scored_files(manifest)[0]) as file:
        schema = file.schema_arrow
    fields = []
    for name in manifest["key"]:
        kind = canonical_type(schema.field(name).type)
        if kind is None:
            message = (
                f"The key {name} of run {manifest['run_id']} is {schema.field(name).type}, which requests cannot have."
            )
            raise SchemaMismatch(message, column=name)
        fields.append(pa.field(name, kind))
    return pa.schema(fields)


def _rows(run: CommittedRun, manifest: Mapping[str, Any], key: pa.Schema) -> Iterator[pa.Table]:
    schema = pa.schema([*key, *SCORE_SCHEMA])
    for name in _scored_files(manifest):
        with pq.ParquetFile(run.folder / name) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=schema.names):
                yield pa.table(batch).select(schema.names).cast(schema)
