"""LitServe: `python with_litserve.py MODEL PORT WORKERS`. Knows nothing of twinscore."""

# LitServe reads the annotations of `decode_request` at run time, so they are not postponed.
import sys
from typing import Any

import litserve
import numpy as np
import xgboost


class Bench(litserve.LitAPI):
    """The booster."""

    def setup(self, device: str) -> None:
        """Load the booster; it predicts one row on one thread."""
        self.booster = xgboost.Booster()
        self.booster.load_model(sys.argv[1])
        self.booster.set_param({"nthread": 1})
        self.names = self.booster.feature_names or []

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """Return the row as a matrix."""
        return np.array([[request.get(name) for name in self.names]], dtype=np.float32)

    def predict(self, x: np.ndarray) -> float:
        """Score one row."""
        return float(self.booster.inplace_predict(x, validate_features=False)[0])

    def encode_response(self, output: float) -> dict[str, float]:
        """Return what is sent back."""
        return {"score": output}


if __name__ == "__main__":
    server = litserve.LitServer(Bench(), accelerator="cpu", workers_per_device=int(sys.argv[3]), fast_queue=True)
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), num_api_servers=1, generate_client_file=False, log_level="warning",
        access_log=False,
    )  # fmt: skip
