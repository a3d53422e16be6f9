"""A real MLflow server of a test's own, on a registry that the test may open directly as well."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

__all__ = ["mlflow_server"]

_PATIENCE_S = 200


@contextmanager
def mlflow_server(registry: Path, log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server on the registry in a folder, with a rule for sources, and yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = registry / "artifacts"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{registry / 'mlflow.db'}"),
        *("--default-artifact-root", str(root), "--no-serve-artifacts", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            env={
                **os.environ,
                "PYTHONWARNINGS": "ignore",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": (
                    rf"\A(?!.*\.\.)({re.escape(str(root))}/|models:/)"
                ),
                **(environment or {}),
            },
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=log.parent,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            try:
                if httpx.get(f"{url}/health", timeout=2.0).status_code == 200:
                    break
            except httpx.TransportError:
                assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.2)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
