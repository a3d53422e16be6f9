"""Counts a piece of the audit log: its rows as blocks, its requests as service; knows no Ray and no store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.audit.checks import are_checks
from twinscore.audit.record import FEATURE
from twinscore.audit.watched import piece_state, read_watched
from twinscore.monitoring.contribution import Contribution
from twinscore.monitoring.plan import plan_of
from twinscore.monitoring.scored_rows import block_of, codes_of, with_labels
from twinscore.monitoring.tally import WindowTally
from twinscore.monitoring.tally_service import Requests, ServiceTally
from twinscore.monitoring.window_key import WindowKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from twinscore.audit.watched import PieceState
    from twinscore.audit.window import Piece
    from twinscore.batch.watch_labels import KnownLabels
    from twinscore.bundle.files import Bundle
    from twinscore.contract.model import Contract
    from twinscore.monitoring.plan import Plan
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["CountedPiece", "count_piece"]

_FACTS = ("role", "version", "bundle_digest", "contract_digest")
_REQUEST = ("received_at", "took_us", "status", "code", "source", "degraded", "row", "sequence")
_OUTPUTS = ("score", "decision", "lower", "upper", "prediction_set", "review")
_SHED = "overloaded"


@dataclass(frozen=True, slots=True)
class CountedPiece:
    """What a piece adds, and of which content."""

    state: PieceState
    contribution: Contribution
    rows: int
    requests: int
    labels: str
    """Digest of the outcomes that were joined; empty without labels."""


class _Reading:
    """What rows are read as; keeps what was learnt of bundles."""

    def __init__(
        self, bundle_of: Callable[[str], Bundle], spec: MonitorSpec, labels: KnownLabels | None, *, glance: bool
    ) -> None:
        self.bundle_of, self.spec, self.labels, self.glance = bundle_of, spec, labels, glance
        self._bundles: dict[str, Bundle] = {}
        self._plans: dict[str, Plan] = {}

    def columns(self, names: Sequence[str], digests: Sequence[str]) -> list[str]:
        """Pick what is needed of a table's columns."""
        wanted = {*_FACTS, *_REQUEST, *_OUTPUTS}
        raw = set(self.spec.segments)
        for digest in digests:
            if digest:
                bundle = self.bundle(digest)
                raw |= set(bundle.contract.key) if self.labels is not None else set()
                if not self.glance:
                    raw |= {*bundle.spec.columns.names, *self.groups(bundle)}
        if self.labels is not None:
            wanted.add("request_id")
        wanted |= {f"{FEATURE}{name}" for name in raw}
        return [name for name in names if name in wanted]

    def bundle(self, digest: str) -> Bundle:
        """Return a bundle by its digest."""
        if digest not in self._bundles:
            self._bundles[digest] = self.bundle_of(digest)
        return self._bundles[digest]

    def plan(self, bundle: Bundle) -> Plan:
        """Return how rows of a bundle are counted."""
        if bundle.digest not in self._plans:
            self._plans[bundle.digest] = plan_of(bundle)
        return self._plans[bundle.digest]

    def groups(self, bundle: Bundle) -> tuple[str, ...]:
        """Return the group columns of a version."""
        return self.spec.groups or bundle.card.groups

    def hidden(self, contract_digest: str, bundle: Bundle) -> set[str]:
        """Return the columns of which the log has no values."""
        known = [one.contract for one in self._bundles.values() if one.contract_digest == contract_digest]
        contract = known[0] if known else bundle.contract
        return {column.name for column in contract.columns if column.audit != "keep"}


def count_piece(
    folder: Path,
    piece: Piece,
    *,
    model: str,
    bundle_of: Callable[[str], Bundle],
    spec: MonitorSpec,
    length: timedelta,
    salt: bytes,
    labels: KnownLabels | None = None,
    glance: bool = False,
    contract_of: Callable[[str], Contract] | None = None,
) -> CountedPiece | None:
    """Count every record of a piece of the log in `folder`, but the platform's own checks; None when it is gone.

    Args:
        bundle_of: a bundle by its digest.
        length: of a window.
        salt: of the audit log; tells checks from traffic.
        labels: outcomes; None where none are watched.
        glance: only look which outcomes are known, and count nothing.
        contract_of: the contract of a bundle, by the bundle's digest, or one by its own; None asks `bundle_of`.

    Raises:
        AuditDamaged: the piece cannot be read.
        BundleInvalid: a version that answered is not at hand, or no bundle has the contract that records name.
    """
    reading = _Reading(bundle_of, spec, labels, glance=glance)
    state = piece_state(folder, piece)
    if state is None:
        return None
    try:
        known = contract_of or (lambda digest: reading.bundle(digest).contract)
        chain, tables = read_watched(folder, piece, known, reading.columns)
    except FileNotFoundError:
        return None
    found = Contribution()
    rows = requests = 0
    last = -1
    told = None if labels is None else labels.begin()
    for whole in tables:
        table = _traffic(whole, salt)
        first = _first_of_record(table["sequence"].to_numpy(), last)
        last = int(table["sequence"][-1].as_py()) if table.num_rows else last
        requests += int(np.count_nonzero(first))
        rows += table.num_rows - table["score"].null_count
        for key, digest, mask in _groups(table, model, length):
            _add(found, key, digest, table, mask, first, reading, told)
    return CountedPiece(state._replace(chain=chain), found, rows, requests, "" if told is None else told.digest)


def _traffic(table: pa.Table, salt: bytes) -> pa.Table:
    """Return the rows that somebody asked for."""
    if "request_id" not in table.column_names:
        return table
    checks = are_checks(table["request_id"], salt)
    return table.filter(pa.array(~checks)) if checks.any() else table


def _add(
    found: Contribution, key: WindowKey, contract: str, table: pa.Table, mask: NDArray[np.bool_],
    first: NDArray[np.bool_], reading: _Reading, told: KnownLabels | None,
) -> None:  # fmt: skip
    whole = bool(mask.all())
    rows = table if whole else table.filter(pa.array(mask))
    scored_mask = rows["score"].is_valid().to_numpy()
    cached = _is(rows["source"], "cache")
    found.add(key, WindowTally(service=_service(rows, first if whole else first[mask], scored_mask, cached)))
    if not key.bundle_digest:
        return
    bundle = reading.bundle(key.bundle_digest)
    for of_cache in (False, True):
        kept = scored_mask & (cached == of_cache)
        if kept.any():
            part = rows if kept.all() else rows.filter(pa.array(kept))
            _add_scored(found, key, part, contract, bundle, reading, told, of_cache=of_cache)


def _add_scored(
    found: Contribution, key: WindowKey, rows: pa.Table, contract: str, bundle: Bundle, reading: _Reading,
    told: KnownLabels | None, *, of_cache: bool,
) -> None:  # fmt: skip
    """Count rows with a score; one that a batch run answered had the features of its own time."""
    raw = rows.select([name for name in rows.column_names if name.startswith(FEATURE)])
    raw = raw.rename_columns([name.removeprefix(FEATURE) for name in raw.column_names])
    outcome = None
    if told is not None:
        outcome = told.outcomes(raw, bundle.contract, rows["request_id"], rows["received_at"])
    if reading.glance:
        return
    hidden = set(raw.column_names) if of_cache else reading.hidden(contract, bundle)
    known = raw.select([name for name in raw.column_names if name not in hidden])
    scored = rows.select(list(_OUTPUTS))
    block = block_of(known, scored, bundle)
    groups = {name: codes_of(raw[name]) for name in reading.groups(bundle) if name in raw.column_names}
    block = block.with_groups(groups)
    if outcome is not None:
        block = with_labels(block, scored, outcome.value, bundle, outcome.delay_s)
    segments = {name: codes_of(raw[name]) for name in reading.spec.segments if name in raw.column_names}
    found.add_rows(key, block, reading.plan(bundle), segments)
    found.add_explained(key, block, reading.plan(bundle), bundle, reading.spec.attribution_share)


def _service(
    rows: pa.Table, first: NDArray[np.bool_], scored: NDArray[np.bool_], cached: NDArray[np.bool_]
) -> ServiceTally:
    heads = rows.select(["status", "code", "took_us"])
    heads = heads if first.all() else heads.filter(pa.array(first))
    degraded = np.zeros(len(scored), bool)
    if "degraded" in rows.column_names:
        degraded = pc.fill_null(rows["degraded"], False).to_numpy()
    return ServiceTally.of(
        Requests(
            status=heads["status"].to_numpy().astype(np.int64),
            shed=_is(heads["code"], _SHED),
            took_us=heads["took_us"].to_numpy(),
            answered=int(np.count_nonzero(scored)),
            refused=int(np.count_nonzero(rows["row"].is_valid().to_numpy() & ~scored)),
            cached=int(np.count_nonzero(cached & scored)),
            degraded=int(np.count_nonzero(degraded & scored)),
        )
    )


def _first_of_record(sequence: NDArray[np.int64], last: int) -> NDArray[np.bool_]:
    """Tell which rows are the first of their record: (n_rows,); the rows of a record stand together."""
    first: NDArray[np.bool_] = np.diff(sequence, prepend=last) != 0
    return first


def _groups(table: pa.Table, model: str, length: timedelta) -> Iterator[tuple[WindowKey, str, NDArray[np.bool_]]]:
    """Yield the key, contract and rows of each window, version and role in a table."""
    step = length // timedelta(microseconds=1)
    windows = table["received_at"].cast(pa.int64()).to_numpy() // step
    columns = [_encoded(table[name]) for name in _FACTS]
    code = windows - windows.min(initial=0)
    for column in columns:
        code = code * len(column.dictionary) + column.indices.to_numpy()
    found, at, which = np.unique(code, return_index=True, return_inverse=True)
    for number, place in enumerate(at.tolist()):
        role, version, digest, contract = (column[place].as_py() for column in columns)
        start = datetime.fromtimestamp(0, UTC) + int(windows[place]) * length
        key = WindowKey(
            model=model, version=version, bundle_digest=digest, role=role, path="online", segment="", start=start,
            end=start + length,
        )  # fmt: skip
        yield key, contract, which == number if len(found) > 1 else np.ones(table.num_rows, bool)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    array = column.combine_chunks()
    return array if pa.types.is_dictionary(array.type) else array.dictionary_encode()


def _is(column: pa.ChunkedArray, text: str) -> NDArray[np.bool_]:
    """Tell which cells of a column of few values are a text: (n_rows,)."""
    coded = _encoded(column)
    place = coded.dictionary.index(text).as_py()
    codes: NDArray[np.int32] = pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False)
    mask: NDArray[np.bool_] = (codes == place) & (codes >= 0)
    return mask
