"""One batch scoring from spec to committed folder: resolve once, plan, score, judge, rename."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.batch.drive import Pool, ray_workers
from twinscore.batch.fingerprint import FORMAT, fingerprint
from twinscore.batch.intake import open_intake
from twinscore.batch.keys import duplicate_rows, key_rule
from twinscore.batch.place import Place
from twinscore.batch.plan import plan_shards
from twinscore.batch.progress import Reporter
from twinscore.batch.read import CommittedRun
from twinscore.batch.report import RunReport, refusal
from twinscore.batch.shard import ShardJob, nothing_to_score
from twinscore.batch.snapshot import no_row_passes
from twinscore.batch.staging import Staging, committed_run
from twinscore.batch.verdicts import run_rules
from twinscore.clock import SystemClock
from twinscore.contract.model import type_name
from twinscore.contract.run_rules import RunResult, judge
from twinscore.errors import PredictFailed, SettingsInvalid, StoreConflict
from twinscore.wiring import load_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from twinscore.batch.progress import ProgressCallback
    from twinscore.batch.shard import ShardResult
    from twinscore.batch.snapshot import Snapshot
    from twinscore.batch.spec import ScoreSpec
    from twinscore.bundle.files import Bundle
    from twinscore.clock import Clock
    from twinscore.ports.model_store import ModelVersion
    from twinscore.settings import Settings

__all__ = ["run_batch", "run_version"]


def run_batch(
    settings: Settings, spec: ScoreSpec, *, progress: ProgressCallback | None = None, clock: Clock | None = None
) -> RunReport:
    """Score Parquet in bulk with the version that the spec's model names now; see `run_version`.

    Raises:
        ModelNotFound, ModelNotReady, StoreUnavailable: the version cannot be had.
    """
    reporter = Reporter(progress)
    reporter.step("resolve", detail=spec.model)
    version, bundle = load_version(settings, spec.model)
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

    The same version over the same input into the same output is done once: a second call reports the first.

    Raises:
        FileUnreadable, SchemaMismatch, InputEmpty: the input cannot be used; nothing was scored.
        RunRefused: more rows were refused than the spec allows, or a run-level rule failed.
        StoreConflict: the output holds something else, or the input changed meanwhile.
        StoreUnavailable: the output cannot be written.
        PredictFailed, StackBroken: Ray, or a worker, failed.
    """
    clock, reporter = clock or SystemClock(), reporter or Reporter(None)
    began, started_at = clock.monotonic_s(), clock.now()
    spec = spec.placed(settings.lake.resolve())
    target = Path(spec.output)
    reporter.step("snapshot", detail=f"{version.ref}, bundle {bundle.digest[:12]}")
    _refuse_overlap(spec)
    intake = open_intake(spec, bundle.contract)
    key, snapshot = intake.key, intake.snapshot
    run_id = fingerprint(
        model=version.model, version=version.version, bundle=bundle.digest, contract=bundle.contract_digest,
        snapshot=snapshot.digest, key=key.names, shard_rows=spec.shard_rows, recipe=intake.recipe.facts(),
    )  # fmt: skip
    earlier = _earlier(target, run_id)
    if earlier is not None:
        reporter.finish(earlier.rows_in, earlier.rows_quarantined, 0.0, f"run {run_id} was committed before")
        return earlier

    constants = {
        "model": version.model,
        "version": version.version,
        "bundle_digest": bundle.digest,
        "contract_digest": bundle.contract_digest,
        "run_id": run_id,
        "scored_at": started_at,
        "input_snapshot": snapshot.digest,
    }
    with Staging(target, run_id) as staging:
        shards = plan_shards(snapshot, spec.shard_rows)
        reporter.step("keys", snapshot.rows)
        duplicates = duplicate_rows(shards, key, threads=settings.num_cpus, recipe=intake.recipe) if shards else {}
        reporter.step("start", snapshot.rows, f"{len(snapshot.files)} files, {len(shards)} shards")
        job = ShardJob(
            str(staging.folder), tuple((item.name, type_name(item.type)) for item in key), constants,
            recipe=intake.recipe,
        )  # fmt: skip
        results: list[ShardResult] = []
        with workers(settings) if shards else nothing_to_score(bundle, job) as score:
            reporter.step("score", snapshot.rows)
            for result in score(shards, duplicates, bundle, job):
                results.append(result)
                reporter.advance(
                    sum(one.rows_in for one in results), snapshot.rows, sum(one.rows_quarantined for one in results)
                )
        reporter.step("commit", snapshot.rows)
        results.sort(key=lambda result: result.number)
        empty = not any(result.rows_in for result in results)
        if empty and spec.empty == "fail":
            raise no_row_passes(intake.recipe, str(intake.shown), snapshot.rows)
        answers = [] if empty else _judge(bundle, key.names, results, sum(len(rows) for rows in duplicates.values()))
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
            "quarantine_limit": asdict(spec.quarantine),
            **_counts(results, snapshot),
            "run_results": [asdict(answer) for answer in answers],
            "files": [part.to_plain() for result in results for part in result.parts],
            "started_at": started_at.isoformat(),
            "finished_at": clock.now().isoformat(),
            **_rates(results, snapshot.rows, clock.monotonic_s() - began, reporter),
            "versions": {name: installed(name) for name in ("twinscore", "xgboost", "pyarrow", "ray")},
        }
        place = target.with_name(f"{target.name}.refused-{run_id}")
        refused = refusal(manifest, spec.quarantine, answers, place)
        if refused is not None:
            staging.refuse({**manifest, "refused": refused.message})
            raise refused
        staging.commit(manifest)
    report = RunReport(target, manifest, already_committed=False)
    reporter.finish(report.rows_in, report.rows_quarantined, report.rows_per_s, f"run {run_id} at {target}")
    return report


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


def _judge(bundle: Bundle, key: Sequence[str], results: Sequence[ShardResult], repeated: int) -> list[RunResult]:
    """Answer the run-level rules over all shards; the key's uniqueness is known from the pass over the keys."""
    whole = results[0].aggregate
    for result in results[1:]:
        whole = whole.merge(result.aggregate)
    answers = judge(run_rules(bundle.checker, key), whole)
    observed = f"{repeated} rows share a key; they are in quarantine" if repeated else "every row differs"
    return [*answers, RunResult(key_rule(key), key[0], "every accepted row differs", observed, True, "critical")]


def _counts(results: Sequence[ShardResult], snapshot: Snapshot) -> dict[str, Any]:
    rows_in = sum(result.rows_in for result in results)
    scored = sum(result.rows_scored for result in results)
    quarantined = sum(result.rows_quarantined for result in results)
    written = sum(part.rows for result in results for part in result.parts if part.name.startswith("part-"))
    filtered = snapshot.rows_left_out + sum(result.rows_filtered for result in results)
    if rows_in != scored + quarantined or snapshot.rows != rows_in + filtered or written != scored:
        message = (
            f"The run lost count: {snapshot.rows} rows in the input, {filtered} filtered, {rows_in} taken, "
            f"{scored} scored, {written} written, {quarantined} quarantined. Nothing became visible; please report it."
        )
        raise PredictFailed(message)
    rules: dict[str, int] = {}
    for result in results:
        for rule, count in result.rules.items():
            rules[rule] = rules.get(rule, 0) + count
    return {
        "rows_in": rows_in,
        "rows_filtered": filtered,
        "rows_scored": scored,
        "rows_quarantined": quarantined,
        "rows_flagged": sum(result.rows_flagged for result in results),
        "rules": dict(sorted(rules.items())),
    }


def _rates(results: Sequence[ShardResult], rows: int, total_s: float, reporter: Reporter) -> dict[str, Any]:
    """Return rows per second over the whole run, and over the time in which shards were scored."""
    scoring_s = max(result.ended for result in results) - min(result.began for result in results)
    work: dict[str, float] = {}
    for result in results:
        for name, value in result.seconds.items():
            work[name] = round(work.get(name, 0.0) + value, 3)
    return {
        "rows_per_s": round(rows / total_s, 1),
        "rows_per_s_after_start": round(rows / scoring_s, 1) if scoring_s > 0 else None,
        "seconds": {"total": round(total_s, 3), "scoring": round(scoring_s, 3), **reporter.seconds},
        "worker_seconds": work,
    }
