"""On a real Ray Serve: the cheaper version is loaded with the live one, and others ask for a rung of the ladder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from twinscore.clock import SystemClock
from twinscore.errors import ModelNotFound, ModelNotReady, SettingsInvalid
from twinscore.online.degrade_spec import DegradeSpec
from twinscore.online.deploy import serve_model, stop_model
from twinscore.online.ladder_orders import ServeLadder
from twinscore.online.routes import replica_states
from twinscore.online.serve_config import running_replicas
from twinscore.online.spec import AuditPolicy, ScalingPolicy, ServeSpec
from twinscore.settings import Settings

from .conftest import Trained
from .test_autoscaling import comes_true

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.filterwarnings("ignore:.*metrics_interval_s:DeprecationWarning"),  # Ray, of a field of its own
]
SCALING = ScalingPolicy(p99_ms=1_000, up_delay_s=0, down_delay_s=600)
SPEC = ServeSpec(
    model="members@champion", max_replicas=2, scaling=SCALING, degrade=DegradeSpec(version="members/2", leave_s=1),
    audit=AuditPolicy(reserve_mb=1),
)  # fmt: skip


@pytest.fixture(scope="module")
def url(members: Any, serve_settings: Settings) -> Iterator[str]:
    """Version 1 of `members`, for which version 2 may answer."""
    del members
    yield serve_model(serve_settings, "members@champion", spec=SPEC)
    stop_model("members")


def labelled(url: str, row: dict[str, Any]) -> tuple[str | None, str]:
    answer = httpx.post(f"{url}/predict", json=row, trust_env=False)
    return answer.headers.get("x-degraded"), answer.json()["version"]


def test_an_order_to_degrade_reaches_the_replicas_and_ends(url: str, binary: Trained) -> None:
    """Version 2 answers, labelled, while the order stands; asking again changes nothing; after its end all is full."""
    ladder = ServeLadder()
    before = labelled(url, binary.rows[0])
    said = ladder.set("members", "degrade", True, "a rule")
    on = comes_true(lambda: everywhere(lambda ladder: ladder["order"] is not None))
    again = ladder.set("members", "degrade", True, "a rule")
    share = comes_true(lambda: everywhere(lambda ladder: ladder["share"] > 0))
    degraded = {labelled(url, row) for row in binary.rows[:40]}
    ladder.set("members", "degrade", True, "over", until=SystemClock().now() - timedelta(seconds=1))
    over = comes_true(lambda: everywhere(lambda ladder: ladder["order"] is None))
    full = comes_true(lambda: everywhere(lambda ladder: ladder["share"] == 0))
    after = {labelled(url, row) for row in binary.rows[:40]}
    taken_back = ladder.set("members", "degrade", False, "")
    nothing = ladder.set("members", "degrade", False, "")

    assert (None, "1") == before
    assert said.startswith("answers in the cheaper way until")
    assert again.startswith("answers in the cheaper way until")
    assert [True, True, True, True] == [on, share, over, full]
    assert [{("true", "2"), (None, "1")}, {(None, "1")}] == [degraded, after]
    assert ["answers in full when the load lets it", "nothing was asked for"] == [taken_back, nothing]


def test_an_order_to_scale_adds_a_replica_without_restarting_the_other(url: str, binary: Trained) -> None:
    """One more than there are, at most the most; the same order again asks for no third; nobody is refused."""
    ladder = ServeLadder()
    before = set(replica_states("members"))
    first = ladder.set("members", "scale", True, "a rule")
    up = comes_true(lambda: running_replicas("members", "endpoint") == 2 and before < set(replica_states("members")))
    second = ladder.set("members", "scale", True, "a rule")
    asked = labelled(url, binary.rows[0])[1]
    back = ladder.set("members", "scale", False, "")

    assert 1 == len(before)
    assert up
    assert [first[:35], second[:35]] == ["at least 2 of at most 2 replicas un"] * 2
    assert ("1", "the load alone decides again") == (asked, back)


def test_what_a_model_cannot_do_is_refused_by_name(serve_settings: Settings, url: str) -> None:
    """One that is not served, a version of another model, and one that the registry does not have."""
    del url
    absent = ServeSpec(model="members", degrade=DegradeSpec(version="members/9", p99_ms=50))

    with pytest.raises(ModelNotReady, match="nobody is not served"):
        ServeLadder().set("nobody", "degrade", True, "")
    with pytest.raises(SettingsInvalid, match="a version of members"):
        ServeSpec(model="members", degrade=DegradeSpec(version="adult/1", p99_ms=50))
    with pytest.raises(ModelNotFound, match="9"):
        serve_model(serve_settings, "members", spec=absent)


def everywhere(so: Callable[[dict[str, Any]], bool]) -> bool:
    """Whether it is so on every replica; the other test leaves two."""
    found = replica_states("members")
    return len(found) == running_replicas("members", "endpoint") and all(so(one["ladder"]) for one in found.values())
