"""Verbs: which path needs which."""

from __future__ import annotations

import pytest

from twinscore.access.grant import VERBS, verb_of


@pytest.mark.parametrize(
    ("path", "verb"),
    [
        ("/predict", "predict"),
        ("/version", "read"),
        ("/health/live", None),
        ("/v2/models/loans", "read"),
        ("/v2/models/loans/ready", None),
        ("/v2/models/loans/infer", "predict"),
        ("/v2/models/loans/versions/3/infer", "predict"),
        ("/v2/models/loans/versions/3/ready", None),
        ("/v2/models/ready", "read"),
        ("/v2/models/live/infer", "predict"),
        ("/v2/models/loans/versions/ready", "read"),
        ("/v2/models/loans/other/ready", "predict"),
        ("/v2/models//ready", "predict"),
        ("/v2/models/loans/infer/ready", "predict"),
        ("/v2/models/loans/ready\n", "predict"),
        ("/predict/ready", "predict"),
        ("/predict/health/live", "predict"),
        ("//health/live", "predict"),
        ("/HEALTH/LIVE", "predict"),
        ("", "predict"),
    ],
)
def test_a_path_needs_its_verb(path: str, verb: str | None) -> None:
    """Names of models and versions are filled in; what is not in the table needs `predict`."""
    assert verb == verb_of(path)


def test_only_health_needs_no_key() -> None:
    """What scores needs `predict`, what describes needs `read`, and nothing but health is open."""
    opened = {path for path, verb in VERBS.items() if verb is None}

    assert {"predict"} == {VERBS[path] for path in VERBS if path.endswith(("predict", "invocations", "nfer"))}
    assert {"read"} == {VERBS[path] for path in ("/version", "/contract", "/openapi.json", "/docs", "/v2")}
    assert opened == {path for path in VERBS if path.lower().endswith(("live", "ready", "/ping")) or path == "/health"}
