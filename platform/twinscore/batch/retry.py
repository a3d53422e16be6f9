"""Score repaired rows of a run's quarantine into the same dataset, as a linked run; in this process, without Ray.

What scores them is what scored the run: its bundle, its contract, the same code. Rules about the whole input are not
asked again, because a handful of repaired rows is no input of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from twinscore.batch.fingerprint import FORMAT
from twinscore.batch.linked import LinkedWriter, part_name
from twinscore.batch.manifest import counts, rates
from twinscore.batch.passes import Passes
from twinscore.batch.plan import Shard, whole_files
from twinscore.batch.read import open_run
from twinscore.batch.repaired import keys_and_digest, open_repaired, refuse_strangers
from twinscore.batch.report import RunReport
from twinscore.batch.shard import ShardJob, score_shard
from twinscore.batch.spec import QuarantineLimit
from twinscore.batch.spec_parts import ExplainSpec
from twinscore.clock import SystemClock
from twinscore.contract.model import type_name
from twinscore.errors import BundleInvalid, RunRefused
from twinscore.wiring import bundle_store, load_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.batch.read import CommittedRun
    from twinscore.bundle.files import Bundle
    from twinscore.clock import Clock
    from twinscore.settings import Settings

__all__ = ["bundle_of", "retry_run", "retry_with"]

_ANY = QuarantineLimit(share=1.0)
_SHOWN = 5
_WRITERS = ("twinscore", "xgboost", "pyarrow")


def retry_run(
    settings: Settings, folder: Path, repaired: str, *, limit: QuarantineLimit = _ANY, clock: Clock | None = None
) -> RunReport:
    """Score repaired rows with the version that scored the run at `folder`, and add them to it; see `retry_with`.

    Raises:
        BundleInvalid, ModelNotFound, StoreUnavailable: that version cannot be had any more.
    """
    run = _whole_run(folder)
    return retry_with(run, bundle_of(settings, run), repaired, limit=limit, clock=clock)


def bundle_of(settings: Settings, run: CommittedRun) -> Bundle:
    """Return the bundle that scored a run: the one of its digest, wherever aliases point now.

    Raises:
        BundleInvalid: the version of the run has another bundle now.
        ModelNotFound, ModelNotReady, StoreUnavailable: neither the bundle store nor the registry has it.
    """
    from twinscore.bundle.files import read_bundle

    manifest = run.manifest
    digest, ref = manifest["bundle_digest"], f"{manifest['model']}/{manifest['version']}"
    bundles = bundle_store(settings)
    bundle = read_bundle(bundles.path(digest)) if bundles.has(digest) else load_version(settings, ref)[1]
    if bundle.digest != digest:
        message = (
            f"Run {manifest['run_id']} was scored with bundle {digest[:12]}...; {ref} has {bundle.digest[:12]}... now. "
            "Register the old bundle again, or score the whole input with the new one."
        )
        raise BundleInvalid(message, ref=ref, expected=digest, found=bundle.digest)
    return bundle


def retry_with(
    run: CommittedRun, bundle: Bundle, repaired: str, *, limit: QuarantineLimit = _ANY, clock: Clock | None = None
) -> RunReport:
    """Score repaired rows into a run's folder; they become visible whole, once, or not at all.

    The same rows again are found to be there, and nothing is written; other rows of the same keys are refused.

    Args:
        run: committed.
        bundle: what the run was scored with.
        repaired: Parquet file, folder, glob or URI; its columns are called as the contract's, or as the run's input's.
        limit: the most repaired rows that may be refused again.

    Raises:
        FileUnreadable, SchemaMismatch, InputEmpty: the repaired rows cannot be used.
        InputError: a key is not in the run's quarantine, or was brought home before; some are named.
        RunRefused: more rows were refused again than the limit allows; nothing was written.
        StoreConflict: another process retries rows of this run right now.
        StoreUnavailable: the folder cannot be written.
        BundleInvalid: the bundle is not the run's.
    """
    clock = clock or SystemClock()
    began = clock.monotonic_s()
    manifest = run.manifest
    if bundle.digest != manifest["bundle_digest"] or bundle.contract_digest != manifest["contract_digest"]:
        message = f"Run {manifest['run_id']} was scored with another bundle than {bundle.digest[:12]}..."
        raise BundleInvalid(message, expected=manifest["bundle_digest"], found=bundle.digest)
    intake = open_repaired(run, bundle, repaired)
    shard = Shard(0, whole_files(intake.snapshot))
    keys, digest = keys_and_digest(shard, intake)
    text = json.dumps({"run": manifest["run_id"], "rows": digest, "format": FORMAT}, sort_keys=True)
    linked_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    with LinkedWriter(run.folder) as writer:
        linked = run.linked
        for earlier in linked:
            if earlier["run_id"] == linked_id:
                return RunReport(run.folder, earlier, already_committed=True)
        refuse_strangers(run, keys, linked)
        started_at = clock.now()
        constants = {
            "model": manifest["model"],
            "version": manifest["version"],
            "bundle_digest": bundle.digest,
            "contract_digest": bundle.contract_digest,
            "run_id": linked_id,
            "scored_at": started_at,
            "input_snapshot": intake.snapshot.digest,
        }
        staging = writer.staging(linked_id)
        types = tuple((item.name, type_name(item.type)) for item in intake.key)
        repeated = keys.repeated()
        # As in the first run, so that all files of the folder have the same columns.
        explain = ExplainSpec(**manifest.get("explain", {}))
        result = score_shard(
            shard, bundle, ShardJob(str(staging), types, constants, recipe=intake.recipe, explain=explain), repeated
        )  # fmt: skip
        moves = {part.name: _final(part.name, linked_id) for part in result.parts}
        files = [replace(part, name=moves[part.name]).to_plain() for part in result.parts]
        made = {
            "format": FORMAT,
            "run_id": linked_id,
            "of": manifest["run_id"],
            "number": len(linked) + 1,
            **{name: manifest[name] for name in _SAME},
            "input": intake.to_plain(),
            "quarantine_limit": asdict(limit),
            **counts([result], intake.snapshot),
            "files": files,
            "started_at": started_at.isoformat(),
            "finished_at": clock.now().isoformat(),
            **rates(Passes((result,), frozenset({0}), 0, len(repeated)), clock.monotonic_s() - began, {}),
            "versions": {name: installed(name) for name in _WRITERS},
        }
        _refuse_too_many(made, limit)
        writer.commit(staging, moves, made)
    return RunReport(run.folder, made, already_committed=False)


_SAME = ("model", "version", "bundle_digest", "contract", "contract_digest", "key")
"""What a linked run's manifest says as the first run's does."""


def _whole_run(folder: Path) -> CommittedRun:
    run = open_run(folder)
    if "refused" in run.manifest:
        message = (
            f"Run {run.manifest['run_id']} at {folder} was refused as a whole, so rows have no dataset to come home "
            "to. Mend its input and score it again."
        )
        raise RunRefused(message, run_id=run.manifest["run_id"])
    return run


def _final(name: str, linked_id: str) -> str:
    folder, slash, _ = name.rpartition("/")
    return f"{folder}{slash}{part_name(linked_id)}"


def _refuse_too_many(made: Mapping[str, Any], limit: QuarantineLimit) -> None:
    rows, refused = made["rows_in"], made["rows_quarantined"]
    if limit.allows(refused, rows):
        return
    listed = ", ".join(f"{rule}: {count:,} rows" for rule, count in list(made["rules"].items())[:_SHOWN])
    most = f"{limit.share:.4g} of the rows" + ("" if limit.count is None else f" and {limit.count:,} rows")
    message = (
        f"{refused:,} of {rows:,} repaired rows were refused again ({listed}); the limit is {most}. "
        "Nothing was written: mend them, or raise the limit."
    )
    raise RunRefused(
        message, run_id=made["run_id"], rows_in=rows, rows_quarantined=refused, rules=dict(made["rules"])
    )  # fmt: skip
