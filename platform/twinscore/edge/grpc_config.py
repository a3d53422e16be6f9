"""The part of the proxy's configuration that is for gRPC: a port of its own, where the message says which model.

The rules are in `grpc.cfg` beside this file. Only the Open Inference Protocol's service is known: what is asked of any
other is refused, because nothing behind the edge offers it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from twinscore.edge.backends import GRPC_PREFIX, bind_of, crowd_lines, models_in, server_lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from twinscore.edge.slots import Slot
    from twinscore.settings import Settings

__all__ = ["PROBE", "READY", "grpc_section"]

_BESIDE_DATA = 64 * 1024
"""Bytes of a message beside its tensors, as the replicas grant them."""
_INVALID, _DEADLINE, _NOT_FOUND, _EXHAUSTED, _UNIMPLEMENTED, _INTERNAL, _UNAVAILABLE = 3, 4, 5, 8, 12, 13, 14
_ERRORS = {
    400: (_INVALID, "The call is not HTTP/2 that we accept"),
    408: (_DEADLINE, "The call did not arrive in time"),
    500: (_INTERNAL, "The edge could not handle the call"),
    502: (_UNAVAILABLE, "The replica broke off; call again"),
    503: (_UNAVAILABLE, "No replica has room for the call now; call again"),
    504: (_DEADLINE, "The replica did not answer in time"),
}
_REFUSALS = {
    "too_many": (_EXHAUSTED, "Too many calls at a time from this address"),
    "no_grpc": (_UNIMPLEMENTED, "This port speaks gRPC only"),
    "long_headers": (_EXHAUSTED, "The metadata are too large"),
    "no_method": (_UNIMPLEMENTED, "There is no such method; inference.GRPCInferenceService is spoken here"),
    "compressed": (_UNIMPLEMENTED, "Compressed messages are not read; send them as they are"),
    "too_large": (_EXHAUSTED, "The message is too large"),
    "no_model": (_INVALID, "The message does not begin with the name of a model"),
    "unknown": (_NOT_FOUND, "No model of this name is served"),
}


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _header(name: bytes, value: bytes) -> bytes:
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value  # as it is, neither packed nor remembered


_CALL = {
    b":method": b"POST",
    b":scheme": b"http",
    b":path": b"/inference.GRPCInferenceService/ServerReady",
    b":authority": b"edge",
    b"content-type": b"application/grpc",
    b"te": b"trailers",
}
PROBE = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + _frame(4, 0, 0, b"")  # SETTINGS: none
    + _frame(1, 4, 1, b"".join(_header(name, value) for name, value in _CALL.items()))  # HEADERS, all of them
    + _frame(0, 1, 1, bytes(5))  # DATA, the end: an empty message
)
"""A whole connection that asks a server whether it is ready: HAProxy's own probes over HTTP/2 cannot send zero bytes.

Source: RFC 9113, sections 3.4 and 6; RFC 7541, section 6.2.2.
"""
READY = bytes([0, 0, 0, 0, 2, 8, 1])
"""The message that says so: not compressed, of two bytes, field 1 is true."""


def grpc_section(
    settings: Settings, port: int, backends: Mapping[str, Sequence[Slot]], shared: Mapping[str, str | int]
) -> str:
    """Return the frontend and the backends of gRPC.

    Args:
        settings: address, certificate and limits.
        port: where users call.
        backends: the slots of each backend by its name; those of gRPC are taken.
        shared: what HTTP's part has, too: `request_id`, `headers`, `header_bytes`.
    """
    models = models_in(backends, GRPC_PREFIX)
    template = Template(Path(__file__).with_name("grpc.cfg").read_text(encoding="utf-8"))
    return template.substitute(
        shared,
        bind=bind_of(settings.host, port, settings.tls_certificate, "h2"),
        calls_per_address=settings.edge_connections_per_address,
        max_message_bytes=settings.max_body_bytes + _BESIDE_DATA,
        errors="\n".join(f"    http-error status {status} {_said(*_ERRORS[status])}" for status in _ERRORS),
        routes="\n".join(_routes(models)),
        backends="\n".join(_backend(model, backends[f"{GRPC_PREFIX}{model}"]) for model in models),
        none_there=_broken(503),
        **{name: f"status 200 {_said(*refusal)}" for name, refusal in _REFUSALS.items()},
    )


def _routes(models: Sequence[str]) -> list[str]:
    """Return who gets what: a call that names no model goes to the first one that has a replica."""
    return [
        *(f"    use_backend {GRPC_PREFIX}{model} if {{ var(txn.model) -m str {model} }}" for model in models),
        *(
            f"    use_backend {GRPC_PREFIX}{model} if of_the_server !{{ var(txn.model) -m found }}"
            f" {{ nbsrv({GRPC_PREFIX}{model}) gt 0 }}"
            for model in models
        ),
    ]


def _backend(model: str, slots: Sequence[Slot]) -> str:
    lines = [
        f"backend {GRPC_PREFIX}{model}",
        *crowd_lines(_broken(503)),
        # As over HTTP, but for a replica's own UNAVAILABLE: it comes as an answer with status 200, which is final.
        "    retry-on conn-failure empty-response",
        "    option tcp-check",
        "    tcp-check connect proto none",
        f"    tcp-check send-binary {PROBE.hex()}",
        f"    tcp-check expect binary {READY.hex()}",
        *server_lines(slots, " proto h2"),
    ]
    return "\n".join(lines) + "\n"


def _broken(status: int) -> str:
    return f"status {status} {_said(*_ERRORS[status])}"


def _said(code: int, text: str) -> str:
    return f'hdr grpc-status {code} hdr grpc-message "{text}"'
