"""The proxy's configuration as a text: settings, places and slots in, HAProxy's language out; starts nothing.

The rules are in `haproxy.cfg` beside this file. Slots are written with their present addresses, so that a proxy that
starts or reloads sends to the right replicas from its first request.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from twinscore.edge.slots import EMPTY_SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twinscore.edge.slots import Slot
    from twinscore.settings import Settings

__all__ = [
    "ADMIN_SOCKET",
    "BACKEND_PREFIX",
    "BUFFER_BYTES",
    "QUEUE_MS",
    "Places",
    "can_be_routed",
    "render",
    "shape_of",
]

ADMIN_SOCKET = "admin.sock"
"""Name of the proxy's own socket in its folder."""
BACKEND_PREFIX = "model-"
"""What a model's backend is called: this and the model's name."""
BUFFER_BYTES = 65_536
"""Requests up to about this size can be sent again, and are guarded against slow bodies."""
QUEUE_MS = 25
"""How long a request may wait for a replica with room; then it is answered 503."""

_HEADER_BYTES = 16_384
_MAX_CONNECTIONS = 4_096
_LINGER_S = 5.0  # beyond the longest request, for connections of a configuration that was replaced
_CONTENT_TYPES = (
    "application/json",
    "text/csv",
    "application/csv",
    "application/vnd.apache.arrow.stream",
    "application/octet-stream",
)
_PROBLEMS = {
    400: ("bad_request", "The request is not HTTP that we accept, or its headers are above 16 KiB"),
    404: ("not_found", "There is nothing at this path"),
    405: ("method_not_allowed", "The path does not take this method"),
    408: ("too_slow", "The request did not arrive in time"),
    411: ("length_required", "The request has no content-length"),
    413: ("too_large", "The request is too large"),
    415: ("unsupported_media_type", "The content type is not one that a model reads"),
    500: ("edge_failed", "The edge could not handle the request"),
    502: ("no_answer", "The replica broke off; ask again"),
    503: ("overloaded", "No replica has room for the request now; ask again"),
    504: ("no_answer_in_time", "The replica did not answer in time"),
}
_BY_HAPROXY = (400, 408, 500, 502, 503, 504)
_AGAIN = {503: " hdr retry-after 1"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHAPE = re.compile(r"^# shape: ([0-9a-f]{64})$", re.MULTILINE)
_CHECK = "check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down"


@dataclass(frozen=True, slots=True)
class Places:
    """What an edge has beside the settings: its folder, where Ray Serve is, and where its counts can be read."""

    folder: Path
    """Folder of the sockets, for this user alone."""
    ingress: tuple[str, ...]
    """`host:port` of Ray Serve's own ingress; what follows the first is its reserve."""
    metrics_port: int | None = None
    """Port of `/metrics` on loopback."""
    revision: str = ""
    """Whatever else wants a reload when it changes, such as the time of the certificate."""


def can_be_routed(model: str) -> bool:
    """Tell whether a model's name can be a path and a backend; the registry takes no other names.

    >>> can_be_routed("loans"), can_be_routed("loans }")
    (True, False)
    """
    return _NAME.fullmatch(model) is not None


def render(settings: Settings, places: Places, backends: Mapping[str, Sequence[Slot]]) -> str:
    """Return the configuration of an edge.

    Args:
        settings: what it binds, and its limits.
        places: its folder and neighbours.
        backends: the slots of each model, all of them.
    """
    shape = hashlib.sha256(_fill(settings, places, dict.fromkeys(backends, EMPTY_SLOTS), "").encode()).hexdigest()
    return _fill(settings, places, backends, shape)


def shape_of(config: str) -> str | None:
    """Return the digest of everything in a configuration but its slots: while it stays, no reload is needed."""
    found = _SHAPE.search(config)
    return found.group(1) if found else None


def _fill(settings: Settings, places: Places, backends: Mapping[str, Sequence[Slot]], shape: str) -> str:
    models = sorted(model for model in backends if can_be_routed(model))
    certificate = settings.tls_certificate
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    bind = f"{host}:{settings.serve_port}"
    template = Template(Path(__file__).with_name("haproxy.cfg").read_text(encoding="utf-8"))
    return template.substitute(
        shape=shape,
        revision=places.revision,
        admin_socket=_quoted(places.folder / ADMIN_SOCKET),
        threads=settings.edge_threads,
        max_connections=_MAX_CONNECTIONS,
        bufsize=BUFFER_BYTES,
        timeout_s=_seconds(settings.request_timeout_s),
        linger_s=_seconds(settings.request_timeout_s + _LINGER_S),
        queue_ms=QUEUE_MS,
        bind=bind if certificate is None else f"{bind} ssl crt {_quoted(certificate)} alpn http/1.1",
        scheme="http" if certificate is None else "https",
        connections_per_address=settings.edge_connections_per_address,
        header_bytes=_HEADER_BYTES,
        max_body_bytes=settings.max_body_bytes,
        content_types="|".join(re.escape(kind) for kind in _CONTENT_TYPES),
        errors="\n".join(
            f"    http-error status {status} {_problem(status)}{_AGAIN.get(status, '')}" for status in _BY_HAPROXY
        ),
        anything_up="\n".join(f"    acl anything_up nbsrv({BACKEND_PREFIX}{model}) gt 0" for model in models),
        routes="\n".join(
            f"    use_backend {BACKEND_PREFIX}{model} if {{ path /{model} }} || {{ path_beg /{model}/ }}"
            for model in models
        ),
        ingress="\n".join(_ingress_servers(places.ingress)),
        backends="\n".join(_backend(model, backends[model], places.ingress) for model in models),
        metrics="" if places.metrics_port is None else _METRICS.format(port=places.metrics_port),
        **{f"problem_{status}": _problem(status) for status in _PROBLEMS},
    )


def _backend(model: str, slots: Sequence[Slot], ingress: Sequence[str]) -> str:
    lines = [
        f"backend {BACKEND_PREFIX}{model}",
        "    balance leastconn",
        # In the order of arrival while few wait. When twice as many wait as are inside, more comes than can be answered
        # in time, and the order turns round: who came last is answered soon, who waits too long is refused. The offset
        # is in milliseconds, at most 524,287 of them, and added to the time of arrival.
        "    http-request set-var(txn.two) be_conn,mul(2)",
        "    acl crowded queue,mul(3),sub(txn.two) -m int gt 0",
        "    http-request set-priority-offset date(0,ms),mod(262143),mul(-2) if crowded",
        # Twelve times as many cannot come in before their time is over; who comes now is told at once. Few may: while a
        # replica is taken over by another server nobody is inside for a moment.
        "    http-request set-var(txn.twelve) be_conn,mul(12)",
        "    acl flooded queue,mul(13),sub(txn.twelve) -m int gt 0",
        f"    http-request return status 503 {_problem(503)}{_AGAIN[503]} if flooded {{ queue gt 64 }}",
        # Sending again is safe: scoring is pure, and the audit log keeps one record per request id. A listener's own
        # 503 says that it is full, draining or cannot write its audit log, so another one is asked.
        "    retry-on conn-failure empty-response 503",
        "    option httpchk",
        f"    http-check send meth GET uri /{model}/health/ready ver HTTP/1.1 hdr host edge",
        "    http-check expect status 200",
        *(
            f"    server ingress{number} {address} track ingress/ingress{number} backup"
            for number, address in enumerate(ingress, 1)
        ),
        f"    default-server {_CHECK}",
        *(_server(slot) for slot in slots),
    ]
    return "\n".join(lines) + "\n"


def _server(slot: Slot) -> str:
    # A file knows no draining, so a draining server starts disabled: it gets nothing new, which is what counts.
    state = " disabled" if slot.state != "ready" else ""
    host = f"[{slot.host}]" if ":" in slot.host else slot.host
    return f"    server {slot.name} {host}:{slot.port} maxconn {slot.max_connections}{state}"


def _ingress_servers(addresses: Iterable[str]) -> list[str]:
    return [
        f"    server ingress{number} {address}{' backup' if number > 1 else ''}"
        for number, address in enumerate(addresses, 1)
    ]


def _problem(status: int) -> str:
    code, title = _PROBLEMS[status]
    document = {
        "type": f"urn:twinscore:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "request_id": "%[var(txn.id)]",
    }
    return f"content-type application/problem+json lf-string '{json.dumps(document)}'"


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def _seconds(value: float) -> int:
    return max(1, round(value))


_METRICS = """\
frontend metrics
    bind 127.0.0.1:{port}
    no log
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""
