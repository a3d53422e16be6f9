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

from twinscore.edge.backends import BACKEND_PREFIX, bind_of, crowd_lines, models_in, quoted, server_lines
from twinscore.edge.grpc_config import grpc_section
from twinscore.edge.slots import EMPTY_SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twinscore.edge.slots import Slot
    from twinscore.settings import Settings

__all__ = [
    "ADMIN_SOCKET",
    "BUFFER_BYTES",
    "QUEUE_MS",
    "Places",
    "render",
    "shape_of",
]

ADMIN_SOCKET = "admin.sock"
"""Name of the proxy's own socket in its folder."""
BUFFER_BYTES = 65_536
"""Requests up to about this size can be sent again, and are guarded against slow bodies."""
QUEUE_MS = 25
"""How long a request may wait for a replica with room; then it is answered 503."""

_HOT_BUFFERS = 256  # each request holds two, and no more than three quarters are kept
_HEADER_BYTES = 16_384
_MOST_STREAMS = 100
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
_SHAPE = re.compile(r"^# shape: ([0-9a-f]{64})$", re.MULTILINE)


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


def render(settings: Settings, places: Places, backends: Mapping[str, Sequence[Slot]]) -> str:
    """Return the configuration of an edge.

    Args:
        settings: what it binds, and its limits.
        places: its folder and neighbours.
        backends: the slots of each backend by its name, all of them.
    """
    shape = hashlib.sha256(_fill(settings, places, dict.fromkeys(backends, EMPTY_SLOTS), "").encode()).hexdigest()
    return _fill(settings, places, backends, shape)


def shape_of(config: str) -> str | None:
    """Return the digest of everything in a configuration but its slots: while it stays, no reload is needed."""
    found = _SHAPE.search(config)
    return found.group(1) if found else None


def _fill(settings: Settings, places: Places, backends: Mapping[str, Sequence[Slot]], shape: str) -> str:
    models = models_in(backends, BACKEND_PREFIX)
    certificate = settings.tls_certificate
    beside = {"request_id": _part("request_id").substitute()}
    beside["headers"] = _part("headers").substitute(scheme="http" if certificate is None else "https")
    port = settings.grpc_port
    return _part("haproxy").substitute(
        beside,
        shape=shape,
        revision=places.revision,
        admin_socket=quoted(places.folder / ADMIN_SOCKET),
        threads=settings.edge_threads,
        max_connections=_MAX_CONNECTIONS,
        bufsize=BUFFER_BYTES,
        hot_bytes=_HOT_BUFFERS * BUFFER_BYTES,
        timeout_s=_seconds(settings.request_timeout_s),
        linger_s=_seconds(settings.request_timeout_s + _LINGER_S),
        queue_ms=QUEUE_MS,
        bind=bind_of(settings.host, settings.serve_port, certificate, "http/1.1"),
        streams=min(_MOST_STREAMS, settings.edge_connections_per_address),
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
        backends="\n".join(_backend(model, backends[f"{BACKEND_PREFIX}{model}"], places.ingress) for model in models),
        metrics="" if places.metrics_port is None else _METRICS.format(port=places.metrics_port),
        grpc="" if port is None else grpc_section(settings, port, backends, {**beside, "header_bytes": _HEADER_BYTES}),
        **{f"problem_{status}": _problem(status) for status in _PROBLEMS},
    )


def _backend(model: str, slots: Sequence[Slot], ingress: Sequence[str]) -> str:
    lines = [
        f"backend {BACKEND_PREFIX}{model}",
        *crowd_lines(f"status 503 {_problem(503)}{_AGAIN[503]}"),
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
        *server_lines(slots),
    ]
    return "\n".join(lines) + "\n"


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


def _part(name: str) -> Template:
    """Return a file of rules beside this one."""
    return Template(Path(__file__).with_name(f"{name}.cfg").read_text(encoding="utf-8").removesuffix("\n"))


def _seconds(value: float) -> int:
    return max(1, round(value))


_METRICS = """\
frontend metrics
    bind 127.0.0.1:{port}
    no log
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""
