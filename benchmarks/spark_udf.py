"""What batch.py runs under Spark's Python: `mlflow.pyfunc.spark_udf` on local[2], Parquet to Parquet.

Not a measurement by itself. Needs pyspark, mlflow, xgboost and Java; knows nothing of twinscore.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import xgboost
from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import DoubleType


class Reference(mlflow.pyfunc.PythonModel):
    """The booster as MLflow serves any model: a frame in, scores out."""

    def load_context(self, context: Any) -> None:
        """Load the booster and the names of its features."""
        self.spec = json.loads(Path(context.artifacts["spec"]).read_text())
        self.booster = xgboost.Booster()
        self.booster.load_model(context.artifacts["booster"])
        # Spark has one worker per core already.
        self.booster.set_param({"nthread": 1})

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> np.ndarray:
        """Fill the matrix and predict."""
        features = self.spec["features"]
        matrix = np.empty((len(model_input), len(features)), np.float32)
        for place, (name, words) in enumerate(features):
            values = model_input[name]
            if words is not None:
                codes = pd.Categorical(values, categories=words).codes
                values = np.where(codes < 0, np.nan, codes)
            matrix[:, place] = values
        return self.booster.inplace_predict(matrix)


def main() -> None:
    place, rows, out = sys.argv[1:]
    spec = json.loads((Path(place) / "spec.json").read_text())
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.memory", "6g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "65536")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    artifacts = {"booster": spec["booster"], "spec": str(Path(place) / "spec.json")}
    path = str(Path(place) / "pyfunc")
    mlflow.pyfunc.save_model(path, python_model=Reference(), artifacts=artifacts, pip_requirements=[])
    names = [name for name, _ in spec["features"]]
    udf = mlflow.pyfunc.spark_udf(spark, path, result_type=DoubleType(), env_manager="local")
    frame = spark.read.parquet(rows)
    frame.limit(1_000).select(udf(f.struct(*names))).collect()
    began = time.perf_counter()
    frame.select(spec["key"], udf(f.struct(*names)).alias("score")).write.mode("overwrite").parquet(out)
    took = time.perf_counter() - began
    print("RESULT " + json.dumps({"rows": spark.read.parquet(out).count(), "after_start": frame.count() / took}))


if __name__ == "__main__":
    main()
