"""Bulk answers written by column: the bytes of the answer with an object for each row."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinscore.online.answer import Predictions
from twinscore.online.asked import Outcome
from twinscore.online.call import Call
from twinscore.online.scored import predictions_of
from twinscore.online.wire.json_answer import bulk_answer
from twinscore.online.wire.native import Native
from twinscore.scoring.table import SCORE_SCHEMA

WORDS = st.sampled_from(["no", "yes", 'a "b", c', "", "né", '"predictions":[]']) | st.text(
    st.characters(exclude_categories=("Cs",)), max_size=3
)
ROW = st.fixed_dictionaries(
    {
        "score": st.none() | st.floats(width=32) | st.floats(allow_nan=False),
        "decision": st.none() | WORDS,
        "lower": st.none() | st.floats(),
        "upper": st.none() | st.floats(),
        "prediction_set": st.none() | st.lists(WORDS, max_size=4),
        "uncertainty": st.none() | st.floats(),
        "review": st.booleans(),
        "review_reason": st.none() | WORDS,
    }
)
INT, TEXT, INSTANT = pa.int64(), pa.string(), pa.timestamp("us")
KEYS = [(["i"], [INT]), (["s"], [TEXT]), (["t"], [INSTANT]), (["s", "i"], [TEXT, INT])]


def bare(text: str) -> Predictions:
    """Return an answer without predictions, with a text that could be taken for a part of it."""
    return Predictions(text, text, "1", "live", [])


@given(st.lists(ROW, min_size=1, max_size=5), st.sampled_from([1, 70]), st.integers(0, 3), st.sampled_from(KEYS), WORDS)
@settings(max_examples=200, deadline=None)
def test_the_bytes_are_those_of_the_objects(
    rows: list[dict[str, Any]], times: int, skipped: int, key: tuple[list[str], list[pa.DataType]], text: str
) -> None:
    """Any scored table, with and without nulls, sliced, with keys of several kinds."""
    scored = pa.Table.from_pylist(rows * times, schema=SCORE_SCHEMA)
    skipped = min(skipped, len(scored) - 1)
    scored = scored.slice(skipped)
    cells = {"i": range(len(scored)), "s": [text] * len(scored), "t": range(len(scored))}
    table = pa.table([pa.array(cells[name], kind) for name, kind in zip(*key, strict=True)], names=key[0])
    accepted = np.ones(len(scored), dtype=np.bool_)
    outcome = Outcome(None, table, scored, accepted, no_explanation=text)
    predictions = predictions_of(table, scored, accepted.tolist(), key[0], ())
    for prediction in predictions:
        prediction.explanation_reason = text

    wanted = msgspec.json.encode(msgspec.structs.replace(bare(text), predictions=predictions))
    assert wanted == bulk_answer(bare(text), outcome, key[0])


def test_real_answers_are_the_same(trained: Any) -> None:
    """Each kind of model, asked over its wire format."""
    call = Call("POST", "/predict", {b"content-type": b"application/json"}, b"", "q-1")
    body = msgspec.json.encode({"instances": trained.rows})
    asked = Native().read(Call("POST", "/predict", call.headers, body, "q-1"), trained.endpoint)
    outcome = trained.endpoint.score(asked)
    predictions = trained.endpoint.predictions(outcome)
    whole = Predictions("q-1", trained.endpoint.model, trained.endpoint.version, "live", predictions)

    assert asked.table is not None
    assert asked.table.equals(trained.table)
    assert msgspec.json.encode(whole) == Native().write(call, trained.endpoint, asked, outcome, "live").body


@pytest.mark.parametrize("n_scored", [0, 3])
def test_other_outcomes_are_left_to_the_objects(n_scored: int) -> None:
    """Refused rows have errors to list."""
    table = pa.table({"i": range(4)})
    scored = pa.table([pa.nulls(n_scored, field.type) for field in SCORE_SCHEMA], schema=SCORE_SCHEMA)

    assert bulk_answer(bare("x"), Outcome(None, table, scored, np.arange(4) < n_scored), ["i"]) is None
    assert bulk_answer(bare("x"), Outcome([]), ["i"]) is None
