"""The embedded registry through an MLflow server and directly: both see the same versions and files."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from twinscore.adapters.mlflow_models import BUNDLE_TAG, MlflowModels
from twinscore.bundle.files import Bundle, read_bundle
from twinscore.errors import ModelNotFound
from twinscore.settings import load_settings
from twinscore.wiring import load_version

_PATIENCE_S = 200


@pytest.fixture(scope="module")
def server(registry_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server on the registry that the other tests open directly, with a rule for sources."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "server.log"
    root = registry_folder / "artifacts"
    environment = {
        **os.environ,
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX": rf"\A(?!.*\.\.)({re.escape(str(root))}/|models:/)",
    }
    command = [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--backend-store-uri",
            f"sqlite:///{registry_folder / 'mlflow.db'}",
        ),
        *("--default-artifact-root", str(root), "--no-serve-artifacts", "--workers", "1"),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=subprocess.STDOUT, cwd=log.parent, start_new_session=True
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


def test_what_the_server_registers_is_there_directly(
    server: str, models: MlflowModels, bundle: Bundle, tmp_path: Path
) -> None:
    """A version registered over HTTP is resolved and fetched from the database and the folder, and the other way."""
    remote = MlflowModels(server)

    made = remote.register("remote", bundle.folder, metrics={"auc": 0.9}, params={}, tags={BUNDLE_TAG: bundle.digest})
    remote.set_alias("remote", "champion", made.version)
    direct = models.register("direct", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})

    found = models.resolve("remote@champion")
    assert ("remote", made.version, bundle.digest) == (found.model, found.version, found.bundle_digest)
    assert bundle.digest == read_bundle(models.fetch(found, tmp_path / "a")).digest
    assert bundle.digest == read_bundle(remote.fetch(remote.resolve(direct.ref), tmp_path / "b")).digest
    with pytest.raises(ModelNotFound, match=r"no alias @nope; it has @champion = version 1"):
        remote.resolve("remote@nope")
    with pytest.raises(ModelNotFound, match="Did you mean 'remote'"):
        remote.resolve("remotte")


def test_the_running_stack_is_asked_over_http(
    server: str, registry_folder: Path, bundle: Bundle, tmp_path: Path
) -> None:
    """A home whose stack is up reads versions through its server."""
    MlflowModels(server).register("stacked", bundle.folder, metrics={}, params={}, tags={BUNDLE_TAG: bundle.digest})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text(json.dumps({"mlflow": {"pid": 1, "url": server}}))

    version, loaded = load_version(load_settings(home=tmp_path), "stacked/1")

    assert str(registry_folder) in version.source
    assert bundle.digest == loaded.digest
