"""Where each metric stands in the evidence of a version; compares nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.rollout.counts import Moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.rollout.evidence import ArmEvidence
    from twinscore.rollout.memory_trend import MemoryTrend

__all__ = ["figure_of", "groups_of", "moments_of", "parts_of", "share_of", "trends_of"]


def share_of(metric: str, arm: ArmEvidence | None) -> tuple[int, int]:
    """Return how many of how many, for error_rate, refusal_rate and review_rate."""
    if arm is None:
        return 0, 0
    if metric == "error_rate":
        return sum(arm.failed.values()), arm.calls
    scored = arm.scores.n + arm.scores.missing
    return (arm.refused_rows, scored + arm.refused_rows) if metric == "refusal_rate" else (arm.review_rows, scored)


def parts_of(metric: str, arm: ArmEvidence | None) -> tuple[dict[str, int], int]:
    """Return how many rows lie in each part, and how many there are.

    Parts of decision_rate are the decisions. Parts of score_shift are the scores above each edge, and those that are
    no number: the largest difference of these shares between two versions is the statistic of Kolmogorov and Smirnov.
    """
    if arm is None:
        return {}, 0
    if metric == "decision_rate":
        return dict(arm.decisions), sum(arm.decisions.values())
    found, above = {"no number": arm.scores.missing}, arm.scores.n
    for edge, count in zip(arm.scores.edges, arm.scores.counts, strict=False):
        above -= count
        found[f"above {edge!r}"] = above
    return found, arm.scores.n + arm.scores.missing


def moments_of(metric: str, arm: ArmEvidence | None) -> Moments:
    """Return number, sum and squares, for uncertainty_width and loss."""
    if arm is None:
        return Moments()
    if metric == "uncertainty_width":
        return arm.width
    return Moments() if arm.labelled is None else arm.labelled.loss


def groups_of(arm: ArmEvidence | None) -> list[list[tuple[int, int]]]:
    """Return, per column with two groups at least, how many of how many answers were selected in each."""
    columns: dict[str, list[tuple[int, int]]] = {}
    for name, (n, selected) in ({} if arm is None or arm.labelled is None else arm.labelled.groups).items():
        if n > 0:
            columns.setdefault(name.partition("=")[0], []).append((selected, n))
    return [counts for counts in columns.values() if len(counts) > 1]


def figure_of(metric: str, arm: ArmEvidence | None) -> float | None:
    """Return a figure that is known and not sampled: restarts, memory_mb."""
    if arm is None:
        return None
    return float(arm.restarts) if metric == "restarts" else arm.memory_mb


def trends_of(arm: ArmEvidence | None) -> Sequence[MemoryTrend]:
    """Return how the memory of each process grew, for memory_mb_per_h."""
    return () if arm is None else arm.memory_trends
