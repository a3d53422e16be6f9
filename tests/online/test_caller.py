"""What a challenger's replica returns, on its way to whoever asked."""

from __future__ import annotations

import pickle

import msgspec
from ray import cloudpickle

from twinscore.online.answer import Prediction, RowError, Uncertainty
from twinscore.online.caller import Scored


def test_what_is_left_out_is_sent_without_a_search_for_its_name() -> None:
    """A bare name is looked for in all modules of the process, some of which import others when they are asked."""
    sure = Uncertainty(0.2, None, None, ["no"])
    refused = [RowError("/rows/1/age", "not_null", "a number", "null")]
    rows = [
        Prediction(0, {"id": 1}, float("inf"), "no", sure, review=False, review_reason=None),
        Prediction(1, {"id": 2}, None, None, None, review=False, review_reason=None, errors=refused, arm="live"),
    ]

    sent = cloudpickle.dumps(Scored("d", rows))
    come: Scored = pickle.loads(sent)

    assert b"UNSET" not in sent
    assert come == Scored("d", rows)
    assert come.predictions[0].arm is msgspec.UNSET
