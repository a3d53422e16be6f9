"""Granian without a framework, by its own interface (RSGI): `python with_granian.py MODEL PORT WORKERS`.

msgspec decodes, nothing is validated, `inplace_predict` scores on one thread. Knows nothing of twinscore.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec
import numpy as np
import xgboost
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

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
    os.environ["BENCH_MODEL"] = sys.argv[1]
    Granian(
        "with_granian:app", address="127.0.0.1", port=int(sys.argv[2]), workers=int(sys.argv[3]),
        interface=Interfaces.RSGI, loop=Loops.uvloop, log_access=False, log_level=LogLevels.warning,
    ).serve()  # fmt: skip
