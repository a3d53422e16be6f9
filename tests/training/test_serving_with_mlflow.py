"""`mlflow models serve` on a registered version."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq

from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings
from twinscore.training.train import TrainedVersion
from twinscore.wiring import load_version

_PATIENCE_S = 200


def test_mlflow_serves_a_version(
    settings: Settings, adult: TrainedVersion, adult_test: Path, free_port: int, tmp_path: Path
) -> None:
    """The server that MLflow brings answers /invocations with the scores of the bulk path."""
    _, bundle = load_version(settings, adult.ref)
    table = bundle.checker.conform(pq.read_table(adult_test).slice(0, 50))
    _, scored = check_and_score(table, bundle)
    rows = table.to_pylist()
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/{adult.ref}"),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(free_port), "--workers", "1"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": settings.embedded_registry_uri,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # MLflow starts `uvicorn` by name
        "PYTHONWARNINGS": "ignore",
    }
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path, start_new_session=True
        )
    try:
        _wait(f"http://127.0.0.1:{free_port}/ping", server, tmp_path / "server.log")
        answer = httpx.post(f"http://127.0.0.1:{free_port}/invocations", json={"dataframe_records": rows}, timeout=30.0)
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)

    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [row["score"] for row in scored.to_pylist()] == [row["score"] for row in predictions]
    assert [row["decision"] for row in scored.to_pylist()] == [row["decision"] for row in predictions]
    assert np.all([row["refused"] is None for row in predictions])


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            if httpx.get(url, timeout=2.0).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])
