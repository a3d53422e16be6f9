"""Which Ray a run uses: the one at hand, a cluster that the environment names, or a private one."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING

import ray

from twinscore.errors import StackBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twinscore.settings import Settings

__all__ = ["ray_session"]

_BACKEND_LEVEL = "RAY_BACKEND_LOG_LEVEL"


@contextlib.contextmanager
def ray_session(settings: Settings) -> Iterator[None]:
    """Be connected to a Ray inside the context.

    An initialised Ray is used and left as it is. Else `settings.ray_address` or `RAY_ADDRESS` (set inside a Ray job)
    is connected to. Else a private Ray with `settings.num_cpus` cores starts, and is stopped at the end.

    Raises:
        StackBroken: there is no Ray at the address.
    """
    if ray.is_initialized():
        yield
        return
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    try:
        with _quiet():
            if address:
                ray.init(address=address, log_to_driver=False, configure_logging=False)
            else:
                # "local" on purpose: without an address Ray would join whatever cluster it finds on this machine.
                ray.init(
                    address="local",
                    num_cpus=settings.num_cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"There is no Ray at {address}" if address else "A private Ray does not start"
        problem = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        message = f"{where}: {problem}. Check TWINSCORE_RAY_ADDRESS, or `twinscore status`."
        raise StackBroken(message, address=address) from error
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's notices off the terminal: a run has its own progress, and errors come back as exceptions."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    before = os.environ.get(_BACKEND_LEVEL)
    os.environ.setdefault(_BACKEND_LEVEL, "fatal")
    try:
        yield
    finally:
        if before is None:
            del os.environ[_BACKEND_LEVEL]
