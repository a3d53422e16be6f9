"""The comparison of two versions on the same rows as plain data, JSON-able, every figure with its interval; pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from twinscore.bundle.profile import bin_counts, bin_edges
from twinscore.bundle.shift import psi, shift_of
from twinscore.comparison.estimate import LEVEL, METHODS, Estimate
from twinscore.comparison.pairs import Pairs
from twinscore.comparison.ranks import kendall, rank_correlation, spearman
from twinscore.comparison.segments import segments_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["COMPARISON_FORMAT", "Side", "compare"]

COMPARISON_FORMAT = 1
FEWEST_ROWS = 30
"""A segment with fewer rows gets its count and no figures."""
_LARGEST = 20
_SIZES, _SIGNED = (0.5, 0.9, 0.95, 0.99), (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_GRID = 20


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two versions."""

    version: str
    digest: str
    threshold: float | None = None
    """Of the decision; None where there is none."""


def compare(
    table: pa.Table,
    live: Side,
    candidate: Side,
    *,
    score_profile: Mapping[str, Any] | None = None,
    positive: str | None = None,
    segments: Sequence[str] = (),
    groups: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the report of a candidate beside the live version.

    Args:
        table: of pairs, see `twinscore.comparison.pairs`.
        live, candidate: the versions.
        score_profile: the live version's reference profile of scores: edges and counts; without it, the bins are
            those of the live scores.
        positive: the decision whose rate is compared; None compares none.
        segments: columns that the rows are divided by.
        groups: columns of protected groups, divided by in the same way.
        facts: what else is to be said: model, where the rows come from, what was left out.

    Raises:
        SchemaMismatch: a column of `table` is missing.
    """
    pairs = Pairs.of(table)
    return {
        "format": COMPARISON_FORMAT,
        "live": asdict(live),
        "candidate": asdict(candidate),
        "facts": dict(facts or {}),
        "intervals": {"level": LEVEL, "methods": METHODS},
        "rows": {"compared": pairs.n_rows, "unscored": pairs.unscored, "units": len(np.unique(pairs.clusters.unit))},
        "difference": _difference(pairs),
        "ranks": _ranks(pairs),
        "shift": _shift(pairs, score_profile or {}),
        "decisions": _decisions(pairs, positive),
        "segments": _divided(pairs, segments, positive),
        "groups": _divided(pairs, groups, positive),
        "latency": _latency(pairs),
        "cost": _cost(pairs),
        "largest": _largest(pairs),
        "grid": _grid(pairs),
    }


def _difference(pairs: Pairs) -> dict[str, Any] | None:
    """Say how far the scores are apart: candidate minus live, and its size."""
    if not pairs.n_rows:
        return None
    signed = pairs.candidate - pairs.live
    size, clusters = np.abs(signed), pairs.clusters
    edges = np.linspace(*_around(signed), 42)[1:-1]
    return {
        "mean": clusters.mean(signed).to_json(),
        "mean_size": clusters.mean(size).to_json(),
        "largest_size": float(size.max()),
        "equal": clusters.share(signed == 0.0).to_json(),
        "size": {f"{share:g}": clusters.quantile(size, share).to_json() for share in _SIZES},
        "signed": {f"{share:g}": clusters.quantile(signed, share).to_json() for share in _SIGNED},
        "histogram": {"edges": edges.tolist(), "counts": bin_counts(signed, edges).tolist()},
    }


def _ranks(pairs: Pairs) -> dict[str, Any]:
    one, other, clusters = pairs.live, pairs.candidate, pairs.clusters
    measures = {"spearman": spearman, "kendall": kendall}
    return {name: rank_correlation(one_of, one, other, clusters).to_json() for name, one_of in measures.items()}


def _shift(pairs: Pairs, profile: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say how the distribution of scores moved, on the reference's bins, which never move."""
    if not pairs.n_rows:
        return None
    own = np.asarray(profile["edges"], np.float64) if profile.get("edges") else bin_edges(pairs.live)
    live, candidate = bin_counts(pairs.live, own), bin_counts(pairs.candidate, own)
    group, without = pairs.clusters.group, []
    for number in pairs.clusters.groups():
        rows = group == number
        without.append(psi((candidate - bin_counts(pairs.candidate[rows], own)).tolist(),
                           (live - bin_counts(pairs.live[rows], own)).tolist()))  # fmt: skip
    found = pairs.clusters.within(psi(candidate.tolist(), live.tolist()), without)
    low = None if found.low is None else max(0.0, found.low)
    reference = list(profile.get("counts") or ())
    moved = {
        side: None if shift is None else {"psi": shift.psi, "psi_by_chance": shift.by_chance, "size": shift.size}
        for side, shift in (
            (name, shift_of(counts.tolist(), reference) if profile.get("edges") else None)
            for name, counts in (("live", live), ("candidate", candidate))
        )
    }
    return {
        "psi": Estimate(found.value, low, found.high).to_json(),
        "bins_from": "reference" if profile.get("edges") else "live scores",
        "edges": own.tolist(),
        "live": live.tolist(),
        "candidate": candidate.tolist(),
        "against_reference": moved,
    }


def _decisions(pairs: Pairs, positive: str | None) -> dict[str, Any] | None:
    """Return the matrix of decisions, live by candidate, and what share of the rows flips."""
    if not pairs.decided:
        return None
    names = sorted(
        {one for side in ("live", "candidate") for one in pc.unique(pairs.table[f"{side}_decision"]).to_pylist() if one}
    )
    matrix = []
    for before in names:
        mine = pairs.decides("live", before)
        for after in names:
            cell = mine & pairs.decides("candidate", after)
            rows = int(cell.sum())
            matrix.append(
                {"live": before, "candidate": after, "rows": rows, "share": pairs.clusters.share(cell).to_json(),
                 "share_of_live": rows / int(mine.sum()) if mine.any() else None}
            )  # fmt: skip
    return {
        "names": names, "matrix": matrix, "flipped": int(pairs.flips().sum()),
        "flips": pairs.clusters.share(pairs.flips()).to_json(), **_rate(pairs, positive),
    }  # fmt: skip


def _rate(pairs: Pairs, positive: str | None) -> dict[str, Any]:
    """Return how often each version decides positively, and the paired difference of the rates."""
    if positive is None or not pairs.decided:
        return {"positive": None}
    live, candidate = pairs.decides("live", positive), pairs.decides("candidate", positive)
    clusters = pairs.clusters
    return {
        "positive": positive,
        "to_positive": clusters.share(candidate & ~live).to_json(),
        "from_positive": clusters.share(live & ~candidate).to_json(),
        "live_rate": clusters.share(live).to_json(),
        "candidate_rate": clusters.share(candidate).to_json(),
        "rate_difference": clusters.mean(candidate.astype(np.float64) - live).to_json(),
    }


def _divided(pairs: Pairs, names: Sequence[str], positive: str | None) -> list[dict[str, Any]]:
    """Return the figures of each part of each column; a column that is not there is left out."""
    if not pairs.n_rows:
        return []
    found = [(name, pairs.column(name)) for name in names]
    return [_parts(pairs, name, column, positive) for name, column in found if column is not None]


def _parts(pairs: Pairs, name: str, column: pa.ChunkedArray, positive: str | None) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for value, rows in segments_of(column):
        part = pairs.taking(rows)
        found: dict[str, Any] = {"value": value, "rows": part.n_rows}
        if part.n_rows >= FEWEST_ROWS:
            signed = part.candidate - part.live
            found |= {
                "difference": part.clusters.mean(signed).to_json(),
                "size_95": part.clusters.quantile(np.abs(signed), 0.95).to_json(),
                "flips": part.clusters.share(part.flips()).to_json() if part.decided else None,
                **_rate(part, positive),
            }
        parts.append(found)
    return {"column": name, "parts": parts}


def _latency(pairs: Pairs) -> dict[str, Any] | None:
    """Compare the time of whole answers with that of the calls of the shadow, in milliseconds."""
    live, candidate = pairs.numbers("live_us"), pairs.numbers("candidate_us")
    if live is None or candidate is None:
        return None
    both = ~(np.isnan(live) | np.isnan(candidate))
    one, other, clusters = live[both] / 1e3, candidate[both] / 1e3, pairs.clusters.taking(both)

    def spread(values: NDArray[np.float64]) -> dict[str, Any]:
        return {f"p{int(100 * share)}": clusters.quantile(values, share).to_json() for share in (0.5, 0.95, 0.99)}

    return {
        "unit": "ms", "live": spread(one), "candidate": spread(other),
        "median_difference": clusters.quantile(other - one, 0.5).to_json(),
    }  # fmt: skip


def _cost(pairs: Pairs) -> dict[str, Any] | None:
    """Compare the time per row; rows that were timed together vary together."""
    live, candidate = pairs.numbers("live_row_us"), pairs.numbers("candidate_row_us")
    if live is None or candidate is None:
        return None
    both = ~(np.isnan(live) | np.isnan(candidate))
    part = pairs.taking(both)
    one, other = live[both], candidate[both]
    clusters = type(part.clusters).of(part.table["block"]) if "block" in part.table.column_names else part.clusters
    return {
        "unit": "microseconds per row",
        "live": clusters.mean(one).to_json(),
        "candidate": clusters.mean(other).to_json(),
        "difference": clusters.mean(other - one).to_json(),
        "ratio": clusters.ratio(other, one).to_json(),
    }


def _largest(pairs: Pairs) -> list[dict[str, Any]]:
    """Name the rows whose scores are furthest apart, so that a person can look them up."""
    size = np.abs(pairs.candidate - pairs.live)
    order = np.argsort(-size, kind="stable")[:_LARGEST]
    names = ("request_id", "row", "live_score", "candidate_score", "live_decision", "candidate_decision")
    shown = pairs.table.select([name for name in names if name in pairs.table.column_names])
    found: list[dict[str, Any]] = shown.take(order[size[order] > 0.0]).to_pylist()
    return found


def _grid(pairs: Pairs) -> dict[str, Any] | None:
    """Count rows by live and candidate score on one square grid, for a picture of how they lie."""
    if not pairs.n_rows:
        return None
    low, high = _around(np.concatenate([pairs.live, pairs.candidate]))
    counts, _, _ = np.histogram2d(pairs.live, pairs.candidate, bins=_GRID, range=((low, high), (low, high)))
    return {"low": low, "high": high, "counts": counts.astype(int).tolist()}


def _around(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)
