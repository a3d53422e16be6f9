"""What tests of evidence read of a book, and what they hold it against."""

from __future__ import annotations

import json
from typing import Any

from twinscore.online.answer import Prediction
from twinscore.online.asked import Asked
from twinscore.online.endpoint import Endpoint
from twinscore.online.evidence_book import EvidenceBook
from twinscore.rollout.evidence import ArmEvidence

__all__ = ["predictions", "read"]


def read(book: EvidenceBook) -> dict[tuple[str, str], ArmEvidence]:
    """Return what a book says over JSON, by version and role; counters of one arm are few, and must not repeat it."""
    document = json.loads(json.dumps(book.document()))
    arms = [ArmEvidence.from_json(one["evidence"]) for one in document["arms"]]
    assert len({(arm.version, arm.role) for arm in arms}) == len(arms)
    return {(arm.version, arm.role): arm for arm in arms}


def predictions(endpoint: Endpoint, rows: list[dict[str, Any]]) -> list[Prediction]:
    """Return what a version says of rows, counted nowhere."""
    decoded, _ = endpoint.decode(rows)
    return endpoint.predictions(endpoint.score(Asked(decoded, at="/instances")))
