"""The commands as Python functions: thin, with settings read from the environment unless given.

import twinscore
version = twinscore.train(model="adult", data="adult_train.parquet", label="label", key="row_id")
report = twinscore.score("adult@champion", "adult_test.parquet", "scores/")
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.errors import SettingsInvalid, TwinscoreError
from twinscore.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    import pyarrow as pa

    from twinscore.batch.freshness import Freshness
    from twinscore.batch.labels import Coverage
    from twinscore.batch.progress import ProgressCallback
    from twinscore.batch.report import RunReport
    from twinscore.batch.shadow_report import ShadowReport
    from twinscore.batch.watch import Look
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.online.check import ParityCheck
    from twinscore.ports.model_store import ModelVersion
    from twinscore.settings import Settings
    from twinscore.stack import StackState, StackStatus
    from twinscore.training.train import TrainedVersion

__all__ = [
    "adopt", "down", "freshness", "labels", "parity", "retry", "score", "serve", "shadow_report", "status", "train",
    "up", "watch",
]  # fmt: skip


def up(settings: Settings | None = None, *, on_step: Callable[[str], None] | None = None) -> StackState:
    """Start the local stack: MLflow, Ray and Ray Serve; a healthy one is left as it is.

    Raises:
        PortTaken: another process holds a port.
        StackBroken: an earlier stack is half up.
    """
    from twinscore import stack

    return stack.up(settings or load_settings(), on_step=on_step)


def down(settings: Settings | None = None) -> bool:
    """Stop what `up` started and nothing else; False when nothing ran."""
    from twinscore import stack

    return stack.down(settings or load_settings())


def status(settings: Settings | None = None) -> StackStatus:
    """Say which parts of the local stack run and answer."""
    from twinscore import stack

    return stack.status(settings or load_settings())


def train(
    *,
    model: str,
    data: Path | str | pa.Table,
    label: str,
    key: str | Sequence[str],
    settings: Settings | None = None,
    **options: Any,
) -> TrainedVersion:
    """Train, calibrate, bundle and register a version; `options` are those of `twinscore.training.train.train`.

    Raises:
        InputError, ContractError, BundleError, SettingsInvalid: what is wrong with data, contract or parameters.
        StoreError: the registry or the bundle store failed.
    """
    from twinscore.training.train import train as run

    return run(settings or load_settings(), model=model, data=data, label=label, key=key, **options)


def adopt(
    ref: str,
    data: Path | str | pa.Table,
    *,
    key: str | Sequence[str],
    label: str | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> ModelVersion:
    """Give a plain `mlflow.xgboost.log_model` version its sidecars; `options` as `twinscore.training.adopt.adopt`."""
    from twinscore.training.adopt import adopt as run

    return run(settings or load_settings(), ref, data, key=key, label=label, **options)


def score(
    model: str,
    input: Path | str | Sequence[Path | str],  # noqa: A002 - the word of the command and of the job spec
    output: Path | str,
    *,
    key: Sequence[str] = (),
    progress: ProgressCallback | None = None,
    settings: Settings | None = None,
    **options: Any,
) -> RunReport:
    """Score Parquet in bulk on the stack's Ray, or on a private one when no stack is up.

    Args:
        model: `NAME@ALIAS`, `NAME/VERSION` or `NAME` (its champion).
        input: file, folder, glob or URI such as `s3://bucket/prefix`, or a list of them.
        output: folder that the run becomes.
        key: columns that identify a row; empty means the contract's key.
        progress: is told how far the run is.
        options: other keys of the batch spec, such as `columns`, `filter`, `join` and `quarantine`.

    Raises:
        SettingsInvalid: an option is unknown or wrong.
        InputError: files, columns or rows break a limit; nothing becomes visible.
        StoreConflict: another run is at `output`.
    """
    from twinscore.batch.run import run_batch
    from twinscore.batch.spec import read_score_spec
    from twinscore.stack import connect

    def from_here(location: Path | str) -> str:
        return str(location) if "://" in str(location) else str(Path(location).absolute())

    settings = settings or load_settings()
    several = [input] if isinstance(input, str | Path) else list(input)
    places = [from_here(one) for one in several]
    document = {"model": model, "input": places if len(places) > 1 else places[0], "output": from_here(output)}
    spec = read_score_spec({**document, "key": key, **options}, source="score()")
    with connect(settings):
        return run_batch(settings, spec, progress=progress)


def retry(
    run: Path | str,
    input: Path | str,  # noqa: A002 - the word of the command
    *,
    limit: float = 1.0,
    settings: Settings | None = None,
) -> RunReport:
    """Score repaired rows of a run's quarantine with the run's own version, and add them to its dataset.

    Args:
        run: folder of the committed run.
        input: file, folder or glob with the repaired rows.
        limit: most of them that may be refused again, from 0 to 1.

    Raises:
        As `twinscore.batch.retry.retry_run`.
    """
    from twinscore.batch.retry import retry_run
    from twinscore.batch.spec import QuarantineLimit

    folder = Path(run).expanduser().absolute()
    return retry_run(settings or load_settings(), folder, _located(input), limit=QuarantineLimit(share=limit))


def labels(
    run: Path | str,
    path: Path | str,
    column: str,
    *,
    key: Sequence[str] = (),
    at: str | None = None,
    as_of: datetime | None = None,
    since: str | None = None,
    settings: Settings | None = None,
) -> tuple[Coverage, dict[str, float]]:
    """Say how many rows of a run have an outcome, and how good their scores were; no metrics without an outcome.

    The rows themselves: `twinscore.batch.labels.join_labels`, whose arguments and errors these are.
    """
    from twinscore.batch.outcomes import run_outcomes
    from twinscore.batch.read import open_run
    from twinscore.batch.spec_parts import LabelsSpec

    opened = open_run(Path(run).expanduser().absolute())
    spec = LabelsSpec(path=_located(path), column=column, key=tuple(key), at=at)
    return run_outcomes(settings or load_settings(), opened, spec, as_of=as_of, since=since)


def freshness(
    run: Path | str,
    max_age: str | None = None,
    *,
    source: Path | str | None = None,
    time: str | None = None,
    settings: Settings | None = None,
) -> Freshness:
    """Hold a run against its input as it is now; see `twinscore.batch.freshness.check_freshness`.

    Args:
        max_age: a number and a unit (s, m, h, d), such as `26h`.
        source: where the input is now; None is where the run read it.
        time: column of the event time; None takes the model's, when its bundle is at hand.
    """
    from twinscore.batch.freshness import check_freshness
    from twinscore.batch.read import open_run
    from twinscore.batch.retry import bundle_of
    from twinscore.batch.spec_parts import FreshnessSpec

    opened = open_run(Path(run).expanduser().absolute())
    if time is None:
        # The age by modification times is an answer too, so a registry that is away does not matter.
        with suppress(TwinscoreError):
            time = bundle_of(settings or load_settings(), opened).card.time
    spec = FreshnessSpec(max_age=max_age) if max_age is not None else None
    return check_freshness(opened, spec, time_column=time, source=None if source is None else _located(source))


def serve(model: str, *, replicas: int = 1, settings: Settings | None = None) -> str:
    """Serve a version at `/<model>` on the running stack and return its URL.

    Raises:
        ModelNotReady: no stack is up, or Serve could not start the version.
    """
    from twinscore.online.deploy import serve_model
    from twinscore.stack import connect

    settings = settings or load_settings()
    with connect(settings, need_stack=True):
        return serve_model(settings, model, replicas=replicas)


def parity(
    model: str | None = None,
    input: Path | str | None = None,  # noqa: A002 - the word of the command
    rows: int = 10_000,
    *,
    run: Path | str | None = None,
    url: str | None = None,
    api_key: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    settings: Settings | None = None,
) -> ParityCheck:
    """Send rows through both paths and compare every bit.

    Args:
        model: what is served; leave it out with `run`, which names its own.
        input: Parquet to take rows from; with `run` only when the run's input has moved.
        rows: how many, from the start.
        run: folder of a committed run, whose scores on disk are compared; without it, rows are scored here.
        url: address of the endpoint, when it is not this stack's.
        api_key: key for that address; this stack's own is found in the home, and sent nowhere else.

    Raises:
        SettingsInvalid: neither a run nor a model with an input was named, or both.
        As `twinscore.online.check.parity` and `twinscore.batch.stored.stored_scores`.
    """
    from twinscore.online.check import parity as of_rows
    from twinscore.online.check import run_parity

    settings = settings or load_settings()
    if run is None:
        if model is None or input is None:
            message = "Name a model and an input to compare, or a committed run."
            raise SettingsInvalid(message, model=model, input=str(input))
        return of_rows(settings, model, input, rows, url=url, api_key=api_key, progress=progress)
    if model is not None:
        message = f"The run {run} names its own model; leave {model} out."
        raise SettingsInvalid(message, model=model)
    from twinscore.batch.read import open_run
    from twinscore.batch.retry import bundle_of
    from twinscore.batch.stored import stored_scores

    opened = open_run(Path(run).expanduser().absolute())
    source = None if input is None else _located(input)
    stored = stored_scores(opened, bundle_of(settings, opened), rows, source=source)
    return run_parity(settings, stored, url=url, api_key=api_key, progress=progress)


def shadow_report(
    model: str,
    version: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    replay: bool = False,
    against: str | None = None,
    segments: Sequence[str] = (),
    output: Path | str | None = None,
    settings: Settings | None = None,
) -> ShadowReport:
    """Compare a candidate with the live version on the same requests; see `twinscore.batch.shadow_report`.

    Args:
        since: answers from then on; without a time zone it is UTC.
        until: answers before then.
        replay: score the window with the candidate now, instead of reading what its shadow recorded.
        output: folder of the report; None is `comparisons/<model>/<version>` in the lake.
    """
    from twinscore.audit.window import Window
    from twinscore.batch.shadow_report import shadow_report as of_window
    from twinscore.stack import connect

    settings = settings or load_settings()
    window = Window(*(one if one is None or one.tzinfo else one.replace(tzinfo=UTC) for one in (since, until)))
    folder = settings.lake / "comparisons" / model / version.removeprefix("@") if output is None else Path(output)
    with connect(settings) if replay else nullcontext():
        return of_window(
            settings, model, version, folder.expanduser().absolute(),
            window=window, replay=replay, against=against, segments=segments,
        )  # fmt: skip


def watch(
    model: str, spec: MonitorSpec | Path | str | None = None, *, every: timedelta | None = None,
    on_look: Callable[[Look], object] = lambda look: None, settings: Settings | None = None,
) -> Look | None:  # fmt: skip
    """Count what is new of a model's log and runs, and make figures; with `every` again and again, without an end.

    Args:
        spec: what is watched, or the deployment file that says so under `monitor`; None takes the defaults.
        on_look: is told what each look did.
    """
    from twinscore.batch.watch import watch_again, watch_once
    from twinscore.online.spec import ServeSpec, load_serve_spec
    from twinscore.stack import connect

    settings = settings or load_settings()
    if spec is None or isinstance(spec, str | Path):
        spec = (ServeSpec(model=model) if spec is None else load_serve_spec(Path(spec))).monitor
    with connect(settings):
        if every is not None:
            watch_again(settings, model, spec, every=every, on_look=on_look)
            return None
        look = watch_once(settings, model, spec)
    on_look(look)
    return look


def _located(path: Path | str) -> str:
    """Return a path as it is meant at a prompt: relative to where the person is; a URI stays."""
    text = str(path)
    return text if "://" in text else str(Path(text).expanduser().absolute())
