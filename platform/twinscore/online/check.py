"""The promise held against a running endpoint: the same rows through both paths, compared bit by bit.

The batch side is the scoring core on a table, or what a committed run has on disk; the online side is HTTP. Both must
be the same version, refuse the same rows and give the same bits for the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from twinscore.access.local import local_key
from twinscore.clock import SystemClock
from twinscore.errors import (
    FileUnreadable,
    InputEmpty,
    ModelNotReady,
)
from twinscore.online.client import PredictClient
from twinscore.online.exchange import Progress, ask_all, group_rows
from twinscore.ports.model_store import parse_ref

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle
    from twinscore.scoring.parity import ParityReport, StoredScores
    from twinscore.settings import Settings

__all__ = ["ParityCheck", "compare_answers", "compare_paths", "parity", "run_parity"]


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """What a comparison of both paths found."""

    report: ParityReport
    """The accepted rows, compared bit by bit."""
    model: str
    version: str
    bundle_digest: str
    n_rows: int
    """Rows taken from the input, refused ones included."""
    n_refused: int
    """Rows that the batch path refused."""
    verdicts_differ: tuple[int, ...]
    """Positions of rows that one path refused and the other scored."""
    n_requests: int
    n_single: int
    """Requests that carried one row."""
    seconds: float
    n_by_key: int = 0
    """Rows of a run that it refused for their key alone, which no endpoint can judge; not asked for."""

    @property
    def equal(self) -> bool:
        """Whether no bit and no verdict differs."""
        return self.report.differing_rows == 0 and not self.verdicts_differ


def parity(
    settings: Settings,
    model: str,
    input: str | Path,  # noqa: A002 - the word that the command and the docs use
    rows: int,
    *,
    url: str | None = None,
    api_key: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ParityCheck:
    """Score the first `rows` rows of Parquet through both paths and compare every bit.

    Args:
        settings: where the registry, the bundle store and the endpoints are.
        model: what is served: `NAME`, or `NAME@ALIAS` / `NAME/VERSION`, which must then be the served version.
        input: a Parquet file, a folder of them or a glob.
        rows: how many rows to take, from the start.
        url: address of the endpoint, when it is not this stack's.
        api_key: key for that address; this stack's own is found in the home, and sent nowhere else.
        seed: decides how rows are grouped into requests.
        progress: called with rows done and rows to do.

    Raises:
        ModelNotReady: the model is not served, or another version of it is.
        FileUnreadable, InputEmpty, SchemaMismatch: the input cannot be used.
        Unauthenticated, Forbidden: the endpoint asks for a key, or for another one.
        PredictFailed: the endpoint stopped answering, or changed its version meanwhile.
    """
    from twinscore.wiring import load_version

    name = parse_ref(model).model
    with _client(settings, name, url, api_key) as client:
        served = client.version()
        asked = f"{name}/{served['version']}" if model == name else model
        found, bundle = load_version(settings, asked)
        if bundle.digest != served["bundle_digest"]:
            message = (
                f"{client.url} serves version {served['version']} (bundle {served['bundle_digest'][:12]}), but {model}"
                f" is version {found.version} (bundle {bundle.digest[:12]}). Run `twinscore serve --model {model}`."
            )
            raise ModelNotReady(message, url=client.url, served=served["version"], asked=found.version)
        table = bundle.checker.conform(_first_rows(Path(input), rows, bundle), source=str(input))
        return compare_paths(client, table, bundle, seed=seed, progress=progress)


def run_parity(
    settings: Settings,
    run: StoredScores,
    *,
    url: str | None = None,
    api_key: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ParityCheck:
    """Ask the endpoint for the rows of a committed run, and compare its answers with what the run has on disk.

    Args:
        settings: where the endpoints are.
        run: the run's input rows, and what it wrote for them.
        url, api_key, seed, progress: as for `parity`.

    Raises:
        ModelNotReady: the model is not served, or another version than the run's is.
        PredictFailed: the endpoint stopped answering, or changed its version meanwhile.
    """
    with _client(settings, run.model, url, api_key) as client:
        served = client.version()
        if served["bundle_digest"] != run.bundle_digest:
            message = (
                f"{client.url} serves version {served['version']} (bundle {served['bundle_digest'][:12]}), and run "
                f"{run.run_id} was scored by version {run.version} (bundle {run.bundle_digest[:12]}). "
                f"Run `twinscore serve --model {run.model}/{run.version}`."
            )
            raise ModelNotReady(message, url=client.url, served=served["version"], asked=run.version)
        found = compare_answers(client, run.table, run.scores, run.accepted, seed=seed, progress=progress)
        return replace(found, n_by_key=run.n_by_key)


def _client(settings: Settings, model: str, url: str | None, api_key: str | None) -> PredictClient:
    """Return a client of this stack's endpoint, or of the one at `url`, which gets no key of this stack."""
    from twinscore.online.deploy import endpoint_url

    if url is None:
        url = endpoint_url(settings, model)
        api_key = api_key or local_key(settings.home, now=SystemClock().now())
    return PredictClient(url, api_key=api_key, timeout_s=settings.request_timeout_s)


def compare_paths(
    client: PredictClient, table: pa.Table, bundle: Bundle, *, seed: int = 0, progress: Progress | None = None
) -> ParityCheck:
    """Score a conformed table with the bundle and through the client, and compare.

    Args:
        table: (n_rows, contract.columns).
    """
    from twinscore.scoring.table import check_and_score

    verdict, scored = check_and_score(table, bundle)
    accepted = verdict.accepted.nonzero()[0].tolist()
    return compare_answers(client, table, scored, accepted, seed=seed, progress=progress)


def compare_answers(
    client: PredictClient,
    table: pa.Table,
    scored: pa.Table,
    accepted: Sequence[int],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> ParityCheck:
    """Ask the client for every row of a table, and compare with scores that are known.

    Args:
        table: (n_rows, contract.columns).
        scored: (n_accepted, SCORE_SCHEMA).
        accepted: positions of the scored rows in the table, in the order of `scored`; the others must be refused.
    """
    served = client.version()
    version = str(served["version"])
    started = time.monotonic()
    requests = group_rows(table, set(accepted), seed)
    answers = ask_all(client, requests, table.num_rows, version, progress)
    return ParityCheck(
        report=_compare(scored, accepted, answers),
        model=str(served["model"]),
        version=version,
        bundle_digest=str(served["bundle_digest"]),
        n_rows=table.num_rows,
        n_refused=table.num_rows - len(accepted),
        verdicts_differ=tuple(sorted(set(accepted) ^ answers.keys())),
        n_requests=len(requests),
        n_single=sum(len(request.positions) == 1 for request in requests),
        seconds=time.monotonic() - started,
    )


def _first_rows(source: Path, n_rows: int, bundle: Bundle) -> pa.Table:
    """Return the contract's columns of the first rows: (n_rows, those present in the input)."""
    import pyarrow.dataset as ds

    if source.is_dir():
        files = sorted(path for path in source.rglob("*.parquet") if not _hidden(path.relative_to(source)))
    else:
        files = [source] if source.exists() else sorted(source.parent.glob(source.name))
    if not files:
        message = f"{source} holds no Parquet file; give a file, a folder or a glob."
        raise FileUnreadable(message, path=str(source))
    try:
        dataset = ds.dataset([str(path) for path in files], format="parquet")
        present = [name for name in bundle.contract.schema.names if name in dataset.schema.names]
        table = dataset.head(n_rows, columns=present)
    except (OSError, pa.ArrowException) as error:
        message = f"{source} cannot be read as Parquet: {str(error)[:300]}"
        raise FileUnreadable(message, path=str(source)) from error
    if table.num_rows == 0:
        message = f"{source} has no rows to compare."
        raise InputEmpty(message, path=str(source))
    return table


def _hidden(path: Path) -> bool:
    return any(part.startswith(("_", ".")) for part in path.parts)


def _compare(scored: pa.Table, accepted: Sequence[int], answers: dict[int, dict[str, Any]]) -> ParityReport:
    """Compare the rows that both paths accepted; the others are verdict differences, counted by the caller."""
    from twinscore.scoring.parity import compare

    both = [(place, position) for place, position in enumerate(accepted) if position in answers]
    places = pa.array([place for place, _ in both], pa.int64())
    positions = pa.array([position for _, position in both], pa.int64())
    batch = scored.take(places).append_column("row", positions)
    online = _as_scores([answers[position] for _, position in both], scored.schema).append_column("row", positions)
    return compare(batch, online, key=["row"])


def _as_scores(predictions: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Return predictions as a table of the scoring core's schema; no value is rounded on the way."""
    columns = [pa.array([_value(prediction, field.name) for prediction in predictions], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _value(prediction: dict[str, Any], name: str) -> Any:
    if name == "uncertainty":
        return prediction["uncertainty"]["value"]
    if name in {"lower", "upper", "prediction_set"}:
        return prediction["uncertainty"][name]
    return prediction[name]
