"""The report of a run as plain data: what a person asks first, computed from what the manifest counted; pure.

Everything optional in a manifest may be absent: the part of the report that needs it is then null.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from twinscore.batch.report_importance import attributions_of, importance
from twinscore.bundle.shift import shift_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.bundle.card import ModelCard

__all__ = ["REPORT_FORMAT", "report_of"]

REPORT_FORMAT = 1
TOP_RULES = 10
SHOWN_RESULTS = 40
SHOWN_FILES = 20
_WHOLE = ("total", "scoring")
_LEAST_S = 0.01
"""A step that took less has no rate: seconds are kept to a thousandth."""


def report_of(
    manifest: Mapping[str, Any],
    profile: Mapping[str, Any] | None = None,
    card: ModelCard | None = None,
    *,
    contract_path: str | None = None,
) -> dict[str, Any]:
    """Return the report of a run, JSON-able and free of infinities.

    Args:
        manifest: of a committed or refused run.
        profile: the bundle's reference profile; without it, nothing is compared.
        card: the bundle's; without it, decisions are compared only when the profile counted them.
        contract_path: where the contract's YAML is, for the command that builds its Data Docs.
    """
    score = (profile or {}).get("score") or {}
    rows_in = int(manifest.get("rows_in") or 0)
    return {
        "format": REPORT_FORMAT,
        "run": _run(manifest, card),
        "rows": _rows(manifest, rows_in),
        "scores": _scores(manifest.get("score_counts") or (), score),
        "decisions": _decisions(manifest.get("decisions") or {}, profile or {}, card),
        "review": _review(manifest),
        "quarantine": _quarantine(manifest, rows_in),
        "contract": _contract(manifest),
        "importance": importance(attributions_of(manifest.get("attributions"))),
        "timings": _timings(manifest, rows_in),
        "lineage": _lineage(manifest, card, profile or {}),
        "links": _links(manifest, contract_path),
    }


def _run(manifest: Mapping[str, Any], card: ModelCard | None) -> dict[str, Any]:
    names = ("run_id", "model", "version", "requested", "started_at", "finished_at", "refused")
    verdict = "REFUSED" if manifest.get("refused") else manifest.get("verdict")
    return {**{name: manifest.get(name) for name in names}, "verdict": verdict, "task": card.task if card else None}


def _rows(manifest: Mapping[str, Any], rows_in: int) -> dict[str, Any]:
    scored, flagged = int(manifest.get("rows_scored") or 0), int(manifest.get("rows_flagged") or 0)
    refused = int(manifest.get("rows_quarantined") or 0)
    return {
        "in": rows_in,
        "scored": scored,
        "quarantined": refused,
        "flagged": flagged,
        "filtered": int(manifest.get("rows_filtered") or 0),
        "files_quarantined": int(manifest.get("files_quarantined") or 0),
        "share_scored": _share(scored, rows_in),
        "share_quarantined": _share(refused, rows_in),
        "share_flagged": _share(flagged, scored),
    }


def _scores(counts: Sequence[int], score: Mapping[str, Any]) -> dict[str, Any] | None:
    """Lay the run's scores beside the reference's, bin by bin: `(low, high]`, open at both ends."""
    edges = list(score.get("edges") or ())
    if not counts or len(counts) != len(edges) + 1:
        return None
    reference = list(score.get("counts") or ())
    compared = len(reference) == len(counts) and sum(reference) > 0
    total, whole = sum(counts), sum(reference)
    bins = [
        {
            "low": low,
            "high": high,
            "rows": int(count),
            "share": _share(count, total),
            "reference_share": _share(reference[at], whole) if compared else None,
        }
        for at, (count, low, high) in enumerate(zip(counts, [None, *edges], [*edges, None], strict=True))
    ]
    found = shift_of(counts, reference) if compared else None
    shift = None if found is None else {
        "psi": found.psi, "psi_by_chance": found.by_chance, "size": found.size,
        "largest_difference": found.largest, "largest_bin": found.largest_bin,
    }  # fmt: skip
    return {"rows": total, "reference_rows": whole if compared else None, "bins": bins, "shift": shift}


def _decisions(
    decisions: Mapping[str, int], profile: Mapping[str, Any], card: ModelCard | None
) -> list[dict[str, Any]] | None:
    """Return each decision with its share, and the bounds of its share among the reference rows.

    The profile's `decisions` are exact. Without them, a score of two classes gives bounds: rows in bins that lie
    wholly on one side of the threshold are counted, those of the bin that it cuts could lie on either.
    """
    if not decisions:
        return None
    total = sum(decisions.values())
    bounds = _reference_decisions(profile, card)
    classes = [*decisions, *(name for name in bounds if name not in decisions)]
    listed = []
    for name in classes:
        rows = int(decisions.get(name, 0))
        low, high = bounds.get(name, (None, None))
        listed.append(
            {"decision": name, "rows": rows, "share": _share(rows, total), "reference_low": low, "reference_high": high}
        )
    return sorted(listed, key=lambda one: (-one["rows"], one["decision"]))


def _reference_decisions(profile: Mapping[str, Any], card: ModelCard | None) -> dict[str, tuple[float, float]]:
    exact = profile.get("decisions")
    if exact and sum(exact.values()):
        return {name: (count / sum(exact.values()),) * 2 for name, count in exact.items()}
    score = profile.get("score") or {}
    counts, edges = list(score.get("counts") or ()), list(score.get("edges") or ())
    if card is None or len(card.classes) != 2 or not sum(counts) or len(counts) != len(edges) + 1:
        return {}
    total, threshold = sum(counts), card.threshold
    # A bin is (low, high]: all of it decides "yes" when low >= threshold, none of it when high < threshold.
    surely = sum(count for count, low in zip(counts[1:], edges, strict=True) if low >= threshold)
    never = sum(count for count, high in zip(counts[:-1], edges, strict=True) if high < threshold)
    low, high = surely / total, (total - never) / total
    no, yes = card.classes
    return {yes: (low, high), no: (1.0 - high, 1.0 - low)}


def _review(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return how many scored rows a person should look at; by reason when the run counted them."""
    scored, reasons = int(manifest.get("rows_scored") or 0), manifest.get("review_reasons")
    listed = None
    if reasons is not None:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        listed = [{"reason": name, "rows": int(rows), "share": _share(rows, scored)} for name, rows in ordered]
    return {"flagged": int(manifest.get("rows_flagged") or 0), "reasons": listed}


def _quarantine(manifest: Mapping[str, Any], rows_in: int) -> dict[str, Any]:
    rules = sorted((manifest.get("rules") or {}).items(), key=lambda item: (-item[1], item[0]))
    names = ("name", "bytes", "rows", "reason")
    source = manifest.get("input") or {}
    aside = [{name: one.get(name) for name in names} for one in source.get("set_aside") or ()]
    return {
        "rules": [
            {"rule": rule, "rows": int(rows), "share": _share(rows, rows_in)} for rule, rows in rules[:TOP_RULES]
        ],
        "more": max(len(rules) - TOP_RULES, 0),
        "limit": dict(manifest.get("quarantine_limit") or {}),
        "files": aside[:SHOWN_FILES],
        "more_files": max(len(aside) - SHOWN_FILES, 0),
    }


def _contract(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Count the answers of the run-level rules; the broken come first. A rule whose success is null could not tell."""
    names = ("rule", "column", "expected", "observed", "severity")
    words = {True: "passed", False: "failed", None: "inconclusive"}
    results = [
        {**{name: one.get(name) for name in names}, "answer": words[one.get("success")]}
        for one in manifest.get("run_results") or ()
    ]
    order = ("failed", "inconclusive", "passed")
    results.sort(key=lambda one: order.index(one["answer"]))
    counted = {word: sum(one["answer"] == word for one in results) for word in order}
    return {
        "name": manifest.get("contract"),
        **counted,
        "results": results[:SHOWN_RESULTS],
        "more": max(len(results) - SHOWN_RESULTS, 0),
    }


def _timings(manifest: Mapping[str, Any], rows_in: int) -> dict[str, Any]:
    seconds, work = dict(manifest.get("seconds") or {}), dict(manifest.get("worker_seconds") or {})

    def steps(spent: Mapping[str, float]) -> list[dict[str, Any]]:
        return [
            {"step": name, "seconds": value, "rows_per_s": rows_in / value if value >= _LEAST_S else None}
            for name, value in spent.items()
            if name not in _WHOLE
        ]

    return {
        "total_s": seconds.get("total"),
        "scoring_s": seconds.get("scoring"),
        "rows_per_s": manifest.get("rows_per_s"),
        "rows_per_s_after_start": manifest.get("rows_per_s_after_start"),
        "rows_kept": manifest.get("rows_kept"),
        "steps": steps(seconds),
        "worker_steps": steps(work),
    }


def _lineage(manifest: Mapping[str, Any], card: ModelCard | None, profile: Mapping[str, Any]) -> dict[str, Any]:
    source = manifest.get("input") or {}
    read = source.get("files") or ()
    # Of a refused run, the predictions are dropped.
    kept = () if manifest.get("refused") else manifest.get("files") or ()
    written = [one for one in kept if not one["name"].startswith("_")]
    return {
        "bundle_digest": manifest.get("bundle_digest"),
        "contract_digest": manifest.get("contract_digest"),
        "versions": dict(manifest.get("versions") or {}),
        "key": list(manifest.get("key") or ()),
        "trained_at": (card.created_at or None) if card else None,
        "training_snapshot": card.snapshot if card else None,
        "reference_rows": profile.get("rows"),
        "input": {
            "path": source.get("path"),
            "snapshot": source.get("snapshot"),
            "files": len(read),
            "bytes": sum(one.get("bytes", 0) for one in read),
            "rows": sum(one.get("rows", 0) for one in read),
        },
        "output": {
            "files": len(written),
            "bytes": sum(one.get("bytes", 0) for one in written),
            "rows": sum(one.get("rows", 0) for one in written),
        },
    }


def _links(manifest: Mapping[str, Any], contract_path: str | None) -> dict[str, Any]:
    """Return places relative to the run's folder, and the command that builds the contract's Data Docs."""
    quarantined = any(one["name"].startswith("_quarantine/") for one in manifest.get("files") or ())
    path = (manifest.get("input") or {}).get("path")
    command = None
    if contract_path is not None and isinstance(path, str) and "://" not in path:
        words = ["twinscore", "contract", "docs", "--contract", contract_path, "--data", path, "--output", "data-docs"]
        command = shlex.join(words)
    return {
        "manifest": "_manifest.json",
        "json": "_report.json",
        "quarantine": "_quarantine/" if quarantined else None,
        "data_docs_command": command,
    }


def _share(part: float, whole: float) -> float | None:
    """Return a part's share; None when there is no whole."""
    return part / whole if whole else None
