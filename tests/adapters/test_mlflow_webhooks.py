"""A subscription at a real MLflow server: what it sends when an alias moves is taken as a hint."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.mlflow_aliases import MlflowAliases
from twinscore.adapters.mlflow_client import connect
from twinscore.adapters.mlflow_models import BUNDLE_TAG, MlflowModels
from twinscore.adapters.mlflow_webhooks import subscribe, unsubscribe
from twinscore.errors import SettingsInvalid
from twinscore.rollout.webhook import Deliveries, Hint, check
from twinscore.settings import load_settings
from twinscore.wiring import subscribe_to_aliases

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

SECRET = "shared with the server"
_PATIENCE_S = 90

Calls = queue.Queue[tuple[dict[str, str], bytes]]


@pytest.fixture
def receiver() -> Iterator[tuple[str, Calls]]:
    """An address that takes whatever is sent, and what was sent there."""
    calls: Calls = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.put((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/hook", calls
        http.shutdown()


def test_a_move_is_hinted_at(server: str, bundle: Bundle, receiver: tuple[str, Calls]) -> None:
    """The server calls when an alias is set, moved and taken away, and each call passes for what it is."""
    url, calls = receiver
    model = "called"
    MlflowModels(server).register(model, bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    # Subscribed twice: the second time replaces the first, with the address and the secret that are right.
    subscribe(server, "twinscore", f"{url}/old", "an old secret")
    subscribe_to_aliases(load_settings(mlflow_uri=server), "twinscore", url, SECRET)

    aliases = MlflowAliases(server)
    aliases.move(model, "champion", "1", expected=None)
    aliases.move(model, "champion", None, expected="1")

    seen = Deliveries()
    sent = [calls.get(timeout=_PATIENCE_S) for _ in range(2)]
    hints = [check(headers, body, secret=SECRET, now=datetime.now(UTC), seen=seen) for headers, body in sent]
    again = [check(headers, body, secret=SECRET, now=datetime.now(UTC), seen=seen) for headers, body in sent]
    events = {f"model_version_alias.{action}" for action in ("created", "deleted")}
    assert {Hint(model, event) for event in events} == set(hints)
    assert ["repeated", "repeated"] == [getattr(one, "code", "") for one in again]


def test_a_subscription_can_be_taken_back(server: str) -> None:
    """After that the server knows of none with the name; taking it back again changes nothing."""
    subscribe(server, "passing", "http://127.0.0.1:9/hook", SECRET)

    unsubscribe(server, "passing")
    unsubscribe(server, "passing")

    assert "passing" not in {webhook.name for webhook in connect(server).list_webhooks()}


def test_an_address_that_the_server_does_not_call_is_said(server: str) -> None:
    """The refusal names the address and the settings of the server that decide."""
    with pytest.raises(SettingsInvalid, match=r"does not call ftp://x/hook.*MLFLOW_WEBHOOK_ALLOWED_SCHEMES"):
        subscribe(server, "wrong", "ftp://x/hook", SECRET)
