"""Submits the demo's batch job to Ray, as a user would with `ray job submit`, and reads its log as it grows."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import twinscore
from twinscore.errors import InputError, PredictFailed

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["jobs_folder", "run_score_job"]

_POLL_S = 0.5
_DEADLINE_S = 600.0


def jobs_folder() -> Path:
    """Return the checkout's `jobs/`, from the working folder or beside the package.

    Raises:
        InputError: there is none; the demo runs in a checkout.
    """
    for folder in (Path("jobs"), Path(twinscore.__file__).resolve().parents[2] / "jobs"):
        if (folder / "score_batch.py").is_file():
            return folder.resolve()
    message = "The demo submits jobs/score_batch.py and found no jobs folder here; run it in a checkout of twinscore."
    raise InputError(message)


def run_score_job(dashboard: str, *, output: str, on_progress: Callable[[dict[str, Any]], None]) -> str:
    """Run `jobs/score_batch.py` with the loans spec as a Ray job and wait for its end.

    Args:
        dashboard: address of the Ray dashboard.
        output: where the run goes, in the lake.
        on_progress: is given each JSON line that the job logs.

    Returns:
        The job's id.

    Raises:
        PredictFailed: the job failed or took too long; the end of its log is in the message.
    """
    from ray.job_submission import JobStatus, JobSubmissionClient

    client = JobSubmissionClient(dashboard)
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the client sets these to INFO itself
    job = client.submit_job(
        entrypoint=f"python score_batch.py --spec specs/loans.yaml --set output={output}",
        runtime_env={"working_dir": str(jobs_folder())},
    )
    deadline = time.monotonic() + _DEADLINE_S
    read = 0
    while True:
        status = client.get_job_status(job)
        log = client.get_job_logs(job)
        # The last line may be half written while the job runs.
        whole = len(log) if status.is_terminal() else log.rfind("\n") + 1
        for line in log[read:whole].splitlines():
            if line.startswith("{"):
                on_progress(json.loads(line))
        read = max(read, whole)
        if status == JobStatus.SUCCEEDED:
            return str(job)
        if status.is_terminal() or time.monotonic() > deadline:
            end = "\n".join(log.splitlines()[-15:])
            message = f"Ray job {job} ended as {status.value}. The end of its log:\n{end}"
            raise PredictFailed(message, job=str(job), status=status.value)
        time.sleep(_POLL_S)
