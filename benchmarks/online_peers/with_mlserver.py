"""MLServer with a runtime of the kind its documentation shows: `python with_mlserver.py MODEL PORT WORKERS FOLDER`.

Writes settings into FOLDER and becomes `mlserver start`. One worker is MLServer's own process, which is faster than
one beside it; more are processes. Open Inference Protocol v2. Knows nothing of twinscore.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import xgboost
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Bench(MLModel):
    """The booster."""

    async def load(self) -> bool:
        """Load the booster; it predicts one row on one thread."""
        self.booster = xgboost.Booster()
        self.booster.load_model(os.environ["BENCH_MODEL"])
        self.booster.set_param({"nthread": 1})
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Score the tensor of one request."""
        matrix = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        scores = self.booster.inplace_predict(matrix, validate_features=False)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("score", scores.astype(np.float64))]
        )


def main(model: str, port: str, workers: str, folder: str) -> None:
    """Write the settings and become the server."""
    first = int(port)
    count = int(workers)
    settings = {
        "host": "127.0.0.1", "http_port": first, "grpc_port": first + 1, "metrics_port": first + 2,
        "parallel_workers": 0 if count == 1 else count, "debug": False,
    }  # fmt: skip
    place = Path(folder)
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps({"name": "bench", "implementation": "with_mlserver.Bench"}))
    environment = {**os.environ, "BENCH_MODEL": model, "PYTHONPATH": str(Path(__file__).parent)}
    command = str(Path(sys.executable).with_name("mlserver"))
    os.execve(command, [command, "start", folder], environment)  # noqa: S606 - the server takes this process's place


if __name__ == "__main__":
    main(*sys.argv[1:5])
