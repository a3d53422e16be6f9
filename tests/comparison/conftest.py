"""Two different versions of one model on the census data, and what each makes of the rows kept for testing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.bundle.files import Bundle
from twinscore.scoring.table import check_and_score
from twinscore.settings import Settings, load_settings
from twinscore.training.train import train
from twinscore.wiring import load_version


@dataclass(frozen=True)
class Compared:
    """Pairs of the census data, and the versions behind them."""

    settings: Settings
    live: Bundle
    candidate: Bundle
    rows: pa.Table
    """Conformed and accepted by both: (n_rows, contract columns)."""
    pairs: pa.Table


@pytest.fixture(scope="session")
def adult(tmp_path_factory: pytest.TempPathFactory, adult_train: Path, adult_test: Path) -> Compared:
    """Version 1 with some trees, version 2 with few, deeper ones."""
    settings = load_settings(home=tmp_path_factory.mktemp("home"), num_cpus=1)
    bundles = []
    for params in ({"num_boost_round": 40}, {"num_boost_round": 8, "max_depth": 8}):
        made = train(
            settings,
            model="adult",
            data=adult_train,
            label="label",
            key="row_id",
            groups=["sex", "race"],
            params=params,
        )
        bundles.append(load_version(settings, made.ref)[1])
    live, candidate = bundles
    rows = live.checker.conform(pq.read_table(adult_test))
    both = live.checker.check(rows).accepted & candidate.checker.check(rows).accepted
    rows = rows.filter(pa.array(both)).combine_chunks()
    scored = [check_and_score(rows, bundle)[1] for bundle in bundles]
    pairs = {f"{side}_{name}": one[name] for side, one in zip(("live", "candidate"), scored, strict=True)
             for name in ("score", "decision")}  # fmt: skip
    pairs["request_id"] = pa.array([f"q-{number}" for number in range(rows.num_rows)])
    pairs["row"] = pa.array(np.zeros(rows.num_rows), pa.int32())
    pairs["unit"] = rows["row_id"]
    for name in ("sex", "race", "education", "age"):
        pairs[f"feature_{name}"] = rows[name]
    return Compared(settings, live, candidate, rows, pa.table(pairs))
