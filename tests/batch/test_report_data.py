"""The report as data: figures that follow from the manifest, and null where it says nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.batch.report_data import report_of
from twinscore.batch.report_importance import attributions_of, importance
from twinscore.batch.report_page import report_page

from .reports import CARD, PROFILE, full_manifest, manifests, summary


@given(manifests(), st.booleans(), st.booleans())
def test_any_manifest_has_a_report(manifest: dict[str, Any], profile: bool, card: bool) -> None:
    """With any key absent or null there is a report, JSON without infinities, and a page of it."""
    report = report_of(manifest, PROFILE if profile else None, CARD if card else None)

    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report_page(report).endswith("</html>\n")


@given(manifests())
def test_shares_add_up(manifest: dict[str, Any]) -> None:
    """Shares of bins, decisions and rows are of one whole; PSI is no less than 0."""
    report = report_of(manifest, PROFILE, CARD)

    if report["scores"] and report["scores"]["rows"]:
        assert sum(one["share"] for one in report["scores"]["bins"]) == pytest.approx(1)
        assert sum(one["reference_share"] for one in report["scores"]["bins"]) == pytest.approx(1)
        assert report["scores"]["shift"]["psi"] >= 0
    if report["decisions"] and sum(one["rows"] for one in report["decisions"]):
        assert sum(one["share"] for one in report["decisions"]) == pytest.approx(1)
    rows = report["rows"]
    if {"rows_in", "rows_scored", "rows_quarantined"} <= {name for name in manifest if manifest[name]}:
        assert rows["share_scored"] + rows["share_quarantined"] == pytest.approx(1)
    if report["importance"] and not report["importance"]["more"] and report["importance"]["features"][0]["mean_abs"]:
        assert sum(one["share"] for one in report["importance"]["features"]) == pytest.approx(1)


def test_figures_are_the_manifests() -> None:
    """Counts, order and the words of a complete report."""
    report = report_of(full_manifest(), PROFILE, CARD, contract_path="bundle/contract.yaml")

    assert (report["rows"]["share_quarantined"], report["rows"]["share_flagged"]) == (100 / 1_100, 0.05)
    assert [one["low"] for one in report["scores"]["bins"]] == [None, 0.1, 0.2, 0.4, 0.7]
    assert [one["rows"] for one in report["quarantine"]["rules"]] == [90, 10]
    assert [one["answer"] for one in report["contract"]["results"]] == ["failed", "inconclusive", "passed"]
    assert [one["reason"] for one in report["review"]["reasons"]] == ["contract_warning", "ambiguous_set"]
    assert (report["importance"]["features"][0]["feature"], report["importance"]["more"]) == ("f29", 10)
    assert [one["step"] for one in report["timings"]["steps"]] == ["resolve", "start", "score"]
    assert report["timings"]["steps"][2]["rows_per_s"] == 550
    assert report["lineage"]["input"]["bytes"] == 2_000
    assert report["lineage"]["output"] == {"files": 1, "bytes": 5_000, "rows": 1_000}
    assert report["links"]["quarantine"] == "_quarantine/"


def test_data_docs_command_survives_a_shell() -> None:
    """A path with blanks and signs is quoted; a place that the command cannot read gets no command."""
    source = {**full_manifest()["input"], "path": "my data; rm -rf *"}
    command = report_of(full_manifest(input=source), contract_path="c.yaml")["links"]["data_docs_command"]
    remote = report_of(full_manifest(input={**source, "path": "s3://lake/loans"}), contract_path="c.yaml")

    assert "--data 'my data; rm -rf *' --output data-docs" in command
    assert remote["links"]["data_docs_command"] is None


@pytest.mark.parametrize(("threshold", "bounds"), [(0.4, (0.4, 0.6)), (0.5, (0.2, 0.4)), (0.9, (0.0, 0.2))])
def test_reference_decisions_are_bounded(threshold: float, bounds: tuple[float, float]) -> None:
    """A bin that the threshold cuts may lie on either side; one that ends on it may hold a score equal to it."""
    card = type(CARD)(**{**CARD.to_json(), "classes": CARD.classes, "threshold": threshold})
    found = {one["decision"]: one for one in report_of(full_manifest(), PROFILE, card)["decisions"]}

    assert bounds == pytest.approx((found["yes"]["reference_low"], found["yes"]["reference_high"]))
    assert 1 == pytest.approx(found["no"]["reference_low"] + found["yes"]["reference_high"])


def test_counted_reference_decisions_are_exact() -> None:
    """A profile that counted decisions is believed, and a decision that the run never made is listed."""
    report = report_of(full_manifest(), {**PROFILE, "decisions": {"no": 600, "yes": 300, "maybe": 100}}, CARD)
    found = {one["decision"]: (one["rows"], one["reference_low"], one["reference_high"]) for one in report["decisions"]}

    assert found == {"no": (700, 0.6, 0.6), "yes": (300, 0.3, 0.3), "maybe": (0, 0.1, 0.1)}


def test_importance_is_the_mean_size() -> None:
    """Features come by their mean absolute contribution; what was never explained has no importance."""
    found = importance(attributions_of(summary({"a": (1.0, 3.0), "b": (-4.0, 4.0)}, rows=2)))

    assert found is not None
    assert [(one["feature"], one["mean_abs"], one["mean"]) for one in found["features"]] == [
        ("b", 2, -2),
        ("a", 1.5, 0.5),
    ]
    assert [attributions_of(none) for none in (None, {}, {"features": ["a"]})] == [(), (), ()]
