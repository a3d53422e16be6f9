"""Explanations in answers: the batch path's numbers, only where asked for, within their time."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import numpy as np
import pytest

from twinscore.online.call import Call
from twinscore.online.gateway import Gateway, Reply
from twinscore.online.spec import ExplainPolicy
from twinscore.scoring.attribution import explain
from twinscore.scoring.table import margins_of


def ask(gateway: Gateway, rows: Any, explained: bytes | None = None) -> list[dict[str, Any]]:
    """Return the predictions of a request."""
    headers = {b"content-type": b"application/json", **({} if explained is None else {b"x-explain": explained})}
    reply = gateway.handle(Call("POST", "/predict", headers, msgspec.json.encode(rows), "r"))
    assert isinstance(reply, Reply)
    found: list[dict[str, Any]] = msgspec.json.decode(reply.answer.body)["predictions"]
    return found


@pytest.mark.parametrize("n_rows", [1, 40])
def test_contributions_are_those_of_the_batch_path(trained: Any, n_rows: int) -> None:
    """Every feature shown: the same float32 numbers, base and error, for one row and for many."""
    gateway = Gateway("members", trained.endpoint, explain=ExplainPolicy(deadline_ms=60_000))
    said = ask(gateway, {"instances": trained.rows[:n_rows]}, b"999")
    table = trained.table.slice(0, n_rows)
    batch = explain(table, trained.bundle).to_pylist()
    names = trained.bundle.spec.names

    assert [one["contributions"] for one in batch] == [
        [next(part["contribution"] for part in one["explanation"]["contributions"] if part["feature"] == name)
         for name in names]
        for one in said
    ]  # fmt: skip
    assert [one["contribution_base"] for one in batch] == [one["explanation"]["base"] for one in said]
    assert {None} == {one["explanation_reason"] for one in said}
    assert 1e-4 > max(one["explanation"]["additivity_error"] for one in said)


def test_the_top_features_and_the_rest_add_up_to_the_margin(binary: Any) -> None:
    """Three features are shown, the largest first, with the row's own values and what is usual."""
    gateway = Gateway("members", binary.endpoint, explain=ExplainPolicy(deadline_ms=60_000))
    one = ask(gateway, binary.rows[0], b"3")[0]["explanation"]
    sizes = [abs(part["contribution"]) for part in one["contributions"]]
    total = one["base"] + sum(part["contribution"] for part in one["contributions"]) + one["rest"]
    margin = float(margins_of(binary.table.slice(0, 1), binary.bundle)[0])

    assert (3, sorted(sizes, reverse=True)) == (len(sizes), sizes)
    assert abs(total - margin) < 1e-4
    shown = {part["feature"]: part["value"] for part in one["contributions"] if part["feature"] in binary.rows[0]}
    assert {name: binary.rows[0][name] for name in shown} == shown
    assert all(part["reference"] is not None for part in one["contributions"])


@pytest.mark.parametrize(
    ("policy", "header", "reasons"),
    [
        (ExplainPolicy(), None, {"not_requested"}),
        (ExplainPolicy(), b"false", {"not_requested"}),
        (ExplainPolicy(), b"true", {None}),
        (ExplainPolicy(when="always"), None, {None}),
        (ExplainPolicy(when="always"), b"false", {"not_requested"}),
        (ExplainPolicy(when="review"), None, {None, "not_needed"}),
        (ExplainPolicy(when="always", score_from=0.5), None, {None, "not_needed"}),
        (ExplainPolicy(when="always", max_rows=20), None, {"too_many_rows"}),
        (ExplainPolicy(when="always", deadline_ms=1e-6), None, {"over_deadline"}),
    ],
)
def test_who_is_explained_and_why_not(
    binary: Any, policy: ExplainPolicy, header: bytes | None, reasons: set[str | None]
) -> None:
    """The deployment file chooses by row, the header overrules it, and every absence has its reason."""
    if policy.deadline_ms > 1:
        policy = dataclasses.replace(policy, deadline_ms=60_000)
    gateway = Gateway("members", binary.endpoint, explain=policy)
    said = ask(gateway, {"instances": binary.rows[:60]}, header)

    assert reasons == {one["explanation_reason"] for one in said}
    for one in said:
        assert (one["explanation"] is None) is (one["explanation_reason"] is not None)
        if policy.when == "review":
            assert one["review"] is (one["explanation_reason"] is None)
        if policy.score_from is not None:
            assert (one["score"] >= policy.score_from) is (one["explanation_reason"] is None)


def test_explaining_changes_no_score(trained: Any) -> None:
    """With and without explanations the outputs have the same bits."""
    gateway = Gateway("members", trained.endpoint, explain=ExplainPolicy(deadline_ms=60_000))
    plain, explained = (ask(gateway, {"instances": trained.rows[:40]}, header) for header in (None, b"true"))
    for one in (*plain, *explained):
        del one["explanation"], one["explanation_reason"]

    assert plain == explained


def test_what_a_row_costs_is_learnt(binary: Any) -> None:
    """After a slow row the next request within the same time is not begun."""
    gateway = Gateway("members", binary.endpoint, explain=ExplainPolicy(when="always", deadline_ms=1_000))
    gateway.prepare(binary.endpoint)
    explainer = gateway._explainers.of(binary.endpoint)
    explainer._row_s = 10.0

    assert ["over_deadline"] == [one["explanation_reason"] for one in ask(gateway, binary.rows[0])]
    assert np.isfinite(explainer._row_s)
