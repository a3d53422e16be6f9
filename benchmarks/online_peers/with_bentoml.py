"""A BentoML service: `python with_bentoml.py MODEL PORT WORKERS`, which becomes `bentoml serve`.

A pydantic model of the row, as BentoML recommends. Knows nothing of twinscore.
"""

# BentoML reads the annotations of the method at run time, so they are not postponed.
import os
import sys
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import xgboost
from pydantic import create_model

booster = xgboost.Booster()
booster.load_model(os.environ.get("BENCH_MODEL") or sys.argv[1])
booster.set_param({"nthread": 1})
names = booster.feature_names or []
fields: dict[str, Any] = {"row_id": (int, ...), **dict.fromkeys(names, (float | None, None))}
Row = create_model("Row", **fields)


@bentoml.service(workers=int(os.environ.get("BENCH_WORKERS", "1")), logging={"access": {"enabled": False}})
class Bench:
    """The booster."""

    @bentoml.api
    async def predict(self, row: Row) -> dict[str, float]:  # type: ignore[valid-type]
        """Score one row."""
        matrix = np.array([[getattr(row, name) for name in names]], dtype=np.float32)
        return {"score": float(booster.inplace_predict(matrix, validate_features=False)[0])}


if __name__ == "__main__":
    here = str(Path(__file__).parent)
    environment = {**os.environ, "BENCH_MODEL": sys.argv[1], "BENCH_WORKERS": sys.argv[3], "PYTHONPATH": here}
    command = str(Path(sys.executable).with_name("bentoml"))
    os.execve(  # noqa: S606 - the server takes this process's place
        command,
        [command, "serve", "with_bentoml:Bench", "--host", "127.0.0.1", "--port", sys.argv[2], "--working-dir", here],
        environment,
    )
