"""Whether a registry's webhook is genuine and new; a hint to look at the registry, never a reason to believe it.

MLflow signs `{delivery id}.{timestamp}.{body}` with HMAC-SHA256 and a shared secret. It sends a delivery again when no
answer came, and none at all when its thread dies, so whoever gets a hint looks; whoever gets none looks all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["DELIVERY", "SIGNATURE", "TIMESTAMP", "WINDOW_S", "Deliveries", "Hint", "Refused", "check"]

SIGNATURE = "x-mlflow-signature"
TIMESTAMP = "x-mlflow-timestamp"
DELIVERY = "x-mlflow-delivery-id"
WINDOW_S = 300
"""How far a delivery's own time may be from ours."""

_LARGEST_BODY = 64 * 1024
_MOST_REMEMBERED = 10_000
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIME = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True, slots=True)
class Hint:
    """Something may have changed."""

    model: str
    """Which model to look at first; empty when the event names none."""
    event: str
    """Such as `model_version_alias.created`."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is done about this request."""

    code: Literal["unauthenticated", "bad_json", "too_large", "repeated"]
    """As errors have it; a repeated delivery is answered like the first, or it would come a third time."""
    reason: str


class Deliveries:
    """The ids of genuine deliveries, for as long as their time would let them in again.

    Args:
        most: how many are remembered; more within the window, and the oldest might come again, as a hint like any.
    """

    def __init__(self, most: int = _MOST_REMEMBERED) -> None:
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def first(self, delivery: str, now: datetime) -> bool:
        """Remember a delivery, and tell whether it was new."""
        now_s = now.timestamp()
        with self._lock:
            while self._until and (len(self._until) > self._most or next(iter(self._until.values())) < now_s):
                self._until.popitem(last=False)
            if delivery in self._until:
                return False
            self._until[delivery] = now_s + 2 * WINDOW_S
            return True


def check(headers: Mapping[str, str], body: bytes, *, secret: str, now: datetime, seen: Deliveries) -> Hint | Refused:
    """Return what a webhook hints at, or why it is refused.

    Args:
        headers: of the request, in any case.
        body: as it came, for each byte is signed.
        secret: shared with the registry; without one nothing is taken.
        now: by our clock.
        seen: deliveries before this one; a genuine one is added.
    """
    found = {name.lower(): value for name, value in headers.items()}
    delivery, sent = found.get(DELIVERY, ""), found.get(TIMESTAMP, "")
    if len(body) > _LARGEST_BODY:
        return Refused("too_large", f"A webhook has at most {_LARGEST_BODY} bytes, this one has {len(body)}.")
    if not secret:
        return Refused("unauthenticated", "No secret is set, so no webhook is taken; the registry is polled.")
    if not _ID.fullmatch(delivery) or not _TIME.fullmatch(sent):
        return Refused("unauthenticated", f"A webhook carries {DELIVERY} and {TIMESTAMP}; is this one of MLflow's?")
    if not hmac.compare_digest(_signature(secret, delivery, sent, body), found.get(SIGNATURE, "").encode()):
        return Refused("unauthenticated", f"{SIGNATURE} does not fit; do both sides have the same secret?")
    if abs(now.timestamp() - int(sent)) > WINDOW_S:
        return Refused("unauthenticated", f"The webhook is from {sent}, more than {WINDOW_S} s away; are clocks right?")
    hint = _hint(body)
    if isinstance(hint, Hint) and not seen.first(delivery, now):
        return Refused("repeated", f"Delivery {delivery} came before.")
    return hint


def _hint(body: bytes) -> Hint | Refused:
    try:
        document = json.loads(body)
        event, data = f"{document['entity']}.{document['action']}", document["data"]
        name = data.get("name", "")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return Refused("bad_json", "A webhook's body is an object with entity, action and data.")
    return Hint(name if isinstance(name, str) else "", event[:100])


def _signature(secret: str, delivery: str, sent: str, body: bytes) -> bytes:
    signed = b"%b.%b.%b" % (delivery.encode(), sent.encode(), body)
    return b"v1," + b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest())
