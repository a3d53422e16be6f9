"""The commands as Python functions: thin, with settings read from the environment unless given.

import twinscore
version = twinscore.train(model="adult", data="adult_train.parquet", label="label", key="row_id")
report = twinscore.score("adult@champion", "adult_test.parquet", "scores/")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from twinscore.batch.progress import ProgressCallback
    from twinscore.batch.report import RunReport
    from twinscore.online.check import ParityCheck
    from twinscore.ports.model_store import ModelVersion
    from twinscore.settings import Settings
    from twinscore.stack import StackState, StackStatus
    from twinscore.training.train import TrainedVersion

__all__ = ["adopt", "down", "parity", "score", "serve", "status", "train", "up"]


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
    model: str,
    input: Path | str,  # noqa: A002 - the word of the command
    rows: int = 10_000,
    *,
    progress: Callable[[int, int], None] | None = None,
    settings: Settings | None = None,
) -> ParityCheck:
    """Send rows through both paths and compare every bit; see `twinscore.online.check.parity`."""
    from twinscore.online.check import parity as run

    return run(settings or load_settings(), model, input, rows, progress=progress)
