"""Receivers of alerts on this machine: GitHub, Jira, Slack and a webhook over real HTTP.

They are as strict as what they stand for: another path, method, token, header or member is refused. A test says what
goes wrong with the next calls.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Fault", "Receivers", "receivers", "serving"]

TOKEN = "t0ken-in-tests"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one call."""

    status: int = 0
    """Answered instead; 0 answers nothing and ends the connection."""
    headers: dict[str, str] = field(default_factory=dict)
    hangs_s: float = 0.0
    drips: bool = False
    """Whether the answer comes letter by letter."""
    after: bool = False
    """Whether what was asked is done all the same, so that only the answer is lost."""


class Receivers:
    """What the receivers were told, and what they shall do wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.issues: list[dict[str, Any]] = []
        self.comments: dict[str, list[dict[str, Any]]] = {}
        self.messages: list[str] = []
        self.events: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.faults: list[Fault] = []
        """Of the next calls, in order."""
        self.writes_only = False
        """Whether faults wait for a call that writes."""
        self.lock = threading.Lock()
        self.over = threading.Event()

    def fault(self, method: str) -> Fault | None:
        """Return what goes wrong with a call."""
        with self.lock:
            if not self.faults or (self.writes_only and method == "GET"):
                return None
            return self.faults.pop(0)

    def answer(self, method: str, path: str, asked: dict[str, str], headers: Any, body: Any) -> tuple[int, Any]:
        """Return status and JSON of a call."""
        for pattern, handle in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found:
                return handle(self, method, found, asked, headers, body)
        return 404, {"message": "Not Found"}


def _github(
    seen: Receivers, method: str, found: re.Match[str], asked: dict[str, str], headers: Any, body: Any
) -> tuple[int, Any]:
    if headers.get("authorization") != f"Bearer {TOKEN}":
        return 401, {"message": "Bad credentials"}
    if headers.get("accept") != "application/vnd.github+json" or not headers.get("user-agent"):
        return 415, {"message": "Unsupported"}
    number, comments = found["number"], found["comments"]
    page, size = int(asked.get("page", "1")) - 1, int(asked.get("per_page", "30"))
    if number is None:
        if method == "GET":
            state = asked.get("state", "open")
            listed = [one for one in reversed(seen.issues) if state in ("all", one["state"])]
            return 200, listed[page * size : (page + 1) * size]
        if method != "POST" or not isinstance(body.get("title"), str) or set(body) - {"title", "body", "labels"}:
            return 422, {"message": "Validation Failed"}
        issue = {
            **body,
            "number": len(seen.issues) + 1,
            "state": "open",
            "html_url": f"{seen.url}/i/{len(seen.issues)}",
        }
        seen.issues.append(issue)
        return 201, issue
    if int(number) > len(seen.issues):
        return 404, {"message": "Not Found"}
    if comments is not None:
        said = seen.comments.setdefault(number, [])
        if method == "GET":
            return 200, said[page * size : (page + 1) * size]
        said.append({"id": len(said), "body": body["body"]})
        return 201, said[-1]
    if method != "PATCH" or set(body) - {"state", "state_reason"} or body["state"] not in ("open", "closed"):
        return 422, {"message": "Validation Failed"}
    seen.issues[int(number) - 1].update(body)
    return 200, seen.issues[int(number) - 1]


def _jira(
    seen: Receivers, method: str, found: re.Match[str], asked: dict[str, str], headers: Any, body: Any
) -> tuple[int, Any]:
    basic = base64.b64encode(f"ops@example.org:{TOKEN}".encode()).decode()
    if headers.get("authorization") != f"Basic {basic}":
        return 401, {"errorMessages": ["You are not authenticated."]}
    what = found["what"]
    if what == "search/jql" and method == "GET":
        label = re.search(r'project = "OPS" AND labels = "(\S+)"', asked["jql"])
        if label is None:
            return 400, {"errorMessages": ["Error in the JQL Query"]}
        return 200, {"issues": [one for one in seen.issues if label[1] in one["fields"]["labels"]][:1]}
    if what == "issue" and method == "POST":
        fields = body["fields"]
        if fields["project"] != {"key": "OPS"} or "\n" in fields["summary"] or len(fields["summary"]) > 255:
            return 400, {"errors": {"summary": "is invalid"}}
        new = {"statusCategory": {"key": "new"}}
        key = f"OPS-{len(seen.issues) + 1}"
        seen.issues.append({"id": "1", "key": key, "fields": {**fields, "status": new}})
        return 201, {"id": "1", "key": key, "self": ""}
    key, _, rest = what.removeprefix("issue/").partition("/")
    issue = next((one for one in seen.issues if one["key"] == key), None)
    if issue is None:
        return 404, {"errorMessages": ["Issue does not exist"]}
    if rest == "comment":
        said = seen.comments.setdefault(key, [])
        if method == "GET":
            return 200, {"comments": said}
        said.append({"body": body["body"]})
        return 201, said[-1]
    if rest == "transitions":
        ways = [{"id": str(n), "name": name, "to": {"statusCategory": {"key": kind}}}
                for n, (name, kind) in enumerate([("Start", "indeterminate"), ("Resolve", "done")])]  # fmt: skip
        if method == "GET":
            return 200, {"transitions": ways}
        issue["fields"]["status"] = ways[int(body["transition"]["id"])]["to"]
        return 204, None
    return 200, {"fields": {"status": issue["fields"]["status"]}}


def _slack(seen: Receivers, method: str, _: Any, __: Any, headers: Any, body: Any) -> tuple[int, Any]:
    if method != "POST" or headers.get("content-type") != "application/json":
        return 400, "invalid_payload"
    if not isinstance(body, dict) or not body.get("text"):
        return 400, "no_text"
    seen.messages.append(body["text"])
    return 200, "ok"


def _webhook(seen: Receivers, method: str, _: Any, __: Any, headers: Any, body: Any) -> tuple[int, Any]:
    if method != "POST" or headers.get("idempotency-key") != body["id"]:
        return 400, {"message": "no key"}
    if body["id"] not in [one["id"] for one in seen.events]:
        seen.events.append({**body, "signature": headers.get("x-twinscore-signature")})
    return 200, {"ticket": f"T-{body['incident']}"}


_ROUTES: list[tuple[str, Any]] = [
    (r"/repos/acme/risk/issues(?:/(?P<number>\d+)(?P<comments>/comments)?)?", _github),
    (r"/jira/rest/api/2/(?P<what>.+)", _jira),
    (r"/services/T0/B0/secret", _slack),
    (r"/hook", _webhook),
]


@contextmanager
def receivers() -> Iterator[Receivers]:
    """Start the receivers on a port of their own."""
    seen = Receivers()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def _any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            parts = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
            fault = seen.fault(self.command)
            with seen.lock:
                seen.calls.append(f"{self.command} {parts.path}")
                if fault is None or fault.after:
                    body = json.loads(raw) if raw else None
                    status, said = seen.answer(self.command, parts.path, asked, self.headers, body)
            if fault is not None:
                seen.over.wait(fault.hangs_s)
                if not fault.status:
                    self.close_connection = True
                    return
                status, said = fault.status, {"message": "as the test wants it"}
            self._say(status, said, fault)

        def _say(self, status: int, said: Any, fault: Fault | None) -> None:
            text = b"" if said is None else said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in (fault.headers if fault else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            if fault is None or not fault.drips:
                self.wfile.write(text)
                return
            for letter in text:
                if seen.over.wait(0.2):
                    return
                self.wfile.write(bytes([letter]))

        do_GET = do_POST = do_PATCH = _any  # noqa: N815 - names of the library

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            """A client that left is no news."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield seen
    finally:
        seen.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def serving(pages: Mapping[str, Callable[[], str]]) -> Iterator[int]:
    """Serve pages of text on a port of their own, and return it."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            page = pages.get(self.path)
            text = b"" if page is None else page().encode()
            self.send_response(404 if page is None else 200)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
