"""What alerts do, end to end: figures in, and tickets, holds, audits and messages out, each once whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from twinscore.bundle.files import Bundle
from twinscore.clock import FixedClock
from twinscore.errors import StoreUnavailable
from twinscore.monitoring.figure import Figure
from twinscore.ports.load_ladder import Rung
from twinscore.rollout.hold import covering
from twinscore.rollout.ledger import verify_chain
from twinscore.settings import load_settings
from twinscore.testing.promotion import settled_world
from twinscore.wiring import bundle_store, open_rollout_store

from ..audit.logs import scored_records, write_log
from ..receivers import TOKEN, Fault, Receivers, receivers
from .alert_world import MODEL, START, AlertWorld
from .patience import until

Make = Callable[[str], AlertWorld]
GITHUB = """
  tickets: {kind: github, url: URL, repository: acme/risk, token_env: TRACKER, private: true}
"""
DRIFT = """
    - name: income drifts
      metric: psi
      subject: income
      when: value > 0.2
      windows: 2 of 3
      cooldown: 24h
      do: [ticket, {hold: {expires: 48h, release: on_recovery}}]
"""


@pytest.fixture
def seen() -> Iterator[Receivers]:
    """Receivers of the test's own."""
    with receivers() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, seen: Receivers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes a world whose deployment file has these rules."""
    monkeypatch.setenv("TRACKER", TOKEN)
    monkeypatch.setenv("SLACK", f"{seen.url}/services/T0/B0/secret")
    (tmp_path / "deployments").mkdir()
    settings = load_settings(home=tmp_path / "home", deployments=tmp_path / "deployments")
    with open_rollout_store(settings) as store:

        def make(monitor: str) -> AlertWorld:
            head = f"model: {MODEL}\ndegrade: {{version: '@cheap', p99_ms: 250}}\nmonitor:\n  playbook: false\n"
            text = head + monitor.replace("URL", seen.url)
            (settings.deployments / f"{MODEL}.yaml").write_text(text)
            made.append(AlertWorld(settings, store, taken_s=1.0))
            return made[-1]

        made: list[AlertWorld] = []
        yield make
        for one in made:
            one.courier.close()


def rules(*some: str, more: str = "") -> str:
    """Return a monitor section with these rules."""
    return f"{more.rstrip()}\n  rules:{''.join(some)}"


def comments(seen: Receivers) -> int:
    """Return how many comments stand on all tickets."""
    return sum(map(len, seen.comments.values()))


def test_drift_opens_one_ticket_and_holds_rollouts(world: Make, seen: Receivers) -> None:
    """A breach that lasts is one ticket and one hold that a rollout sees; with the recovery both are over."""
    alerts = world(rules(DRIFT, more=GITHUB))
    for value in (0.1, 0.4, 0.5, 0.6):
        alerts.hour("psi", value, subject="income")
        alerts.deliver()
    (hold,) = alerts.store.holds.held()
    promotion = settled_world()
    promotion.aliases["champion"] = "2"
    promotion.until(500)
    promotion.holds = list(alerts.store.holds.held())
    promotion.run(60)
    held_at = promotion.share("2")

    assert 1 == len(seen.issues)
    assert ("open", 0) == (seen.issues[0]["state"], comments(seen))
    assert (MODEL, "income drifts", "rule income drifts") == (hold.scope, hold.source, hold.owner)
    assert promotion.state.rollout is not None
    assert (500, True) == (held_at, promotion.state.rollout.waits.startswith("held by rule income drifts"))
    assert covering(alerts.store.holds.held(), MODEL, hold.created_at + timedelta(hours=1)) == (hold,)
    for value in (0.1, 0.1, 0.1):
        alerts.hour("psi", value, subject="income")
        alerts.deliver()
    promotion.holds = list(alerts.store.holds.held())
    promotion.run(40)
    assert promotion.share("2") == 10_000
    assert ("closed", 1) == (seen.issues[0]["state"], len(seen.issues))
    assert alerts.store.holds.held() == ()
    assert Counter(
        incident_opened=1, incident_closed=1, ticket_opened=1, ticket_closed=1, hold_placed=1, hold_released=1
    ) == Counter(alerts.kinds())
    assert verify_chain(alerts.store.ledger.entries(MODEL)) is None


def test_five_hundred_breaches_are_one_ticket(world: Make, seen: Receivers, tmp_path: Path) -> None:
    """One ticket and at most one comment a day, over restarts and a kill in the middle of opening it; closed once."""
    alerts = world(rules(DRIFT, more=GITHUB))
    for number in range(10):
        alerts.hour("psi", 0.5 + number / 100, subject="income")
    seen.writes_only = True
    seen.faults = [Fault(after=True, hangs_s=30.0, status=201)]
    program = [sys.executable, str(Path(__file__).with_name("alert_world.py"))]
    process = subprocess.Popen(
        [*program, str(tmp_path / "home"), str(tmp_path / "deployments")], stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    until(lambda: bool(seen.issues))
    process.send_signal(signal.SIGKILL)
    process.wait()
    (ticket,) = [one for one in alerts.store.orders.orders(MODEL) if one.order.action == "ticket"]
    killed = (len(seen.issues), ticket.state, ticket.attempts)
    time.sleep(1.1)  # until what the killed one had taken may be taken by another
    for number in range(35):
        if number % 5 == 0:
            alerts.courier.close()
            alerts.restart()
        alerts.hour("psi", 0.5, hours=14, subject="income")
        if number % 2 == 0:
            alerts.deliver()
    before = (len(seen.issues), seen.issues[0]["state"])
    said = comments(seen)
    for _ in range(3):
        alerts.hour("psi", 0.01, subject="income")
    alerts.deliver()

    assert (1, "waiting", 1) == killed
    assert (1, "open") == before
    assert 15 <= said <= 500 // 24 + 1
    assert (1, "closed", said + 1) == (len(seen.issues), seen.issues[0]["state"], comments(seen))
    assert 1 == len(alerts.store.holds.held(over=True))
    assert {"done"} == {one.state for one in alerts.store.orders.orders(MODEL)}
    assert 1 == Counter(alerts.kinds())["ticket_opened"]


def test_what_comes_back_soon_opens_the_same_ticket_again(world: Make, seen: Receivers) -> None:
    """Within the cooldown it is the same incident and the same ticket; a dry run does nothing but show."""
    alerts = world(rules(DRIFT, more=GITHUB))
    for value in (0.4, 0.4, 0.1, 0.1, 0.1, 0.4, 0.4):
        alerts.hour("psi", value, subject="income")
        alerts.deliver()
    shown = alerts.store.alerts.load(MODEL)

    assert (1, "open") == (len(seen.issues), seen.issues[0]["state"])
    assert shown is not None
    assert ["income drifts"] == [one["rule"] for one in shown.document["open"]]
    dry = world(rules(DRIFT.replace("do:", "dry_run: true\n      do:").replace("income drifts", "dry"), more=GITHUB))
    for _ in range(3):
        dry.hour("psi", 0.45, subject="income")
        dry.deliver()
    orders = [one for one in dry.store.orders.orders(MODEL) if one.order.dry_run]
    assert (2, 1) == (len(orders), len(seen.issues))
    assert all(one.result == {"dry_run": True} for one in orders)


GAP = """
    - name: false alarms by city
      metric: fpr_gap
      subject: city
      when: low > 10%
      do: [{audit: {cases: 24}}, page]
"""


def test_a_gap_between_groups_starts_an_audit(world: Make, seen: Receivers, bundle: Bundle, tmp_path: Path) -> None:
    """Proved by its interval only; cases of every group and decision, the same ones again, blind; people are paged."""
    alerts = world(rules(GAP, more="\n  notify: {kind: slack, url_env: SLACK, private: true}"))
    digest = bundle_store(alerts.settings).publish(bundle.folder)
    log = alerts.settings.lake / "audit" / MODEL
    records = scored_records(bundle, 300)
    write_log(log, records)
    write_log(log, records[:40], stream="sent-again")
    alerts.hour("fpr_gap", 0.3, subject="city", low=0.05, high=0.5)
    alerts.deliver()
    unproved = (alerts.store.cases.audits(), list(seen.messages))
    alerts.put([START], "fpr_gap", 0.3, subject="city", low=0.15, high=0.5)
    alerts.alerts.turn(alerts.lease)
    alerts.deliver()
    (audit,) = alerts.store.cases.audits(MODEL)
    cases = alerts.store.cases.cases(audit.id)
    strata = Counter(case.stratum for case in cases)
    cities = {case.features["city"] for case in cases}

    assert digest == bundle.digest
    assert ((), []) == unproved
    assert (24, True) == (len({(case.request_id, case.row) for case in cases}), audit.blind)
    assert set(audit.facts["strata"]) == set(strata)
    assert {None} < cities or len(cities) >= 3
    assert max(strata.values()) - min(strata.values()) <= max(1, 24 // len(strata))
    assert all({"score", "decision"} <= set(case.answer) for case in cases)
    assert all("answer" not in case.to_json(blind=True) for case in cases)
    assert 1 == len(seen.messages)
    assert {"incident_opened": 1, "audit_started": 1, "page_sent": 1} == Counter(alerts.kinds())


def test_one_receiver_that_fails_stops_no_other(world: Make, seen: Receivers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hold is placed while the tracker hangs; the second tracker has its ticket, once; the first gets it later."""
    more = """
  tickets:
    - {kind: github, url: URL, repository: acme/risk, token_env: TRACKER, private: true}
    - {kind: sql, name: desk}
"""
    alerts = world(rules(DRIFT, more=more))
    monkeypatch.setattr("twinscore.control.courier._FIRST_S", 0.05)
    seen.faults = [Fault(hangs_s=1.0, status=500), Fault(status=503)]
    for _ in range(2):
        alerts.hour("psi", 0.4, subject="income")
    alerts.courier.turn(alerts.lease)
    until(lambda: bool(alerts.store.holds.held()))
    waiting = (len(seen.issues), len(alerts.store.tickets.tickets()))

    def told() -> bool:
        alerts.deliver()
        return bool(seen.issues)

    until(told)
    alerts.deliver()
    (order,) = [one for one in alerts.store.orders.orders(MODEL) if one.order.action == "ticket"]

    assert (0, 0) == waiting
    assert (1, 1) == (len(seen.issues), len(alerts.store.tickets.tickets()))
    assert ("done", 3) == (order.state, order.attempts)
    assert {"github", "desk"} == set(order.result["tickets"])


def test_what_cannot_be_done_is_visible(world: Make, seen: Receivers) -> None:
    """What nothing can do here, or the file no longer says, is given up at once; a broken file keeps the rules."""
    rule = """
    - name: slow
      metric: latency_ms_p99
      when: value > 250ms
      cadence: window
      do: [degrade, page]
"""
    alerts = world(rules(rule, more="\n  notify: {kind: slack, url_env: SLACK, private: true}"))
    alerts.hour("latency_ms_p99", 400.0)
    (alerts.settings.deployments / f"{MODEL}.yaml").write_text("model: loans\nmonitor: {playbook: false}\n")
    alerts.deliver()
    (alerts.settings.deployments / f"{MODEL}.yaml").write_text("model: loans\nmonitor: {rulez: []}\n")
    alerts.hour("latency_ms_p99", 500.0)
    failed = alerts.store.orders.orders(MODEL, states=["failed"])

    assert ["degrade", "page"] == [one.order.action for one in failed]
    assert "can degrade loans" in failed[0].trouble
    assert "notify names nobody" in failed[1].trouble
    assert 2 == Counter(alerts.kinds())["action_failed"]
    assert "rulez" in alerts.alerts.trouble
    assert seen.messages == []


class Ladder:
    """A ladder that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, float]] = []
        self.clock: FixedClock | None = None

    def set(self, model: str, rung: Rung, on: bool, reason: str, *, until: datetime | None = None) -> str:
        """Remember rung, on or off, and for how many seconds."""
        assert (MODEL, True) == (model, bool(reason))
        assert self.clock is not None
        self.asked.append((rung, on, 0.0 if until is None else (until - self.clock.now()).total_seconds()))
        return "as you wish"


def test_a_slow_model_climbs_while_an_incident_wants_it(world: Make) -> None:
    """Asked for when it opens, again before it ends by itself, after a restart too; taken back by the last one."""
    rule = """
    - {name: slow, metric: latency_ms_p99, when: value > 250ms, cadence: window, do: [scale, {degrade: {after: 1h}}]}
    - {name: very slow, metric: latency_ms_p99, when: value > 400ms, cadence: window, do: [degrade]}
"""
    alerts = world(rules(rule))
    ladder = Ladder()
    alerts.ladder, ladder.clock = ladder, alerts.clock
    alerts.restart()
    asked: list[list[tuple[str, bool, float]]] = []
    for value in (300.0, 500.0, 300.0, 300.0, 100.0):
        alerts.hour("latency_ms_p99", value)
        alerts.deliver()
        asked.append(ladder.asked[:])
        ladder.asked.clear()
        if value == 500.0:
            alerts.courier.close()
            alerts.restart()

    assert [("scale", True, 600.0)] == asked[0]
    assert {("scale", True, 600.0), ("degrade", True, 600.0)} == set(asked[1])
    assert {("scale", True, 600.0), ("degrade", True, 600.0)} == set(asked[2]) == set(asked[3])
    assert [("degrade", False, 0.0), ("scale", False, 0.0)] == sorted(asked[4])
    assert {"done"} == {one.state for one in alerts.store.orders.orders(MODEL)}
    assert Counter(alerts.kinds())["degrade_asked"] == 2


def test_only_windows_that_changed_are_judged(world: Make) -> None:
    """A look without news saves nothing; a window made anew is judged anew."""
    alerts = world(rules(DRIFT))
    for value in (0.4, 0.1):
        alerts.hour("psi", value, subject="income")
    stored = alerts.store.alerts.load(MODEL)
    alerts.alerts.turn(alerts.lease)
    unchanged = alerts.store.alerts.load(MODEL)
    alerts.put([START + timedelta(hours=1)], "psi", 0.9, subject="income")
    alerts.alerts.turn(alerts.lease)

    assert stored == unchanged
    assert {"incident_opened": 1} == Counter(alerts.kinds())


def test_figures_that_cannot_be_read_are_trouble(world: Make) -> None:
    """The rules stay as they were, and the trouble is told."""
    alerts = world(rules(DRIFT))
    alerts.hour("psi", 0.4, subject="income")

    class Away:
        def stamps(self) -> dict[object, str]:
            message = "The lake is away."
            raise StoreUnavailable(message)

        def read(self, *_: object) -> list[Figure]:
            return []

    alerts.alerts._windows = Away()  # type: ignore[assignment]
    alerts.alerts.turn(alerts.lease)

    assert "The lake is away" in alerts.alerts.trouble
