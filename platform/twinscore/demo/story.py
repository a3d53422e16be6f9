"""The main job from end to end on the loan book: train, register, score in bulk, serve, compare."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinscore.demo.job import run_score_job
from twinscore.demo.loans import GROUP, KEY, LABEL, TIME, LoanBook, loan_book, write_loan_files
from twinscore.errors import PredictFailed

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.batch.report import RunReport
    from twinscore.online.check import ParityCheck
    from twinscore.settings import Settings
    from twinscore.stack import StackState
    from twinscore.training.train import TrainedVersion

__all__ = ["DemoSummary", "run_demo"]

Say = Callable[[str], None]

MODEL = "loans"
TRAINING_ROWS = 60_000
SCORING_FILES = 8
FAULTS = 0.001
"""Share of the scored loans with a broken value, so that quarantine has something to show."""

FIRST_PARAMS = {"max_depth": 2, "eta": 0.2, "num_boost_round": 25}
SECOND_PARAMS = {"max_depth": 4, "eta": 0.06, "num_boost_round": 400}
DERIVED = {"burden": "(debt + amount) / income"}


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What the demo measured.

    Args:
        first, second: versions trained; the second is the champion.
        run: the committed batch run.
        job: id of its Ray job.
        latencies_ms: of the live requests, (n_requests,).
        check: both paths compared.
        endpoint: URL of the served model.
        state: the stack that is left running.
    """

    first: TrainedVersion
    second: TrainedVersion
    run: RunReport
    job: str
    latencies_ms: np.ndarray
    check: ParityCheck
    endpoint: str
    state: StackState
    seconds: float

    def latency_ms(self, share: float) -> float:
        """Return the latency that `share` of the live requests stayed below, in milliseconds."""
        return float(np.quantile(self.latencies_ms, share))


def run_demo(settings: Settings, *, rows: int, requests: int, parity_rows: int, say: Say) -> DemoSummary:
    """Run the main job and leave the stack up.

    Args:
        settings: where everything goes.
        rows: loans to score in bulk.
        requests: live requests of one loan each.
        parity_rows: loans to send through both paths.
        say: is told what happens, a sentence at a time.

    Raises:
        TwinscoreError: a step failed; the stack stays as it is for a look, `twinscore down` stops it.
    """
    from twinscore.access.local import local_key
    from twinscore.batch.report import RunReport
    from twinscore.clock import SystemClock
    from twinscore.online.check import parity
    from twinscore.online.deploy import serve_model
    from twinscore.stack import connect, up
    from twinscore.stack.environment import client_environment

    began = time.monotonic()
    state = up(settings, on_step=say)
    os.environ.update(client_environment(state))  # the job client reads the token's place from here
    folder = _write_book(settings, rows, say)
    first, second = _train_two(settings, say)

    output = f"predictions/{MODEL}/v{second.version}"
    say(f"Scoring {rows:,} loans in bulk with {MODEL}@champion, as a Ray job")
    job = run_score_job(state.ray.dashboard, output=output, on_progress=_Job(say).on_progress)
    run = _committed(settings.lake / output, RunReport)
    if run.rows_in != rows:
        message = f"The run at {run.folder} holds {run.rows_in:,} rows, {rows:,} were written to {folder}."
        raise PredictFailed(message, rows_in=run.rows_in, rows=rows)

    say(f"Serving {MODEL}@champion at /{MODEL}")
    with connect(settings, need_stack=True):
        endpoint = serve_model(settings, f"{MODEL}@champion")
    say(f"Sending {requests:,} live requests of one loan each")
    latencies = _send(endpoint, folder, requests, local_key(settings.home, now=SystemClock().now()))
    say(f"Sending {parity_rows:,} loans through both paths and comparing every bit")
    check = parity(settings, f"{MODEL}@champion", folder, parity_rows)
    if not check.equal:
        message = f"Both paths differ in {check.report.differing_bits:,} bits; first: {check.report.first}"
        raise PredictFailed(message, differing_rows=check.report.differing_rows)
    return DemoSummary(first, second, run, job, latencies, check, endpoint, state, time.monotonic() - began)


def _write_book(settings: Settings, rows: int, say: Say) -> Path:
    folder = settings.lake / "data" / MODEL
    say(f"Writing {rows:,} loans to {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    # A year after the training book: other loans, a little drift, and a few broken rows.
    write_loan_files(folder, LoanBook(rows, seed=2, first_id=10_000_000, drift=0.1, faults=FAULTS), files=SCORING_FILES)
    return folder


def _train_two(settings: Settings, say: Say) -> tuple[TrainedVersion, TrainedVersion]:
    import pyarrow.parquet as pq

    from twinscore.training.train import train

    book = loan_book(LoanBook(TRAINING_ROWS, seed=1))
    # Kept for jobs/train_model.py, whose spec reads it.
    pq.write_table(book, settings.lake / "data" / f"{MODEL}_history.parquet")
    book = book.drop_columns(["outcome_at"])
    trained = []
    for params, alias in ((FIRST_PARAMS, None), (SECOND_PARAMS, "champion")):
        say(f"Training a version of {MODEL} on {TRAINING_ROWS:,} loans with known outcomes")
        version = train(
            settings,
            model=MODEL,
            data=book,
            label=LABEL,
            key=KEY,
            task="classification",
            time=TIME,
            groups=[GROUP],
            drop=[GROUP],
            derived=DERIVED,
            params=params,
            alias=alias,
        )
        aliases = f", @{', @'.join(version.aliases)}" if version.aliases else ""
        say(f"Registered {version.ref}: test AUC {version.metrics['auc']:.4f}{aliases}")
        trained.append(version)
    return trained[0], trained[1]


class _Job:
    """Turns the job's JSON lines into sentences, at most one per step and tenth of the rows."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._tenth = 0

    def on_progress(self, event: dict[str, Any]) -> None:
        done, total = int(event.get("rows_done", 0)), int(event.get("rows_total", 0))
        tenth = 10 * done // total if total else 0
        if event.get("event") == "score" and tenth > self._tenth:
            self._tenth = tenth
            self._say(f"  scored {done:,} of {total:,} loans, {int(event.get('rows_per_s', 0)):,} rows/s")


def _committed(folder: Path, report: type[RunReport]) -> RunReport:
    from twinscore.batch.read import open_run

    found = open_run(folder)
    found.verify()
    return report(folder, found.manifest, already_committed=True)


def _send(endpoint: str, folder: Path, requests: int, api_key: str | None) -> np.ndarray:
    """Send single loans one after the other; return milliseconds of each, (n_requests,)."""
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from twinscore.contract.rows import table_to_rows
    from twinscore.online.client import PredictClient

    table = ds.dataset(folder).head(4 * requests)
    sane = pc.and_(pc.is_valid(table["amount"]), pc.and_(pc.greater(table["age"], 0), pc.is_finite(table["debt"])))
    table = table.filter(pc.and_(sane, pc.not_equal(table["purpose"], "yacht"))).slice(0, requests)
    latencies = []
    with PredictClient(endpoint, api_key=api_key) as client:
        for row in table_to_rows(table):
            began = time.perf_counter()
            client.predict(row)
            latencies.append(1000.0 * (time.perf_counter() - began))
    return np.array(latencies)
