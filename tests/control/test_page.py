"""The page of promotion as text: what stands on it, and that what people wrote cannot change it."""

from __future__ import annotations

from typing import Any

from twinscore.control.page import page

GATE = {
    "gate": "error_rate", "outcome": "inconclusive", "dry_run": False, "value": 0.01, "live_value": None,
    "samples": 1_200, "words": "too few",
}  # fmt: skip
ROLLOUT = {
    "version": "2", "stage": "canary 5%", "stages": ["shadow", "canary 5%", "bake"], "place": 1, "status": "running",
    "share": "5%", "requests": 12, "requests_wanted": 300, "gates": [GATE], "waits": "waits for requests: 12 of 300",
    "next": "bake", "deadline_s": 3_600.0, "on_deadline": "pause", "stage_at": "2026-05-04T12:30:05+00:00",
    "requested_by": "alias champion",
}  # fmt: skip
ENTRY = {
    "number": 1, "at": "2026-05-04T12:00:00+00:00", "kind": "rolled_back", "from_version": "2", "to_version": None,
    "requested_by": "", "reason": "<script>alert(1)</script>",
}  # fmt: skip
MODEL = {
    "model": "loans", "live": "1", "previous": None, "challenger": None, "shadow": None, "settling": None,
    "paused_by": "", "waits": "", "trouble": "", "refused": {"3": "broken & bad"}, "rollout": ROLLOUT,
    "ledger": [ENTRY],
}  # fmt: skip
HOLD = {"scope": "*", "reason": "audit", "owner": "ann", "expires": "2026-05-05T00:00:00+00:00"}


def overview(**more: Any) -> dict[str, Any]:
    """What the control found."""
    return {"at": "2026-05-04T12:31:00+00:00", "models": [MODEL], "holds": [HOLD], "incidents": [],
            "alerts_trouble": {}, **more}  # fmt: skip


def test_a_rollout_is_told_whole() -> None:
    """Stage, share, requests, gate, next and deadline; the ledger, a refused version and a hold beside them."""
    found = page(overview())

    for words in (
        "<h2>loans</h2>", "Version 2 is on its way", "canary 5%, 5% of the entities, 12 of 300 requests",
        "waits for requests: 12 of 300", "3,600 s after 12:30:05 it is paused for a person", "not known yet", "1,200",
        "rolled back", "version 3: broken &amp; bad", "audit (ann, until 2026-05-05 00:00:00)", 'content="5"',
    ):  # fmt: skip
        assert words in found


def test_what_people_wrote_is_text() -> None:
    """A reason is shown, never run."""
    found = page(overview())

    assert "<script" not in found
    assert "&lt;script&gt;" in found


def test_nothing_served_says_what_to_do() -> None:
    """An empty control names the command."""
    assert "twinscore serve --model NAME" in page(overview(models=[], holds=[]))
