"""What both kinds of backends of the proxy have in common: their names, who waits for a server, and the servers.

A model's replicas stand in one backend that HTTP is sent to and, where the edge has a port for gRPC, in another one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from twinscore.settings import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from twinscore.edge.slots import Slot

__all__ = [
    "BACKEND_PREFIX",
    "GRPC_PREFIX",
    "bind_of",
    "can_be_routed",
    "crowd_lines",
    "models_in",
    "quoted",
    "server_lines",
]

BACKEND_PREFIX = "model-"
"""What a model's backend is called: this and the model's name."""
GRPC_PREFIX = "grpc-"
"""The same of the backend that gRPC is sent to."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHECK = "check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down"


def can_be_routed(model: str) -> bool:
    """Tell whether a model's name can be a path and a backend; the registry takes no other names.

    >>> can_be_routed("loans"), can_be_routed("loans }")
    (True, False)
    """
    return _NAME.fullmatch(model) is not None


def models_in(backends: Iterable[str], prefix: str) -> list[str]:
    """Return the models that have a backend of a kind, in order.

    >>> models_in(["model-loans", "grpc-loans", "model-a b"], BACKEND_PREFIX)
    ['loans']
    """
    found = [name.removeprefix(prefix) for name in backends if name.startswith(prefix)]
    return sorted([model for model in found if can_be_routed(model)])


def bind_of(host: str, port: int, certificate: Path | None, protocol: str) -> str:
    """Return what a frontend binds, with TLS where there is a certificate.

    Args:
        protocol: what may be agreed on over TLS, such as `h2`.
    """
    plain = address_of(host, port)
    if certificate is None:
        return plain
    return f"{plain} ssl crt {quoted(certificate)} alpn {protocol}"


def quoted(path: Path) -> str:
    """Return a path as one word of HAProxy's language."""
    return "'" + str(path).replace("'", "'\\''") + "'"


def crowd_lines(refusal: str) -> list[str]:
    """Return how requests wait for a server with room.

    Args:
        refusal: what those are answered for whom there is no hope.
    """
    return [
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
        f"    http-request return {refusal} if flooded {{ queue gt 64 }}",
    ]


def server_lines(slots: Sequence[Slot], options: str = "") -> list[str]:
    """Return the servers of a backend, one per slot.

    Args:
        options: that each has beside its health check.
    """
    return [f"    default-server {_CHECK}{options}", *(_server(slot) for slot in slots)]


def _server(slot: Slot) -> str:
    # A file knows no draining, so a draining server starts disabled: it gets nothing new, which is what counts.
    state = " disabled" if slot.state != "ready" else ""
    return f"    server {slot.name} {address_of(slot.host, slot.port)} maxconn {slot.max_connections}{state}"
