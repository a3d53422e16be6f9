"""The loop of alerts beside that of rollouts, what it shows, and figures of the last seconds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from twinscore.clock import FixedClock
from twinscore.control.alerting import Alerting
from twinscore.control.alerts import Alerts
from twinscore.control.courier import Courier
from twinscore.control.incident_page import incident_page
from twinscore.control.incidents import alerts_overview
from twinscore.control.live_figures import ReplicaFigures, figures_between
from twinscore.control.loop import Control
from twinscore.control.monitor_specs import MonitorSpecs
from twinscore.control.outcome import Outcome
from twinscore.errors import PredictFailed, SettingsInvalid
from twinscore.monitoring.order import Order
from twinscore.online.metrics import Metrics, Noted
from twinscore.ports.alert_store import KeptOrder
from twinscore.ports.listener_roster import Listener
from twinscore.ports.rollout_store import ControlStore, Lease
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store

from ..receivers import serving
from .patience import until

NOW = datetime(2026, 1, 1, 10, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ControlStore]:
    """A control store of the test's own."""
    with open_rollout_store(load_settings(home=tmp_path)) as found:
        yield found


def order(number: int, action: Any = "ticket", model: str = "loans") -> Order:
    """Return an order of an incident of its own."""
    return Order(
        id=f"i{number}/{action}/open/1", incident=f"i{number}", model=model, action=action, verb="open",
        severity="critical", title="psi of <income> is 0.4", body="**why**", details={"rule": "drift"},
    )  # fmt: skip


class Watch:
    """Stands where a model's alerts stand: counts its turns, and does in them what a test says."""

    def __init__(self, model: str, turns: Counter[str], held: threading.Event) -> None:
        self._model, self._turns, self._held = model, turns, held
        self.trouble = "" if model == "loans" else "the lake is away"

    def close(self) -> None:
        """Hold nothing."""

    def turn(self, lease: Lease) -> None:
        """Count a turn; one model hangs, one fails."""
        assert lease.epoch > 0
        self._turns[self._model] += 1
        if self._model == "hangs":
            self._held.wait(20)
        if self._model == "fails":
            message = "it does not work"
            raise PredictFailed(message)


def test_alerts_act_beside_rollouts(store: ControlStore) -> None:
    """Models that hang or fail hold up neither the others nor orders nor rollouts; a hanging receiver nothing else."""
    turns: Counter[str] = Counter()
    done: list[str] = []
    held = threading.Event()
    store.alerts.save("loans", {}, revision=0, lease=None, orders=[order(1), order(2, "hold"), order(3, "page")])

    class Nothing:
        trouble = ""

        def turn(self, lease: Lease) -> bool:
            turns["rollout"] += 1
            return False

        def look(self) -> None: ...

        def close(self) -> None: ...

    def act(taken: KeptOrder) -> Outcome:
        if taken.order.action == "ticket":
            held.wait(20)
        done.append(taken.order.action)
        return Outcome(kind="acted")

    made: Any = Nothing
    loop = Control(store.leases, lambda: ["loans"], lambda _: made(), poll_s=0.05, lease_s=5.0)
    watch: Any = lambda model: Watch(model, turns, held)  # noqa: E731
    alerting = Alerting(
        lambda: loop.lease, lambda: ["loans", "hangs", "fails"], watch, Courier(store, act), poll_s=0.05
    )  # fmt: skip
    until(lambda: turns["loans"] > 3 and turns["fails"] > 3 and turns["rollout"] > 3 and len(done) == 2)
    while_held = (turns["hangs"], sorted(done), dict(alerting.trouble))
    held.set()
    until(lambda: turns["hangs"] > 1 and len(done) == 3)
    alerting.close()
    loop.close()

    assert (1, ["hold", "page"]) == while_held[:2]
    assert ("", "it does not work") == (while_held[2]["loans"], while_held[2]["fails"])
    assert {"acted": 3} == Counter(entry.kind for entry in store.ledger.entries("loans"))
    assert {"done"} == {one.state for one in store.orders.orders()}


def test_without_the_lease_nothing_is_done(store: ControlStore) -> None:
    """A control that stands by watches nothing and carries nothing out."""
    turns: Counter[str] = Counter()
    store.alerts.save("loans", {}, revision=0, lease=None, orders=[order(1)])
    watch: Any = lambda model: Watch(model, turns, threading.Event())  # noqa: E731
    alerting = Alerting(lambda: None, lambda: ["loans"], watch, Courier(store, lambda _: Outcome()), poll_s=0.01)
    time.sleep(0.2)
    alerting.close()

    assert Counter() == turns
    assert {"waiting"} == {one.state for one in store.orders.orders()}


def test_incidents_are_shown_whole(store: ControlStore) -> None:
    """Open incidents, orders with what came of them, audits and trouble; what came from data is text."""
    incident = {"id": "i1", "rule": "drift", "severity": "critical", "phase": "open", "since": NOW.isoformat(),
                "says": "psi of <b>income</b> is 0.4"}  # fmt: skip
    orders = [order(1), order(2), order(3, "hold")]
    store.alerts.save("loans", {"open": [incident]}, revision=0, lease=None, orders=orders)
    (first, *_) = store.orders.take(None, actions=["ticket"], seconds=60, limit=1)
    store.orders.later(first, "the tracker <is> away", 60.0)
    (hold,) = store.orders.take(None, actions=["hold"], seconds=60, limit=1)
    store.orders.done(hold, {"hold": "abc"})
    found = alerts_overview(store, {"loans": "", "*": "the store was away"})
    text = incident_page(found)

    assert [{"model": "loans", **incident}] == found["incidents"]
    assert {"*": "the store was away"} == found["trouble"]
    assert [("waiting", 1), ("waiting", 0), ("done", 1)] == [(one["state"], one["attempts"]) for one in found["orders"]]
    assert alerts_overview(store, model="prices")["incidents"] == []
    for words in ("psi of &lt;b&gt;income", "the tracker &lt;is&gt; away", "hold: abc", "the store was away", "drift"):
        assert words in text
    assert "<b>income" not in text


def test_a_deployment_file_is_read_when_it_changes(tmp_path: Path) -> None:
    """The defaults where there is none; the newest otherwise; a wrong one is refused by line, until it is right."""
    watched = MonitorSpecs(tmp_path)
    nothing = watched.spec_of("loans")
    path = tmp_path / "loans.yaml"
    path.write_text("model: loans\nmonitor: {window: 30m}\n")
    first, again = watched.spec_of("loans"), watched.spec_of("loans")
    path.write_text("model: loans\nmonitor: {notify: {kind: slack}}\n")
    with pytest.raises(SettingsInvalid, match=r"notify\.url_env"):
        watched.spec_of("loans")

    assert ("1h", "30m") == (nothing.window, first.window)
    assert first is again


class Roster:
    """Listeners that a test names."""

    def __init__(self, *listeners: Listener) -> None:
        self.found = listeners

    def listeners(self) -> tuple[Listener, ...]:
        """Return them."""
        return self.found


def test_replicas_tell_what_they_did_since(tmp_path: Path) -> None:
    """Two replicas are taken together; what they did before the first look, and who does not answer, counts nothing."""
    metrics = [Metrics(), Metrics()]
    tallies = [one.tally() for one in metrics]
    clock = FixedClock(NOW)
    with serving({f"/{n}/metrics": one.render for n, one in enumerate(metrics)}) as port:
        for one in tallies:
            one.left(Noted("predict"), 200, 900_000_000)
        roster: Any = Roster(*[
            Listener(model=str(n), replica=str(n), host="127.0.0.1", port=port, max_connections=8,
                     state="ready", renewed_at=NOW) for n in range(2)
        ])  # fmt: skip
        figures = [
            ReplicaFigures(load_settings(home=tmp_path), str(n), lambda: "3", roster=roster, clock=clock)
            for n in range(2)
        ]
        before = [one.look() for one in figures]
        clock.advance(10)
        for took_ns in [20_000_000] * 98 + [200_000_000] * 2:
            tallies[0].left(Noted("predict"), 200, took_ns)
        tallies[0].left(Noted("predict", "overloaded"), 503, 1_000_000)
        tallies[0].left(Noted("predict", "predict_failed"), 500, 1_000_000)
        tallies[0].left(Noted("page"), 200, 1_000_000)
        found = {one.metric: one for one in figures[0].look()}
        quiet = {one.metric: one for one in figures[1].look()}

    assert [[], []] == before
    assert (NOW, NOW + timedelta(seconds=10), "3") == (found["requests"].start, found["requests"].end, "3")
    assert (102, 1 / 102, 1 / 102) == (found["requests"].value, found["error_rate"].value, found["shed_rate"].value)
    p50, p99 = found["latency_ms_p50"].value, found["latency_ms_p99"].value
    assert p50 is not None
    assert p99 is not None
    assert 15 <= p50 <= 25 < 100 <= p99 <= 250
    assert (0, None, "nothing was answered") == (
        quiet["requests"].value, quiet["latency_ms_p99"].value, quiet["latency_ms_p99"].note
    )  # fmt: skip


def test_no_request_is_no_rate() -> None:
    """Of nothing there is no share, and that is not zero."""
    none = {("twinscore_responses_total", "200", ""): 0.0}
    found = figures_between("loans", "3", NOW, NOW + timedelta(seconds=1), none)

    assert (0, None) == (found[0].value, found[-1].value)


def test_orders_are_tried_later_and_later() -> None:
    """Twice as long each time up to a quarter of an hour, within a fifth, and not all orders at once."""
    from twinscore.control.courier import backoff_s

    waits = [[backoff_s(f"order-{n}", attempt) for n in range(50)] for attempt in range(1, 12)]

    for attempt, some in enumerate(waits):
        nominal = min(10.0 * 2**attempt, 900.0)
        assert all(0.8 * nominal <= one <= 1.2 * nominal for one in some)
        assert len(set(some)) > 40


def test_alerts_begin_with_nothing(store: ControlStore) -> None:
    """A model without figures and rules leaves no trace in the store."""
    from twinscore.monitoring.spec import MonitorSpec

    alerts = Alerts("loans", store=store, spec_of=lambda _: MonitorSpec(playbook=False))
    alerts.turn(None)

    assert store.alerts.load("loans") is None
