"""Kills, additions and overload under POST load: what callers of the edge see, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .backend import Backend, serving
from .conftest import BODY, JSON, Edge, edge, load, own_port, wait_until


def failures(counts: Counter[str]) -> dict[str, int]:
    return {what: n for what, n in counts.items() if what != "200"}


def test_killed_replica_costs_no_request(own_edge: Edge) -> None:
    """One of two replicas gets SIGKILL under load, three times: every POST is answered 200."""
    own_edge.replica("loans", "a", delay_ms=5)
    own_edge.replica("loans", "b", delay_ms=5)
    with load(own_edge, "/loans/predict") as counts:
        for round_ in range(3):
            time.sleep(0.7)
            victim = own_edge.replicas.pop("a" if round_ == 0 else f"c{round_ - 1}")
            victim.kill()
            victim.wait(5)
            time.sleep(0.7)
            own_edge.replica("loans", f"c{round_}", delay_ms=5)

    assert failures(counts) == {}
    assert counts["200"] > 200


def test_each_replica_has_one_slot_that_stays(own_edge: Edge) -> None:
    """The keeper changes the slots once per change of the roster, and then leaves them alone."""
    for name in ("a", "b"):
        own_edge.replica("loans", name)
    before = own_edge.slots()["model-loans"]
    time.sleep(1.5)
    said = (own_edge.settings.home / "edge.log").read_text()

    assert [(slot.name, slot.state) for slot in before if slot.state != "maint"] == [("s1", "ready"), ("s2", "ready")]
    assert own_edge.slots()["model-loans"] == before
    assert said.count("edge_slots") == 1
    assert said.count("edge_reloaded") == 1


def test_replica_that_stops_answering_is_left_out(own_edge: Edge) -> None:
    """A replica under SIGSTOP fails its probes and gets nothing new; the other answers."""
    own_edge.replica("loans", "a")
    own_edge.replica("loans", "b")
    own_edge.replicas["a"].send_signal(signal.SIGSTOP)
    try:
        time.sleep(4)
        with load(own_edge, "/loans/predict", clients=2) as counts:
            time.sleep(1)
    finally:
        own_edge.replicas["a"].send_signal(signal.SIGCONT)

    assert failures(counts) == {}
    assert counts["200"] > 20


def test_models_come_and_go_under_load(own_edge: Edge, tmp_path: Path) -> None:
    """New models reload the proxy, replicas are replaced in its slots, and no POST to another model fails.

    Serve's own ingress is behind it, as always: a client that was idle over a reload asks the proxy of before once
    more, which knows only the replicas of then.
    """
    serve = Backend(tmp_path / "nobody-reads-this", "any", "serve")
    with serving(serve, port=own_edge.ingress_port):
        wait_until(lambda: own_edge.ask("GET", "/-/healthz")[0] == 200)
        own_edge.replica("loans", "a")
        with load(own_edge, "/loans/predict") as counts:
            for number in range(3):
                own_edge.replica(f"other-{number}", f"o{number}")
                own_edge.replica("loans", f"b{number}")
                for name in (f"o{number}", "a" if number == 0 else f"b{number - 1}"):
                    leaving = own_edge.replicas.pop(name)
                    leaving.terminate()
                    leaving.wait(10)
            time.sleep(0.5)

    assert failures(counts) == {}, (own_edge.settings.home / "edge.log").read_text()[-4_000:]
    assert counts["200"] > 500


def test_killed_keeper_costs_no_request_and_its_successor_goes_on(own_edge: Edge) -> None:
    """Without a keeper the proxy answers as before; a new keeper adopts it and takes in a new replica."""
    own_edge.replica("loans", "a")
    proxy = own_edge.haproxy()
    assert own_edge.keeper is not None
    with load(own_edge, "/loans/predict") as counts:
        own_edge.keeper.kill()
        own_edge.keeper.wait(5)
        time.sleep(1)
        own_edge.keep()
        own_edge.replica("loans", "b")

    assert failures(counts) == {}
    assert own_edge.haproxy() == proxy
    assert own_edge.reached("loans") == {"a", "b"}


@pytest.mark.parametrize("whom", ["master", "worker"])
def test_killed_proxy_is_back_at_once(own_edge: Edge, whom: str) -> None:
    """The keeper starts it again with the slots that it had; both kinds of process may be the victim."""
    own_edge.replica("loans", "a")
    before = own_edge.haproxy()
    victim = before if whom == "master" else int(Path(f"/proc/{before}/task/{before}/children").read_text().split()[0])
    with load(own_edge, "/loans/predict", clients=2) as counts:
        time.sleep(0.5)
        os.kill(victim, signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: own_edge.haproxy() != before)  # it is back so soon that a look may miss its absence
        wait_until(own_edge.answers)
        print(f"\nback after {time.monotonic() - began:.2f} s")
        answered = counts["200"]
        wait_until(lambda: counts["200"] > answered + 20)

    assert own_edge.haproxy() != before
    assert set(counts) <= {
        "200",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "BrokenPipeError",
        "RemoteDisconnected",
    }
    assert own_edge.reached("loans") == {"a"}


def test_overload_is_answered_503_at_once(own_edge: Edge) -> None:
    """Beyond what the replica takes, requests wait for at most some milliseconds, and are told when to come again."""
    own_edge.replica("loans", "slow", limit=2, delay_ms=1_000)
    with ThreadPoolExecutor(12) as pool:
        began = time.monotonic()

        def ask(_: int) -> tuple[int, float, dict[str, str], bytes]:
            status, headers, body = own_edge.ask("POST", "/loans/predict", BODY, JSON)
            return status, time.monotonic() - began, headers, body

        answers = list(pool.map(ask, range(12)))
    refused = [answer for answer in answers if answer[0] == 503]
    print(f"\nslowest refusal after {1000 * max(answer[1] for answer in refused):.0f} ms")

    assert Counter(answer[0] for answer in answers) == {200: 2, 503: 10}
    assert {answer[2]["retry-after"] for answer in refused} == {"1"}
    assert {json.loads(answer[3])["code"] for answer in refused} == {"overloaded"}
    assert max(answer[1] for answer in refused) < min(answer[1] for answer in answers if answer[0] == 200)


def test_listeners_own_503_goes_to_another_one(own_edge: Edge) -> None:
    """A replica that cannot write its audit log answers 503: another one is asked, and callers see no failure."""
    full, well = Backend(own_edge.roster, "loans", "full"), Backend(own_edge.roster, "loans", "well")
    full.status = 503
    with serving(full, well):
        wait_until(lambda: own_edge.reached("loans") and full.answered and well.answered)
        before = full.answered
        answers = Counter(own_edge.ask("POST", "/loans/predict", BODY, JSON)[0] for _ in range(40))
        tried = full.answered - before
        well.status = 503
        last, headers, _ = own_edge.ask("POST", "/loans/predict", BODY, JSON)

    assert answers == {200: 40}
    assert tried > 0
    assert (last, "x-served-by" in headers) == (503, True)


@pytest.mark.parametrize("status", [404, 422, 500])
def test_listeners_other_answers_are_final(own_edge: Edge, status: int) -> None:
    """What a listener says about a request is the answer: it is not asked twice."""
    one = Backend(own_edge.roster, "loans", "a")
    one.status = status
    with serving(one):
        wait_until(lambda: "a" in own_edge.reached("loans"))
        before = one.answered
        answer, headers, _ = own_edge.ask("POST", "/loans/predict", BODY, JSON)

        assert (answer, headers["x-served-by"], one.answered - before) == (status, "a", 1)


def test_ray_serve_stands_in_when_no_listener_answers(tmp_path: Path) -> None:
    """While every listener of a model is gone, its requests go to Serve's own ingress."""
    with edge(tmp_path / "home") as made:
        serve = Backend(tmp_path / "nobody-reads-this", "any", "serve")
        made.ingress_port = own_port()
        assert made.keeper is not None
        made.keeper.terminate()
        made.keeper.wait(15)
        made.keep()
        made.replica("loans", "a")
        with serving(serve, port=made.ingress_port):
            wait_until(lambda: made.ask("GET", "/-/healthz")[0] == 200)
            wait_until(lambda: "serve" in made.reached("unknown"))
            with load(made, "/loans/predict", clients=2) as counts:
                time.sleep(0.5)
                made.replicas["a"].kill()
                wait_until(lambda: made.reached("loans") == {"serve"})

    assert failures(counts) == {}


def test_second_keeper_of_a_folder_is_refused(own_edge: Edge) -> None:
    """Two keepers would undo each other's slots."""
    assert own_edge.keeper is not None
    again = subprocess.run(
        own_edge.keeper.args, env={**os.environ, "TWINSCORE_HOME": str(own_edge.settings.home)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert again.returncode == 1
    assert "another keeper works on" in again.stdout + again.stderr


def test_taken_port_ends_the_keeper(own_edge: Edge) -> None:
    """A keeper whose proxy cannot listen says so and ends, and leaves no proxy behind."""
    import tempfile

    with (
        tempfile.TemporaryDirectory(prefix="ts-e-") as folder,
        serving(Backend(Path(folder) / "r", "m", "x"), port=(port := own_port())),
    ):
        assert own_edge.keeper is not None
        assert isinstance(own_edge.keeper.args, list)
        command = [str(part) for part in own_edge.keeper.args[:5]]
        taken = subprocess.run(
            [*command, "--folder", folder],
            env={**os.environ, "TWINSCORE_HOME": str(own_edge.settings.home), "TWINSCORE_SERVE_PORT": str(port)},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert taken.returncode == 1
    assert "edge_not_started" in taken.stdout + taken.stderr
