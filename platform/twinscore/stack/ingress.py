"""Short driver that starts Ray Serve on the stack's head and ends: `python -m twinscore.stack.ingress`.

A process of its own, because Serve reads its settings from the environment when it is imported, and because `up` should
not carry Ray. It imports while the head is still starting.
"""

from __future__ import annotations

import argparse
import logging
import socket
import sys
import time

import ray
from ray import serve
from ray.exceptions import RayActorError

__all__ = ["main"]

_DEADLINE_S = 120.0


def main(arguments: list[str] | None = None) -> int:
    """Start Serve's controller and ingress; they stay when this process ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray", required=True, help="HOST:PORT of the head")
    parser.add_argument("--host", required=True, help="address to bind")
    parser.add_argument("--port", required=True, type=int, help="port to bind")
    parser.add_argument("--request-timeout-s", required=True, type=float, help="end-to-end limit of one request")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + _DEADLINE_S
    _wait_for(options.ray, deadline)
    while True:
        try:
            ray.init(address=options.ray, namespace="twinscore", log_to_driver=False, logging_level=logging.WARNING)
            serve.start(
                proxy_location="HeadOnly",
                http_options={
                    "host": options.host,
                    "port": options.port,
                    "request_timeout_s": options.request_timeout_s,
                },
            )
            break
        except (ConnectionError, RayActorError):
            # The port listens before the head is ready, and on a busy machine Serve gives up on its proxy too early.
            if time.monotonic() > deadline:
                raise
            ray.shutdown()
            time.sleep(1)
    ray.shutdown()
    return 0


def _wait_for(address: str, deadline: float) -> None:
    host, _, port = address.rpartition(":")
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
