"""What is counted of requests that begin in the cheaper way and end in full service."""

from __future__ import annotations

import pytest

from twinscore.online.cheaper import CheapEndpoint
from twinscore.settings import Settings

from .conftest import Trained
from .test_degrading import cheap, degraded, settings, small
from .test_front import post

__all__ = ["cheap", "settings", "small"]  # fixtures


@pytest.mark.parametrize("partial", ["false", "true"])
def test_a_request_that_full_service_takes_back_is_counted_once(
    settings: Settings, binary: Trained, cheap: CheapEndpoint, partial: str
) -> None:
    """A row of the live version's part is refused, so all rows are answered in full: none is evidence twice."""
    with degraded(settings, binary.endpoint, cheap, share=5_000) as (front, gateway):
        sides = post(front, {"instances": binary.rows[:40]}).json()["predictions"]
        before = gateway.book.document()["arms"][0]["evidence"]
        bad = next(place for place, one in enumerate(sides) if not one.get("degraded"))
        rows = [{**row, "age": -5} if place == bad else row for place, row in enumerate(binary.rows[:40])]
        answer = post(front, {"instances": rows}, **{"x-partial": partial})
        after = gateway.book.document()["arms"][0]["evidence"]

    assert (200 if partial == "true" else 422) == answer.status_code
    assert (1, 1) == tuple(after[name] - before[name] for name in ("calls", "refused_rows"))
    assert 40 > after["rows"] - before["rows"]
