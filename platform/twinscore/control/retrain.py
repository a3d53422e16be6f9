"""Asks for a new version of a model: submits the training job to the Ray of the stack, and waits for its end.

The job registers what it trained under an alias that makes nothing live; whoever wants it live promotes it.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.control.outcome import Outcome, options_of
from twinscore.errors import SettingsInvalid, StoreUnavailable
from twinscore.stack.state import read_state

if TYPE_CHECKING:
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.ports.alert_store import KeptOrder
    from twinscore.settings import Settings

__all__ = ["job_name", "retrain"]

_LOOK_AGAIN_S = 30.0
_LOG_LINES = 8


def retrain(settings: Settings, spec: MonitorSpec, taken: KeptOrder) -> Outcome:
    """Submit the job of an order, once; later look how it is.

    Raises:
        SettingsInvalid: there is no spec, or no folder of jobs.
        StoreUnavailable: the stack's Ray does not answer.
    """
    order = taken.order
    if order.verb != "open":
        return Outcome()  # a version that was asked for is trained, whatever became of the incident
    given = spec.retrain
    path = str(options_of(order).get("spec") or "") or (given.spec if given is not None else "")
    if not path:
        message = "The rule retrains, and neither it nor monitor.retrain names a spec of jobs/train_model.py."
        raise SettingsInvalid(message, key="monitor.retrain")
    changes = [] if given is None else list(given.set)
    alias = "candidate" if given is None else given.alias
    folder = Path("jobs" if given is None else given.jobs)
    if not (folder / "train_model.py").is_file():
        message = f"There is no train_model.py in {folder.resolve()}; monitor.retrain.jobs names the folder of jobs."
        raise SettingsInvalid(message, key="monitor.retrain.jobs")
    # The model and the alias come last, so nothing in the spec can make the new version live or name another model.
    settled = [*changes, f"model={order.model}", f"alias={alias}"]
    words = ["python", "train_model.py", "--spec", path]
    for change in settled:
        words += ["--set", change]
    return _followed(_client(settings), job_name(order.id), shlex.join(words), folder, alias)


def job_name(order_id: str) -> str:
    """Return the id under which an order's job is submitted: the same each time, so that Ray refuses a second one.

    >>> job_name("loans-drift-1/retrain/open/1")
    'twinscore-retrain-750bca8bab3c1be5'
    """
    return f"twinscore-retrain-{hashlib.sha256(order_id.encode()).hexdigest()[:16]}"


def _followed(client: Any, job: str, entrypoint: str, folder: Path, alias: str) -> Outcome:
    try:
        status = _status(client, job)
        if status is None:
            client.submit_job(
                entrypoint=entrypoint, submission_id=job, runtime_env={"working_dir": str(folder.resolve())}
            )
            return Outcome(wait_s=_LOOK_AGAIN_S, says=f"Ray job {job} was submitted")
        if not status.is_terminal():
            return Outcome(wait_s=_LOOK_AGAIN_S, says=f"Ray job {job} is {status.value.lower()}")
        log = client.get_job_logs(job).splitlines()[-_LOG_LINES:]
    except (RuntimeError, OSError) as error:
        message = f"The Ray of the stack does not take the job: {str(error).strip().splitlines()[-1:]}"
        raise StoreUnavailable(message, job=job) from error
    result = {"job": job, "status": status.value, "alias": alias, "log": log}
    return Outcome(result=result, kind="candidate_trained" if status.value == "SUCCEEDED" else "training_failed")


def _status(client: Any, job: str) -> Any:
    try:
        return client.get_job_status(job)
    except RuntimeError as error:
        if "404" in str(error) or "not found" in str(error).lower() or "does not exist" in str(error):
            return None
        raise


def _client(settings: Settings) -> Any:
    from ray.job_submission import JobSubmissionClient

    state = read_state(settings)
    address = f"http://127.0.0.1:{settings.dashboard_port}" if state is None else state.ray.dashboard
    try:
        client = JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        message = f"The Ray of the stack does not answer at {address}: {error}"
        raise StoreUnavailable(message, address=address) from error
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the client sets these to INFO itself
    return client
