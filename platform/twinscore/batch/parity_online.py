"""Answers of the audit log scored again through the batch path, a seeded sample of each version and role; no Ray.

The rows go through Parquet and a shard as in a run (see `rescore`). Scores, decisions, intervals, prediction sets and
verdicts are compared bit by bit; where a score differs, the cells as both paths read them are, then what both encoders
make of them; and where these agree, the usual faults are tried until one explains what was recorded.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.checks import are_checks
from twinscore.audit.replay import logged_features, unable_to_replay
from twinscore.audit.sample import Sampler
from twinscore.audit.window import pieces_of, read_piece
from twinscore.batch.rescore import rescore
from twinscore.errors import BundleInvalid
from twinscore.monitoring.parity_cause import find_cause
from twinscore.monitoring.parity_compare import INPUT, VERDICT, Side, compare_sides, differing_cells, first_differing
from twinscore.monitoring.parity_report import CheckedPart, FirstDifference
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from twinscore.audit.sample import Stratum
    from twinscore.audit.window import Window
    from twinscore.batch.rescore import Rescored
    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.parity_compare import Differences

__all__ = ["ROLES", "check_answers", "sample_answers", "seen_difference"]

ROLES = ("live", "canary", "challenger", "shadow")


def sample_answers(
    log: Path,
    bundle_of: Callable[[str], Bundle],
    *,
    window: Window,
    rows: int,
    seed: int,
    salt: bytes,
    roles: Sequence[str] = ROLES,
    on_damage: Callable[[str], None] = lambda _: None,
) -> dict[Stratum, pa.Table]:
    """Return a sample of what was answered in a window; what the platform itself asked to check is no traffic.

    Args:
        log: folder of the model's audit log.
        bundle_of: a version by its bundle's digest.
        salt: of the audit log, by which checks are known.
        on_damage: is told of a segment that cannot be read, as it stands or without the version that answered it.

    Returns:
        (n_rows, log_schema) by version and role: scored rows, and rows that the contract refused.
    """
    sampler = Sampler(rows, seed)
    for piece in pieces_of(log):
        try:
            tables = read_piece(
                log, piece, lambda digest: bundle_of(digest).contract, window=window, roles=roles,
                on_damage=lambda found: on_damage(found.message),
            )  # fmt: skip
        except BundleInvalid as error:
            on_damage(error.message)
            continue
        for table in tables:
            judged = pc.or_(pc.is_valid(table["score"]), pc.is_valid(table["fault_rules"]))
            kept = table.filter(judged)
            if kept.num_rows:
                sampler.add(kept.filter(pa.array(~are_checks(kept["request_id"], salt))))
    return sampler.taken()


def check_answers(rows: pa.Table, stratum: Stratum, bundle: Bundle) -> CheckedPart:
    """Score sampled rows of one version and role again, and compare.

    Args:
        rows: (n_rows, log_schema), of the stratum.
        bundle: the version that answered.
    """
    left_out: Counter[str] = Counter()

    def nothing_but(kept: NDArray[np.bool_], reason: str) -> None:
        nonlocal rows
        if not kept.all():
            left_out[reason] += int((~kept).sum())
            rows = rows.filter(pa.array(kept))

    nothing_but(pc.not_equal(rows["source"], "cache").to_numpy(), "answered from a batch run")
    known = {rule.id for rule in bundle.checker.rules}
    broken = rows["fault_rules"].to_pylist()
    asked = np.array([not faults or known.issuperset(faults) for faults in broken], bool)
    nothing_but(asked, "could not be read as a row")
    unable = unable_to_replay(rows, bundle) if rows.num_rows else ""
    if unable:
        nothing_but(np.zeros(rows.num_rows, bool), unable)
    about = {"direction": "online", "version": stratum.version, "role": stratum.role, "left_out": dict(left_out)}
    if not rows.num_rows:
        return CheckedPart(**about, checked=0, differing=0, verdicts=0, ulps=0)  # type: ignore[arg-type]
    cells = logged_features(rows, bundle)
    with tempfile.TemporaryDirectory(prefix="twinscore-parity-") as folder:
        again = rescore(cells, bundle, Path(folder))
    logged = Side(rows.select(SCORE_SCHEMA.names).cast(SCORE_SCHEMA), rows["score"].is_null().to_numpy())
    found = compare_sides(again.side, logged)
    # A cell that was read otherwise is a difference, whether or not a score moved by it.
    read = {f"{INPUT}{name}": differing_cells(again.read[name], cells[name]) for name in cells.column_names}
    found = replace(found, columns={**found.columns, **read})
    return CheckedPart(
        **about,  # type: ignore[arg-type]
        checked=rows.num_rows,
        differing=int(found.rows.sum()),
        verdicts=int(found.columns[VERDICT].sum()),
        ulps=int(found.ulps.max(initial=0)),
        columns={name: int(differs.sum()) for name, differs in found.columns.items() if differs.any()},
        first=_first(rows, cells, logged, again, found, bundle),
    )


def _first(
    rows: pa.Table, cells: pa.Table, logged: Side, again: Rescored, found: Differences, bundle: Bundle
) -> FirstDifference | None:
    if not found.rows.any():
        return None
    scores = found.columns["score"]
    place = int(np.argmax(scores if scores.any() else found.rows))
    column = found.first_column(place)
    feature, cause = seen_difference(again.read, cells, place, bundle) if column != VERDICT else ("", "")
    if column == "score" and not cause:
        both = np.flatnonzero(~(logged.refused | again.side.refused))
        explained = find_cause(
            cells.take(pa.array(both)), logged.scores["score"].take(pa.array(both)).to_numpy(), bundle
        )
        if explained is None:
            cause = "both paths saw the same features, and none of the usual faults explains the recorded scores"
        else:
            feature, cause = explained.features[0], explained.says
    if column == VERDICT:
        batch = again.rules.get(place, "accepted") if again.side.refused[place] else "accepted"
        online = (rows["fault_rules"][place].as_py() or ["refused"])[0] if logged.refused[place] else "accepted"
    else:
        tables = (again.read, cells) if column.startswith(INPUT) else (again.side.scores, logged.scores)
        batch, online = (table[column.removeprefix(INPUT)][place].as_py() for table in tables)
    return FirstDifference(
        row=f"request {rows['request_id'][place].as_py()}, row {rows['row'][place].as_py()}",
        column=column, batch=batch, online=online, feature=feature, cause=cause,
    )  # fmt: skip


def seen_difference(batch: pa.Table, online: pa.Table, place: int, bundle: Bundle) -> tuple[str, str]:
    """Return the first column or feature of a row that both paths did not see alike, and a sentence; empty if none.

    Args:
        batch, online: the cells as each path read them: (n_rows, contract columns).
        place: of the row.
    """
    cell = first_differing(batch, online, place)
    if cell is not None:
        name, one, other = cell
        return name, f"{name} is {one!r} in batch, {other!r} online"
    encoded = (
        bundle.spec.encode(batch.slice(place, 1))[0],
        bundle.spec.encode_row(online.slice(place, 1).to_pylist()[0]),
    )
    bits = [np.where(np.isnan(side), np.float32(np.nan), side).view(np.uint32) for side in encoded]
    off = np.flatnonzero(bits[0] != bits[1])
    if len(off):
        name = bundle.spec.names[off[0]]
        return name, f"the model sees {name} as {encoded[0][off[0]]!s} in batch, as {encoded[1][off[0]]!s} online"
    return "", ""
