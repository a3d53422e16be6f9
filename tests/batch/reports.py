"""Manifests as runs leave them, complete and cut short, for the tests of the report."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from twinscore.bundle.card import ModelCard

CARD = ModelCard(
    model="loans", task="classification", objective="binary:logistic", classes=("no", "yes"), positive="yes"
)
PROFILE: dict[str, Any] = {
    "rows": 1_000,
    "score": {"edges": [0.1, 0.2, 0.4, 0.7], "counts": [200, 200, 200, 200, 200]},
}
NASTY = """<script>alert("x")</script>&'"""


def full_manifest(**changes: Any) -> dict[str, Any]:
    """Return a manifest with every key that the report reads."""
    return {
        "run_id": "0123456789abcdef",
        "model": "loans",
        "version": "3",
        "requested": "loans@champion",
        "verdict": "COMMITTED",
        "bundle_digest": "a" * 64,
        "contract": "loans",
        "contract_digest": "b" * 64,
        "input": {
            "path": "data/loans",
            "snapshot": "c" * 64,
            "files": [{"name": "a.parquet", "bytes": 2_000, "rows": 1_100, "footer_sha256": "d"}],
        },
        "key": ["id"],
        "quarantine_limit": {"share": 0.1, "count": None},
        "rows_in": 1_100,
        "rows_filtered": 0,
        "rows_scored": 1_000,
        "rows_quarantined": 100,
        "rows_flagged": 50,
        "rules": {"expect_column_values_to_be_between(age)": 90, "expect_column_values_to_not_be_null(age)": 10},
        "decisions": {"no": 700, "yes": 300},
        "review_reasons": {"ambiguous_set": 40, "contract_warning": 50},
        "score_counts": [100, 200, 300, 200, 200],
        "run_results": [
            {
                "rule": f"rule_{word}", "column": "age", "expected": ">= 1", "observed": "0", "success": success,
                "severity": "warning",
            }
            for word, success in (("kept", True), ("broken", False), ("unknown", None))
        ],
        "files": [
            {"name": "part-00000.parquet", "rows": 1_000, "bytes": 5_000, "sha256": "e"},
            {"name": "_quarantine/part-00000.parquet", "rows": 100, "bytes": 500, "sha256": "f"},
        ],
        "started_at": "2026-11-24T14:00:00+00:00",
        "finished_at": "2026-11-24T14:00:10+00:00",
        "rows_per_s": 110.0,
        "rows_per_s_after_start": 550.0,
        "rows_kept": 0,
        "seconds": {"total": 10.0, "scoring": 2.0, "resolve": 0.5, "start": 6.0, "score": 2.0},
        "worker_seconds": {"extract": 0.5, "check": 0.5, "predict": 1.0},
        "attributions": summary({f"f{at}": (-1.0 * at, 10.0 * at) for at in range(30)}, rows=100),
        "versions": {"twinscore": "0.1.0", "xgboost": "3.2.0"},
        **changes,
    }  # fmt: skip


def summary(sums: dict[str, tuple[float, float]], rows: int) -> dict[str, Any]:
    """Return what a manifest says of contributions: per feature their sum, and the sum of their sizes."""
    return {
        "rows": rows,
        "features": list(sums),
        "total": [total for total, _ in sums.values()],
        "absolute": [absolute for _, absolute in sums.values()],
    }


small = st.integers(0, 10**12)
names = st.text(max_size=30)
seconds = st.floats(0, 1e9, allow_nan=False)


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Manifests with any of the optional keys absent, null, or of any content that a run can have."""
    scored = draw(small)
    refused = draw(small)
    changed = full_manifest(
        rows_in=scored + refused,
        rows_scored=scored,
        rows_quarantined=refused,
        rules=draw(st.dictionaries(names, small, max_size=15)),
        decisions=draw(st.dictionaries(names, small, max_size=5)),
        score_counts=draw(st.lists(small, min_size=5, max_size=5)),
        seconds=draw(st.dictionaries(names, seconds, max_size=5)),
        attributions=draw(
            st.none()
            | st.builds(
                summary,
                st.dictionaries(names, st.tuples(st.floats(), st.floats(0)), max_size=30),
                rows=small,
            )
        ),
    )
    kept = draw(st.sets(st.sampled_from(sorted(changed))))
    nulls = draw(st.sets(st.sampled_from(sorted(changed))))
    return {name: None if name in nulls else value for name, value in changed.items() if name in kept}
