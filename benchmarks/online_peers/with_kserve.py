"""KServe's model server with a model class as its documentation shows: `python with_kserve.py MODEL PORT WORKERS`.

Its first protocol (`instances`, `predictions`), no gRPC beside it, no latency log. Knows nothing of twinscore.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

# KServe reads the command line when it is imported, and its further workers import this module without one.
path, port, workers = os.environ.setdefault("BENCH_KSERVE", " ".join(sys.argv[1:4])).split()
sys.argv[1:] = []
logging.disable(logging.INFO)  # no access log, and no line per request about its time

import kserve  # noqa: E402
import numpy as np  # noqa: E402
import xgboost  # noqa: E402


class Bench(kserve.Model):
    """The booster."""

    def load(self) -> bool:
        """Load the booster; it predicts one row on one thread."""
        self.booster = xgboost.Booster()
        self.booster.load_model(path)
        self.booster.set_param({"nthread": 1})
        self.ready = True
        return self.ready

    async def predict(self, payload: dict[str, Any], headers: Any = None, response_headers: Any = None) -> Any:
        """Score the rows of one request."""
        matrix = np.array(payload["instances"], dtype=np.float32)
        return {"predictions": self.booster.inplace_predict(matrix, validate_features=False).tolist()}


if __name__ == "__main__":
    model = Bench("bench")
    model.load()
    server = kserve.ModelServer(
        http_port=int(port), workers=int(workers), enable_grpc=False, enable_latency_logging=False
    )
    server.start([model])
