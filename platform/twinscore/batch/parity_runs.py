"""Rows of a run asked of the endpoint, and its answers held against what the run has on disk; knows no HTTP."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from twinscore.batch.rescore import at_places, rescore
from twinscore.contract.rows import table_to_rows
from twinscore.monitoring.parity_ask import side_of
from twinscore.monitoring.parity_cause import find_cause
from twinscore.monitoring.parity_compare import INPUT, VERDICT, Side, compare_sides
from twinscore.monitoring.parity_report import CheckedPart, FirstDifference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.parity_ask import Asked, Live, LiveEndpoint
    from twinscore.monitoring.parity_compare import Differences
    from twinscore.scoring.parity import StoredScores

__all__ = ["check_run", "check_with_live"]

_EXPLAINED = 5
"""Rows whose features are asked for as well: an input that is seen otherwise moves a score only now and then."""


def check_run(stored: StoredScores, bundle: Bundle, endpoint: LiveEndpoint, live: Live) -> CheckedPart:
    """Compare the answers of the endpoint with what a run of the live version has on disk."""
    refused = np.ones(stored.table.num_rows, bool)
    refused[list(stored.accepted)] = False
    scores = at_places(stored.scores, np.array(stored.accepted, np.int64), stored.table.num_rows)
    left_out = {"refused by the run for their key alone": stored.n_by_key} if stored.n_by_key else {}
    return _check(stored.table, Side(scores, refused), bundle, endpoint, live, left_out)


def check_with_live(
    stored: StoredScores, bundle: Bundle, endpoint: LiveEndpoint, live: Live
) -> tuple[CheckedPart, CheckedPart]:
    """Say that a run is of another version than the live one, and compare the live one's two paths on the run's rows.

    Args:
        bundle: the live version.

    Raises:
        SchemaMismatch: the run's rows lack a column of the live version's contract.
    """
    other = CheckedPart(
        direction="batch", version=stored.version, role="batch", checked=0, differing=0, verdicts=0, ulps=0,
        left_out={f"of another version than the live {live.version}": stored.table.num_rows},
    )  # fmt: skip
    table = bundle.checker.conform(stored.table, source=f"run {stored.run_id}")
    with tempfile.TemporaryDirectory(prefix="twinscore-parity-") as folder:
        again = rescore(table, bundle, Path(folder))
    return other, _check(table, again.side, bundle, endpoint, live, {})


def _check(
    table: pa.Table, batch: Side, bundle: Bundle, endpoint: LiveEndpoint, live: Live, left_out: Mapping[str, int]
) -> CheckedPart:
    rows = table_to_rows(table)
    answers = [*endpoint.ask(rows[:_EXPLAINED], live, explain=True), *endpoint.ask(rows[_EXPLAINED:], live)]
    reasons = Counter(left_out)
    reasons.update(one.state for one in answers if one.state not in ("scored", "refused"))
    places = [place for place, one in enumerate(answers) if one.state in ("scored", "refused")]
    mine, told = batch.take(places), [answers[place] for place in places]
    kept, sent = table.take(pa.array(places, pa.int64())), [rows[place] for place in places]
    found = compare_sides(mine, side_of(told))
    found = replace(found, columns={**found.columns, **_inputs(kept, sent, told, bundle)})
    first = _first(kept, sent, mine, told, found, bundle, endpoint, live) if found.rows.any() else None
    return CheckedPart(
        direction="batch", version=live.version, role="batch", checked=len(places), differing=int(found.rows.sum()),
        verdicts=int(found.columns[VERDICT].sum()), ulps=int(found.ulps.max(initial=0)),
        columns={name: int(differs.sum()) for name, differs in found.columns.items() if differs.any()},
        first=first, left_out=dict(reasons),
    )  # fmt: skip


def _inputs(
    table: pa.Table, sent: Sequence[Mapping[str, Any]], answers: Sequence[Asked], bundle: Bundle
) -> dict[str, NDArray[np.bool_]]:
    """Return where a feature that the endpoint showed is not what the batch path has: (n_rows,) by feature."""
    found: dict[str, NDArray[np.bool_]] = {}
    for place, answer in enumerate(answers):
        for name, _, _ in _seen(table.slice(place, 1), sent[place], answer.seen, bundle) if answer.seen else ():
            found.setdefault(f"{INPUT}{name}", np.zeros(len(answers), bool))[place] = True
    return found


def _first(
    table: pa.Table, rows: Sequence[Mapping[str, Any]], batch: Side, answers: Sequence[Asked], found: Differences,
    bundle: Bundle, endpoint: LiveEndpoint, live: Live,
) -> FirstDifference:  # fmt: skip
    scores = found.columns["score"]
    place = int(np.argmax(scores if scores.any() else found.rows))
    column = found.first_column(place)
    feature = cause = ""
    said: tuple[Any, Any]
    seen = answers[place].seen
    if column == VERDICT:
        verdict = bundle.checker.check(table.slice(place, 1)).faults["rule"].to_pylist()
        said = ((verdict or ["refused"])[0] if batch.refused[place] else "accepted", answers[place].rule or "accepted")
    elif not seen:
        (again,) = endpoint.ask([rows[place]], live, explain=True)
        seen = again.seen
    differing = _seen(table.slice(place, 1), rows[place], seen, bundle)
    if differing:
        feature, mine, theirs = differing[0]
        cause = f"{feature} is {mine!r} in batch, and the endpoint saw {theirs!r}"
    if column.startswith(INPUT):
        said = differing[0][1:]
    elif column != VERDICT:
        said = batch.scores[column][place].as_py(), answers[place].cells.get(column)
    if column == "score" and not cause:
        both = np.flatnonzero(~(batch.refused | np.array([one.state == "refused" for one in answers])))
        told = np.array([answers[one].cells["score"] for one in both.tolist()], np.float64)
        explained = find_cause(table.take(pa.array(both)), told, bundle)
        cause = "none of the usual faults explains the scores" if explained is None else explained.says
        feature = "" if explained is None else explained.features[0]
    key = ", ".join(f"{name}={rows[place][name]!r}" for name in bundle.contract.key)
    return FirstDifference(
        row=key, column=column, batch=said[0], online=said[1], feature=feature, cause=cause
    )  # fmt: skip


def _seen(
    row: pa.Table, sent: Mapping[str, Any], seen: Mapping[str, Any], bundle: Bundle
) -> list[tuple[str, Any, Any]]:
    """Return the features that the endpoint says it saw otherwise than the batch path does, with both values."""
    encoded = bundle.spec.encode(row)[0]
    found = []
    for place, feature in enumerate(bundle.spec.features):
        number = None if np.isnan(encoded[place]) else float(encoded[place])
        batch = number if feature.expression is not None else sent[feature.name]
        if feature.name in seen and batch != seen[feature.name]:
            found.append((feature.name, batch, seen[feature.name]))
    return found
