"""Ray Serve as it comes: `python with_ray_serve.py MODEL PORT REPLICAS FOLDER`; its environment says which ingress.

One deployment that reads the request itself, no framework on top. A private Ray, ended with this process.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import ray
import xgboost
from ray import serve

if TYPE_CHECKING:
    from starlette.requests import Request


class Bench:
    """The booster."""

    def __init__(self, path: str) -> None:
        self.booster = xgboost.Booster()
        self.booster.load_model(path)
        self.booster.set_param({"nthread": 1})
        self.names = self.booster.feature_names or []

    async def __call__(self, request: Request) -> dict[str, float]:
        """Score one row."""
        row = await request.json()
        matrix = np.array([[row.get(name) for name in self.names]], dtype=np.float32)
        return {"score": float(self.booster.inplace_predict(matrix, validate_features=False)[0])}


def main(model: str, port: str, replicas: str, folder: str) -> None:
    """Serve until a signal comes."""
    over = threading.Event()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=folder)
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": int(port)})
    wrap = serve.deployment(
        num_replicas=int(replicas), max_ongoing_requests=100, ray_actor_options={"num_cpus": 0},
        logging_config={"enable_access_log": False},
    )  # fmt: skip
    serve.run(wrap(Bench).bind(model), name="bench", route_prefix="/bench")
    print("serving", flush=True)
    over.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:5])
