"""One batch scoring from spec to committed folder: resolve once, plan, score, judge, rename."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.batch.broken import broken_pages
from twinscore.batch.cache_files import cache_committed
from twinscore.batch.drive import Pool, ray_workers
from twinscore.batch.fingerprint import FORMAT, Identity
from twinscore.batch.intake import open_intake
from twinscore.batch.manifest import committed_run, counts, judged, rates
from twinscore.batch.passes import score_shards
from twinscore.batch.place import Place, masked
from twinscore.batch.plan import plan_shards
from twinscore.batch.progress import Reporter
from twinscore.batch.publish import publish_all
from twinscore.batch.read import CommittedRun
from twinscore.batch.report import RunReport, refusal
from twinscore.batch.report_files import write_report
from twinscore.batch.resume import aside_before, make_way, pinned_version
from twinscore.batch.shard import ShardJob
from twinscore.batch.snapshot import no_row_passes
from twinscore.batch.staging import Staging
from twinscore.clock import SystemClock
from twinscore.contract.model import type_name
from twinscore.errors import FileUnreadable, SchemaMismatch, SettingsInvalid, StoreConflict
from twinscore.wiring import load_version, prediction_sink

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from twinscore.batch.intake import Intake
    from twinscore.batch.progress import ProgressCallback
    from twinscore.batch.spec import ScoreSpec
    from twinscore.bundle.files import Bundle
    from twinscore.clock import Clock
    from twinscore.ports.model_store import ModelVersion
    from twinscore.ports.prediction_sink import PredictionSink
    from twinscore.settings import Settings

__all__ = ["run_batch", "run_version"]

_WRITERS = ("twinscore", "xgboost", "pyarrow")
"""Packages that decide the bytes of a part."""


def run_batch(
    settings: Settings, spec: ScoreSpec, *, progress: ProgressCallback | None = None, clock: Clock | None = None
) -> RunReport:
    """Score Parquet in bulk with the version that the spec's model names now; see `run_version`.

    Raises:
        ModelNotFound, ModelNotReady, StoreUnavailable: the version cannot be had.
    """
    reporter = Reporter(progress)
    reporter.step("resolve", detail=spec.model)
    pinned = pinned_version(spec.placed(settings.lake.resolve()))
    version, bundle = load_version(settings, pinned or spec.model)
    if pinned is not None:
        reporter.step("resolve", detail=f"{pinned}, with which an earlier attempt at {spec.model} began")
    return run_version(settings, spec, version, bundle, reporter=reporter, clock=clock)


def run_version(
    settings: Settings,
    spec: ScoreSpec,
    version: ModelVersion,
    bundle: Bundle,
    *,
    reporter: Reporter | None = None,
    clock: Clock | None = None,
    workers: Callable[[Settings], AbstractContextManager[Pool]] = ray_workers,
) -> RunReport:
    """Score Parquet in bulk with one version; the run becomes visible whole, once, or not at all.

    The same version over the same input into the same output is done once: a second call reports the first, and goes
    on with what a killed one finished.

    Raises:
        FileUnreadable, SchemaMismatch, InputEmpty: the input cannot be used; nothing was scored.
        RunRefused: more rows or files were refused than the spec allows, or a run-level rule failed.
        StoreConflict: the output holds something else, or the input changed meanwhile.
        StoreUnavailable: the output cannot be written.
        PredictFailed, StackBroken: Ray, or a worker, failed; what was finished is kept for the next call.
    """
    clock, reporter = clock or SystemClock(), reporter or Reporter(None)
    began = clock.monotonic_s()
    spec = spec.placed(settings.lake.resolve())
    target = Path(spec.output)
    # Before anything is scored: a sink that cannot be is refused now.
    sinks = [(masked(one.to), prediction_sink(settings, one.to, one.table)) for one in spec.publish]
    reporter.step("snapshot", detail=f"{version.ref}, bundle {bundle.digest[:12]}")
    _refuse_overlap(spec)
    aside = aside_before(target) if spec.quarantine.files and not spec.restart else {}
    while True:
        intake = open_intake(spec, bundle.contract, aside=aside)
        try:
            report = _run_over(intake, settings, spec, version, bundle, reporter, clock, began, workers)
        except (FileUnreadable, SchemaMismatch):
            broken = broken_pages(intake, threads=settings.num_cpus) if spec.quarantine.files else {}
            if not broken:
                raise
            # Without these files it is a run of its own, with an id of its own, so it begins anew.
            aside = {**aside, **broken}
            reporter.step("snapshot", detail=f"begins again without {', '.join(sorted(broken))}")
            continue
        report = _cached(_published(report, sinks, reporter), settings, spec, reporter)
        told = f"run {report.run_id} " + ("was committed before" if report.already_committed else f"at {target}")
        rate = 0.0 if report.already_committed else report.rows_per_s
        reporter.finish(report.rows_in, report.rows_quarantined, rate, told)
        return report


def _run_over(
    intake: Intake, settings: Settings, spec: ScoreSpec, version: ModelVersion, bundle: Bundle,
    reporter: Reporter, clock: Clock, began: float, workers: Callable[[Settings], AbstractContextManager[Pool]],
) -> RunReport:  # fmt: skip
    """Score an input that was found fit, and commit; raises as `run_version`."""
    target = Path(spec.output)
    key, snapshot = intake.key, intake.snapshot
    identity = Identity(
        model=version.model, version=version.version, bundle=bundle.digest, contract=bundle.contract_digest,
        snapshot=snapshot.digest, key=tuple(key.names), recipe=intake.recipe.facts(), shard_rows=spec.shard_rows,
        explain=asdict(spec.explain) if spec.explain.rows != "none" else {},
    )  # fmt: skip
    run_id = identity.run_id
    earlier = _earlier(target, run_id)
    if earlier is not None:
        return earlier
    versions = {name: installed(name) for name in _WRITERS}
    facts = {
        "run_id": run_id,
        "identity": identity.to_plain(),
        "requested": spec.model,
        "started_at": clock.now().isoformat(),
        "versions": versions,
        "set_aside": [file.to_plain() for file in snapshot.aside],
    }
    make_way(target, identity, versions, restart=spec.restart)
    with Staging(target, run_id, facts, restart=spec.restart) as staging:
        # The first attempt's: rows of later attempts say the same, so a shard has the same bytes whoever writes it.
        started_at = datetime.fromisoformat(staging.facts["started_at"])
        constants = {
            "model": version.model,
            "version": version.version,
            "bundle_digest": bundle.digest,
            "contract_digest": bundle.contract_digest,
            "run_id": run_id,
            "scored_at": started_at,
            "input_snapshot": snapshot.digest,
        }
        types = tuple((item.name, type_name(item.type)) for item in key)
        job = ShardJob(
            str(staging.folder), types, constants, recipe=intake.recipe, explain=spec.explain, attempt=staging.attempt
        )
        passes = score_shards(
            plan_shards(snapshot, spec.shard_rows), bundle, job,
            threads=settings.num_cpus, workers=lambda: workers(settings), reporter=reporter,
        )  # fmt: skip
        reporter.step("commit", snapshot.rows)
        empty = not any(result.rows_in for result in passes.results)
        if empty and spec.empty == "fail":
            raise no_row_passes(intake.recipe, str(intake.shown), snapshot.rows)
        answers = [] if empty else judged(bundle, key.names, passes.results, passes.rows_repeated)
        manifest = {
            "format": FORMAT,
            "run_id": run_id,
            "model": version.model,
            "version": version.version,
            "requested": spec.model,
            "verdict": "EMPTY" if empty else "COMMITTED",
            "bundle_digest": bundle.digest,
            "contract": bundle.contract.name,
            "contract_digest": bundle.contract_digest,
            "input": intake.to_plain(),
            "key": key.names,
            "explain": asdict(spec.explain),
            "quarantine_limit": asdict(spec.quarantine),
            "files_quarantined": len(snapshot.aside),
            **counts(passes.results, snapshot),
            "run_results": [asdict(answer) for answer in answers],
            "files": [part.to_plain() for result in passes.results for part in result.parts],
            "started_at": started_at.isoformat(),
            "finished_at": clock.now().isoformat(),
            **rates(passes, clock.monotonic_s() - began, reporter.seconds),
            "versions": {**versions, "ray": installed("ray")},
        }
        place = target.with_name(f"{target.name}.refused-{run_id}")
        refused = refusal(manifest, spec.quarantine, answers, place)
        write_report(staging.folder, manifest, bundle, refused=refused)
        if refused is not None:
            staging.refuse({**manifest, "refused": refused.message})
            raise refused
        staging.commit(manifest)
    return RunReport(target, manifest, already_committed=False)


def _published(report: RunReport, sinks: Sequence[tuple[str, PredictionSink]], reporter: Reporter) -> RunReport:
    if not sinks or not report.rows_scored:
        return report
    reporter.step("publish", report.rows_scored, ", ".join(where for where, _ in sinks))
    return replace(report, published=publish_all(CommittedRun(report.folder, report.manifest), sinks))


def _cached(report: RunReport, settings: Settings, spec: ScoreSpec, reporter: Reporter) -> RunReport:
    if not spec.cache or not report.rows_scored:
        return report
    reporter.step("cache", report.rows_scored)
    return replace(report, cache=cache_committed(settings, report.folder, report.run_id))


def _refuse_overlap(spec: ScoreSpec) -> None:
    target = Path(spec.output)
    for source in (Path(Place.at(one).root) for one in spec.inputs if Place.at(one).is_local):
        if source.is_dir() and (target == source or target.is_relative_to(source)):
            message = f"The output {target} lies in the input {source}: the next run would read this run's predictions."
            raise SettingsInvalid(message, input=str(source), output=spec.output)


def _earlier(target: Path, run_id: str) -> RunReport | None:
    """Return the same run, when it is there already."""
    manifest = committed_run(target)
    if manifest is None:
        return None
    if manifest["run_id"] != run_id:
        message = (
            f"The output {target} holds run {manifest['run_id']} of {manifest.get('model')}/{manifest.get('version')}; "
            f"this would be run {run_id}: the version, the input or the key differs. "
            "Choose another output, or move that run away."
        )
        raise StoreConflict(message, output=str(target), run_id=manifest["run_id"])
    CommittedRun(target, manifest).verify(contents=False)
    return RunReport(target, manifest, already_committed=True)
