"""Connect this process to the Ray it should work on; the only place where `ray.init` is called by the product."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.errors import ModelNotReady, StackBroken
from twinscore.stack.environment import client_environment, ray_client
from twinscore.stack.launch import ensure_token
from twinscore.stack.ports import LOOPBACK
from twinscore.stack.state import read_state

if TYPE_CHECKING:
    from types import TracebackType

    from twinscore.settings import Settings

__all__ = ["Connection", "connect"]

NAMESPACE = "twinscore"


@dataclass(slots=True)
class Connection:
    """A process's tie to a Ray; leaving the `with` block cuts it and puts the environment back."""

    address: str
    private: bool
    """Whether this Ray was made for this process and ends with it."""
    _before: dict[str, str | None] = field(default_factory=dict)
    _owned: bool = True
    _temp_dir: Path | None = None

    def close(self) -> None:
        """Disconnect; a private Ray ends."""
        if not self._owned:
            return
        import ray

        self._owned = False
        ray.shutdown()
        _restore(self._before)
        if self._temp_dir is not None:
            shutil.rmtree(self._temp_dir, ignore_errors=True)

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(settings: Settings, *, need_stack: bool = False) -> Connection:
    """Connect to the Ray that the settings mean: a named cluster, the running stack, the job's own, or a private one.

    A Ray that this process is connected to already is used as it is, and is not cut at the end. Works as a function,
    for a connection until the process ends, and as a context manager.

    Args:
        settings: `ray_address` names a cluster; else the stack of `home` is used when it is up.
        need_stack: refuse a private Ray, which would end with this process.

    Raises:
        ModelNotReady: a stack is needed and none is up.
        StackBroken: there is a stack, but its Ray does not answer.
    """
    ray_module = sys.modules.get("ray")
    if ray_module is not None and ray_module.is_initialized():
        return Connection(ray_module.get_runtime_context().gcs_address, private=False, _owned=False)
    if settings.ray_address is not None:
        return _join(settings.ray_address, {})
    state = read_state(settings)
    if state is not None and state.members():
        if not _listens(state.ray.address):
            message = (
                f"The stack of {state.home} is half up: its Ray does not answer at {state.ray.address}. "
                "`twinscore status` shows more; `twinscore down`, then `twinscore up` starts it anew."
            )
            raise StackBroken(message, home=state.home, address=state.ray.address)
        return _join(state.ray.address, client_environment(state))
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:  # Ray's mark for the entry point of a job
        return _join("auto", {})
    if need_stack:
        message = f"No stack is up in {settings.home}. Start one with `twinscore up`."
        raise ModelNotReady(message, home=str(settings.home))
    return _private(settings)


def _join(address: str, environment: dict[str, str]) -> Connection:
    before = _apply(environment)
    import ray

    try:
        _reread(environment)
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except BaseException:
        _restore(before)
        raise
    return Connection(address, private=False, _before=before)


def _private(settings: Settings) -> Connection:
    environment = ray_client(ensure_token(settings.home.resolve()))
    before = _apply(environment)
    # Short, because socket paths are; mkdtemp makes it with mode 0700.
    temp_dir = Path(tempfile.mkdtemp(prefix="ts-"))
    import ray

    try:
        _reread(environment)
        ray.init(
            address="local",
            num_cpus=settings.num_cpus,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(temp_dir),
        )
    except BaseException:
        _restore(before)
        shutil.rmtree(temp_dir, ignore_errors=True)
        raise
    return Connection(f"{LOOPBACK} (private)", private=True, _before=before, _temp_dir=temp_dir)


def _apply(environment: dict[str, str]) -> dict[str, str | None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    return before


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _reread(before)


def _reread(changed: dict[str, str] | dict[str, str | None]) -> None:
    """Make Ray look at the environment again: it reads the mode, the token and the node's address at import, once.

    A process may have imported Ray long before it knew which Ray it would speak to.
    """
    if not changed:
        return
    import ray._private.ray_constants as constants
    from ray import _raylet

    native: Any = _raylet  # compiled, without types
    native.Config.initialize("")
    native.AuthenticationTokenLoader.instance().reset_cache()
    switch = os.environ.get(constants.ENABLE_RAY_CLUSTERS_ENV_VAR)
    by_default = not constants.IS_WINDOWS_OR_OSX
    constants.ENABLE_RAY_CLUSTER = by_default if switch is None else switch.lower() in {"1", "true"}


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except OSError:
        return False
    return True
