"""MLflow's client as we use it: short waits, no telemetry, no pickle, its errors translated; knows nothing of bundles.

The embedded registry is one SQLite file that this process and an MLflow server may open side by side. Artifacts are a
plain folder beside it, so both see the same files without a proxy.
"""

from __future__ import annotations

import fcntl
import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.errors import ModelNotFound, StoreConflict, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.tracking import MlflowClient

__all__ = ["connect", "prepare_embedded", "quiet", "translated"]

# MLflow waits about four minutes for a server that is away; a person at a prompt should not. The timeout is what a busy
# server may need for one answer: a write that was retried too early would be there twice.
_CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_NOISY = (
    "alembic",
    "alembic.runtime.migration",
    "mlflow.store.db.utils",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.utils.environment",  # warns where pip is not installed, as in a venv of uv
)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow's deprecation warnings and migration log off the user's terminal."""
    levels = {name: logging.getLogger(name).level for name in _NOISY}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


def connect(uri: str) -> MlflowClient:
    """Return a client of the tracking server and registry at `uri`; nothing is asked of them yet.

    Settings that the environment already holds win over ours.
    """
    for name, value in _CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    with quiet():
        from mlflow.tracking import MlflowClient

        if uri.startswith("sqlite:"):
            # The store classes warn when they are first imported, which a first call would do.
            import mlflow.store.model_registry.sqlalchemy_store
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def prepare_embedded(uri: str, artifact_root: Path) -> None:
    """Create the tables of the embedded registry once, with `artifact_root` as the home of its files.

    Takes some seconds the first time (MLflow runs every migration since its start), nothing later. Safe to call from
    several processes: one creates, the others wait.
    """
    database = Path(uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    marker = database.with_suffix(".ready")
    if marker.exists() and database.exists():
        return
    with (database.parent / ".create.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists() and database.exists():
            return
        for name, value in _CLIENT_SETTINGS.items():
            os.environ.setdefault(name, value)
        with translated("create the embedded registry", uri), quiet():
            from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

            SqlAlchemyStore(uri, str(artifact_root))  # type: ignore[no-untyped-call]  # MLflow has no types here
        marker.touch()


@contextmanager
def translated(doing: str, uri: str, *, lookup: bool = False) -> Iterator[None]:
    """Turn what MLflow, its database or its artifact store raise while `doing` something into our errors.

    Args:
        lookup: a missing model, version or alias is an answer here, not a fault of the registry.

    Raises:
        ModelNotFound: with `lookup`, MLflow says that the thing does not exist; the caller has better words for it.
        StoreConflict: it exists already.
        StoreUnavailable: everything else.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        text = str(error)
        # A missing alias comes as an invalid parameter.
        missing_alias = error.error_code == "INVALID_PARAMETER_VALUE" and "alias" in text and "not found" in text
        if lookup and (missing_alias or error.error_code == "RESOURCE_DOES_NOT_EXIST"):
            raise ModelNotFound(text, registry=uri) from error
        if error.error_code == "RESOURCE_ALREADY_EXISTS":
            raise StoreConflict(text, registry=uri) from error
        raise StoreUnavailable(_unavailable(doing, uri, text), registry=uri, doing=doing) from error
    except OSError as error:
        raise StoreUnavailable(_unavailable(doing, uri, str(error)), registry=uri, doing=doing) from error


def _unavailable(doing: str, uri: str, text: str) -> str:
    cause = text.splitlines()[0][:300] if text else "no reason given"
    remedy = (
        "Is the folder writable, and is its disk full?"
        if uri.startswith("sqlite:")
        else "Is the server up? `twinscore status` shows it, `twinscore up` starts the embedded one."
    )
    return f"The model registry {uri} could not {doing}: {cause.rstrip('.')}. {remedy}"
