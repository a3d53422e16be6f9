"""The real client of the Open Inference Protocol, through a real edge, to replicas that can be killed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import tritonclient.grpc as triton  # type: ignore[import-untyped]
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from twinscore.access.keys import create_key
from twinscore.audit.places import model_folder
from twinscore.audit.reader import Entry, read_model
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.spec import AuditPolicy
from twinscore.wiring import listener_roster

from ..access.conftest import AUDIENCE, ISSUER, Provider
from ..edge.backend import Backend, serving
from ..edge.conftest import Edge, edge, own_port, wait_until
from .killing import Nursery
from .test_inference_grpc import inputs_of, whole

UNAVAILABLE = "StatusCode.UNAVAILABLE"


@dataclass
class Stand:
    """Replicas of `members` behind an edge that speaks gRPC; whoever asks needs a key."""

    edge: Edge
    nursery: Nursery
    key: dict[str, str]
    token: dict[str, str]

    def client(self) -> Any:
        """Return a client of the edge, to be closed."""
        return contextlib.closing(triton.InferenceServerClient(f"127.0.0.1:{self.edge.settings.grpc_port}"))

    def born(self) -> int:
        """Start one more replica, and return its process once the edge sends to it."""
        before = self.sent_to()
        pid = self.nursery.fork("serve")
        wait_until(lambda: self.sent_to() > before)
        return pid

    def sent_to(self) -> int:
        """Return to how many replicas the edge sends gRPC."""
        return len([slot for slot in self.edge.slots().get("grpc-members", ()) if slot.state == "ready"])

    def log(self) -> list[Entry]:
        """Return every record."""
        return list(read_model(model_folder(self.edge.settings.lake, "members")))


@pytest.fixture(scope="module")
def stand(binary: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Two replicas behind an edge."""
    home = tmp_path_factory.mktemp("grpc") / "home"
    made = create_key(
        home, label="caller", models=["members"], verbs=["predict", "read"], days=1, now=datetime.now(UTC)
    )
    provider = Provider({"ed": Ed25519PrivateKey.generate()})
    (home / "access" / "issuers").mkdir(mode=0o700)
    (home / "access" / "issuers" / "ed.pem").write_bytes(provider.public("ed"))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "keys": ["ed"]}
    (home / "access" / "issuers.yaml").write_text(yaml.safe_dump({"issuers": [issuer]}))
    token = provider.token(exp=time.time() + 600, models=["members"]).decode()
    with edge(home, grpc_port=own_port()) as found, pytest.MonkeyPatch.context() as environment:
        environment.setenv("TWINSCORE_GRPC_PORT", str(found.settings.grpc_port))
        with Nursery(binary.bundle.folder, binary.bundle.digest, home) as nursery:
            one = Stand(found, nursery, {"authorization": f"Bearer {made.text}"}, {"authorization": f"Bearer {token}"})
            for _ in range(2):
                one.born()
            yield one


@pytest.mark.parametrize("n_rows", [1, 60])
def test_the_client_gets_the_bits_of_predict_through_the_edge(stand: Stand, binary: Any, n_rows: int) -> None:
    """Health, pages and rows; each answer is in the log of one of the replicas, and both have some."""
    rows = whole(binary, n_rows)
    expected = [row.score for row in binary.endpoint.predictions(binary.endpoint.score(binary.endpoint.ask(
        rows, at="/instances", partial=False)))]  # fmt: skip
    with stand.client() as client:
        ready = (client.is_server_live(), client.is_server_ready(), client.is_model_ready("members", "1"))
        server, model = client.get_server_metadata(stand.key), client.get_model_metadata("members", headers=stand.key)
        answers = {
            name: client.infer("members", inputs_of(binary, rows), headers={**stand.key, "x-request-id": name})
            for name in [f"edge-{n_rows}-{number}" for number in range(12)]
        }
    found = {entry.record.request_id: entry for entry in stand.log()}

    assert ((True, True, True), "twinscore", "members") == (ready, server.name, model.name)
    assert all(expected == answer.as_numpy("score").tolist() for answer in answers.values())
    assert {(200, "infer")} == {(found[name].record.status, found[name].record.path) for name in answers}
    assert len({found[name].stream for name in answers}) >= 2


def test_the_edge_asks_for_keys_and_names_what_is_not_served(stand: Stand, binary: Any) -> None:
    """With a token as with a key; without one or with a wrong one nobody scores, which is recorded as over HTTP."""
    rows = inputs_of(binary, whole(binary, 1))
    said = {}
    with stand.client() as client:
        client.infer("members", rows, headers={**stand.token, "x-request-id": "by-token"})
        for name, model, headers in (
            ("none", "members", {}), ("wrong", "members", {"x-api-key": "tsk_wrong"}), ("model", "loans", stand.key),
        ):  # fmt: skip
            with pytest.raises(triton.InferenceServerException) as refused:
                client.infer(model, rows, headers={**headers, "x-request-id": f"refused-{name}"})
            said[name] = refused.value.status().removeprefix("StatusCode.")
    statuses = {entry.record.request_id: entry.record.status for entry in stand.log()}

    assert {"none": "UNAUTHENTICATED", "wrong": "UNAUTHENTICATED", "model": "NOT_FOUND"} == said
    assert (401, 401, 200) == tuple([statuses[name] for name in ("refused-none", "refused-wrong", "by-token")])


@contextlib.contextmanager
def load(stand: Stand, binary: Any, name: str) -> Iterator[dict[str, str]]:
    """Four clients call until the block ends; gives what each came to. Each answer is in the log, with its bits."""
    tensors = inputs_of(binary, whole(binary, 1))
    over = threading.Event()
    told: dict[str, str] = {}
    scores = set()

    def ask(which: int) -> None:
        with stand.client() as client:
            while not over.is_set():
                request_id = f"{name}-{which}-{len(told):06}"
                try:
                    answer = client.infer("members", tensors, headers={**stand.key, "x-request-id": request_id})
                    scores.add(answer.as_numpy("score")[0])
                    told[request_id] = "OK"
                except triton.InferenceServerException as error:
                    told[request_id] = error.status()

    threads = [threading.Thread(target=ask, args=(which,)) for which in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(told) > 50)
        yield told
        before = len(told)
        wait_until(lambda: len(told) > before + 50)
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    kept = {entry.record.request_id: entry.record.status for entry in stand.log()}
    print(f"\n{name}: {dict(Counter(told.values()))}")
    assert set() == {one for one, what in told.items() if what == "OK" and kept.get(one) != 200}
    assert 1 == len(scores)


def test_a_killed_replica_costs_no_answer(stand: Stand, binary: Any) -> None:
    """One of three gets SIGKILL under load: calls inside it are sent again, and each answer is in the log."""
    victim = stand.born()
    with load(stand, binary, "killed") as told:
        stand.nursery.kill(victim)
        time.sleep(1)
    counts = Counter(told.values())

    assert counts.keys() <= {"OK", UNAVAILABLE}
    assert counts[UNAVAILABLE] <= 4  # one per client at most
    wait_until(lambda: stand.sent_to() == 2)


def test_replicas_that_leave_and_models_that_come_cost_no_call(stand: Stand, binary: Any) -> None:
    """One drains under load, and the proxy is reloaded for another model: every call is answered."""
    settings = stand.edge.settings
    front = Front(
        Gateway("members", binary.endpoint), settings, listener_roster(settings), replica="leaving",
        audit=AuditPolicy(reserve_mb=1),
    )  # fmt: skip
    wait_until(lambda: stand.sent_to() == 3)
    with load(stand, binary, "leaves") as told, serving(Backend(stand.edge.roster, "other", "o")):
        wait_until(lambda: "model-other" in stand.edge.slots())
        front.close()

    assert {"OK"} == set(told.values())


def test_replicas_that_listen_at_a_free_port_announce_it(stand: Stand) -> None:
    """Each has a port of its own for gRPC in the roster, beside that of HTTP."""
    found = listener_roster(stand.edge.settings).listeners()
    ports = {port for one in found for port in (one.port, one.grpc_port)}

    assert None not in ports
    assert len(ports) == 2 * len(found) >= 4
