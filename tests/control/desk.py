"""A server with the paths that people change things by, and nothing behind them but a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from twinscore.access.gate import Access
from twinscore.access.keys import create_key
from twinscore.control.command_paths import CommandPaths
from twinscore.control.hold_paths import HoldPaths
from twinscore.control.http import tell
from twinscore.errors import TwinscoreError
from twinscore.ports.rollout_store import ControlStore
from twinscore.rollout.ledger import verify_chain
from twinscore.settings import Settings

__all__ = ["Desk", "empty_database", "opened"]

_NUMBERS = count()


class Desk:
    """Who asks the server, and what it told of changes."""

    def __init__(self, url: str, settings: Settings, store: ControlStore, changed: list[str | None]) -> None:
        self.client = httpx.Client(base_url=url, timeout=10)
        self.settings = settings
        self.store = store
        self.changed = changed

    def post(self, path: str, bearer: str = "", request: str = "", **document: Any) -> httpx.Response:
        """Send a document, with a key or a token."""
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        if request:
            headers["x-request-id"] = request
        return self.client.post(path, json=document, headers=headers)

    def key(self, label: str, model: str, *verbs: str) -> str:
        """Make a key."""
        now = datetime.now(UTC)
        return create_key(self.settings.home, label=label, models=[model], verbs=verbs, days=1.0, now=now).text

    def kinds(self, model: str) -> list[tuple[str, str]]:
        """Return what the ledger has of a model, and who asked for it; the chain is whole."""
        entries = self.store.ledger.entries(model)
        assert verify_chain(entries) is None
        return [(entry.kind, entry.requested_by) for entry in entries]


@contextmanager
def opened(settings: Settings, store: ControlStore) -> Iterator[Desk]:
    """Serve the paths of commands and holds over a store, on a port of their own."""
    changed: list[str | None] = []
    access = Access.load(settings.home)
    holds = HoldPaths(store.holds, access, changed.append)
    commands = CommandPaths(store.commands, access, changed.append)
    app = Starlette(routes=[*holds.routes(), *commands.routes()], exception_handlers={TwinscoreError: tell})
    with served(app) as url:
        desk = Desk(url, settings, store, changed)
        with desk.client:
            yield desk


def empty_database(server: str) -> str:
    """Make a database and return its address."""
    import psycopg

    name = f"desk_{next(_NUMBERS)}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return f"{server}/{name}"


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve an application over real HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
