"""Hand-written FastAPI on uvicorn, as a competent person writes it: `python with_fastapi.py MODEL PORT WORKERS`.

A pydantic model of the row, `inplace_predict` on one thread, the handler on the event loop (a thread pool is slower
for a call this short), uvloop and httptools, no access log. Knows nothing of twinscore.
"""

# FastAPI reads the annotations of the handler at run time, so they are not postponed.
import os
import sys
from operator import attrgetter
from typing import Any

import numpy as np
import uvicorn
import xgboost
from fastapi import FastAPI
from pydantic import BaseModel, create_model

booster = xgboost.Booster()
booster.load_model(os.environ.get("BENCH_MODEL") or sys.argv[1])
booster.set_param({"nthread": 1})
names = booster.feature_names or []
fields: dict[str, Any] = {"row_id": (int, ...), **dict.fromkeys(names, (float | None, None))}
Row = create_model("Row", **fields)
values_of = attrgetter(*names)


class Answer(BaseModel):
    """What is sent back."""

    score: float


app = FastAPI()


@app.post("/predict")
async def predict(row: Row) -> Answer:  # type: ignore[valid-type]
    """Score one row."""
    matrix = np.array([values_of(row)], dtype=np.float32)
    return Answer(score=float(booster.inplace_predict(matrix, validate_features=False)[0]))


@app.get("/ready")
async def ready() -> dict[str, str]:
    """Say that the model is loaded."""
    return {"status": "ready"}


if __name__ == "__main__":
    os.environ["BENCH_MODEL"] = sys.argv[1]
    uvicorn.run(
        "with_fastapi:app", host="127.0.0.1", port=int(sys.argv[2]), workers=int(sys.argv[3]), loop="uvloop",
        http="httptools", access_log=False, log_level="warning",
    )  # fmt: skip
