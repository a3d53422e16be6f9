"""Keys over real HTTP: the client sends them, the gate decides, the commands of this machine have their own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from twinscore.access.gate import Access, challenge, status_of
from twinscore.access.grant import VERBS
from twinscore.access.keys import create_key
from twinscore.access.local import local_key
from twinscore.errors import AccessDenied, Forbidden, ModelNotReady, Unauthenticated
from twinscore.online import deploy
from twinscore.online.client import PredictClient


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    """A server that answers `/loans/version` to who may read it."""
    access = Access.load(home)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, extra = 200, {"bundle_digest": "d1"}, b""
            authorization, api_key = self.headers["authorization"], self.headers["x-api-key"]
            try:
                access.admit(
                    authorization and authorization.encode(),
                    api_key and api_key.encode(),
                    model="loans",
                    verb=VERBS[self.path.removeprefix("/loans")],
                    now_s=time.time(),
                )
            except AccessDenied as error:
                status, body, extra = status_of(error), {"detail": error.message}, challenge(error)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            if extra:
                self.send_header("www-authenticate", extra.decode())
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/loans"
        server.shutdown()
        thread.join()


def make(home: Path, label: str, verb: str) -> str:
    return create_key(home, label=label, models=["loans"], verbs=[verb], days=1, now=datetime.now(UTC)).text


def test_the_client_sends_its_key_and_raises_refusals(home: Path, url: str) -> None:
    """Without keys anybody asks; with keys, 401 and 403 are errors of their own, and nothing shows the key."""
    with PredictClient(url) as client:
        assert {"bundle_digest": "d1"} == client.version()
    reader, scorer = make(home, "reader", "read"), make(home, "scorer", "predict")
    with PredictClient(url, api_key=reader) as client:
        assert {"bundle_digest": "d1"} == client.version()
    time.sleep(1.0)  # the running server looks at its files once a second

    with PredictClient(url) as client, pytest.raises(Unauthenticated, match="A key or a token is needed"):
        client.version()
    with PredictClient(url, api_key=scorer) as client, pytest.raises(Forbidden, match="verb read") as caught:
        client.version()
    assert scorer not in f"{caught.value!r} {caught.value.fields} {client!r} {vars(client)}"


def test_a_key_is_taken_from_no_environment(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the shell or in a netrc file is not sent."""
    key = make(home, "reader", "read")
    netrc = home / "netrc"
    netrc.write_text(f"default login x password {key}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("API_KEY", key)
    time.sleep(1.0)

    with PredictClient(url) as client, pytest.raises(Unauthenticated):
        client.version()


def test_serving_waits_with_the_local_key(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at a new endpoint is let in on a stack that asks for keys, and without a key it is not."""
    make(home, "scorer", "predict")
    key = local_key(home, now=datetime.now(UTC))
    monkeypatch.setattr(deploy, "_READY_TIMEOUT_S", 2.0)

    deploy._wait_ready(url, "d1", key)
    with pytest.raises(ModelNotReady, match="status 401"):
        deploy._wait_ready(url, "d1", None)
