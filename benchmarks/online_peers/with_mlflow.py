"""`mlflow models serve` of a plain `mlflow.xgboost` model: `python with_mlflow.py MODEL PORT WORKERS FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(model: str, port: str, workers: str, folder: str) -> None:
    """Save the booster as an MLflow model, and become the server."""
    import mlflow.xgboost
    import xgboost

    place = Path(folder) / "saved"
    booster = xgboost.Booster()
    booster.load_model(model)
    mlflow.xgboost.save_model(booster, str(place), pip_requirements=[])
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(place), "--host", "127.0.0.1",
        "--port", port, "--workers", workers, "--env-manager", "local",
    ]  # fmt: skip
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    # It looks its web server up on PATH.
    os.execve(sys.executable, command, {**os.environ, "PATH": path})  # noqa: S606 - takes this process's place


if __name__ == "__main__":
    main(*sys.argv[1:5])
