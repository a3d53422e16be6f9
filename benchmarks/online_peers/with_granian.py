"""Granian without a framework: `python with_granian.py MODEL PORT WORKERS`, which becomes `granian`.

Its own interface (RSGI), msgspec decodes, nothing is validated, `inplace_predict` scores on one thread.
Knows nothing of twinscore.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import xgboost

booster = xgboost.Booster()
booster.load_model(os.environ.get("BENCH_MODEL") or sys.argv[1])
booster.set_param({"nthread": 1})
names = booster.feature_names or []
decode = msgspec.json.Decoder(dict[str, float | None]).decode
encode = msgspec.json.Encoder().encode


async def app(scope: Any, protocol: Any) -> None:
    """Answer one request; every path is the same."""
    if scope.method != "POST":
        protocol.response_str(200, [("content-type", "text/plain")], "ready")
        return
    row = decode(await protocol())
    matrix = np.array([[row.get(name) for name in names]], dtype=np.float32)
    score = float(booster.inplace_predict(matrix, validate_features=False)[0])
    protocol.response_bytes(200, [("content-type", "application/json")], encode({"score": score}))


if __name__ == "__main__":
    here = str(Path(__file__).parent)
    command = str(Path(sys.executable).with_name("granian"))
    # Its own command: started from here, its workers would be forks of a process in which XGBoost has run.
    os.execve(  # noqa: S606 - the server takes this process's place
        command,
        [
            command, "with_granian:app", "--interface", "rsgi", "--host", "127.0.0.1", "--port", sys.argv[2],
            "--workers", sys.argv[3], "--loop", "uvloop", "--no-access-log", "--log-level", "warning",
        ],
        {**os.environ, "BENCH_MODEL": sys.argv[1], "PYTHONPATH": here},
    )  # fmt: skip
