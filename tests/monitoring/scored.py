"""Rows of the real data sets as a small model scores them, and blocks of made-up rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from twinscore.bundle.calibration import fit_interval
from twinscore.bundle.profile import bin_edges
from twinscore.monitoring.block import Block, Codes
from twinscore.monitoring.figure import Figure

START = datetime(2026, 3, 1, tzinfo=UTC)
FIGURE = partial(Figure, model="m", version="1", start=START, end=START + timedelta(hours=1))


@dataclass(frozen=True)
class View:
    """What tallies need to know of a version, as a plan says it."""

    task: str = "classification"
    classes: tuple[str, ...] = ("no", "yes")
    positive: str | None = "yes"
    score_edges: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)


def block_of(score: np.ndarray, **known: Any) -> Block:
    """A block of rows with these scores; what is not given is not known."""
    n_rows = len(score)
    nothing = np.full(n_rows, np.nan)
    parts = {
        "features": np.zeros((n_rows, 0), np.float32),
        "decision": Codes((score >= 0.5).astype(np.int64), ("no", "yes")),
        "lower": nothing, "upper": nothing, "set_size": np.ones(n_rows, np.int64), "review": np.zeros(n_rows, bool),
    }  # fmt: skip
    return Block(score=score, **{**parts, **known})


def take(block: Block, rows: np.ndarray) -> Block:
    """Some rows of a block, by number or mask."""
    named = {name: getattr(block, name)[rows] for name in ("features", "score", "lower", "upper", "set_size", "review")}
    optional = {name: getattr(block, name) for name in ("label", "covered")}
    named |= {name: None if value is None else value[rows] for name, value in optional.items()}
    groups = {name: Codes(column.codes[rows], column.names) for name, column in block.groups.items()}
    decision = Codes(block.decision.codes[rows], block.decision.names)
    return replace(block, decision=decision, groups=groups, **named)


def codes_of(column: pa.ChunkedArray) -> Codes:
    """A column of text as codes, a missing cell as `(missing)`."""
    coded = pc.dictionary_encode(pc.fill_null(pc.cast(column, "string"), "(missing)")).combine_chunks()
    return Codes(coded.indices.to_numpy().astype(np.int64), tuple(coded.dictionary.to_pylist()))


@cache
def adult(train: Path, test: Path) -> tuple[Any, View]:
    """The adult test rows with their outcomes, scored by a model of the adult training rows."""
    rows = pq.read_table(test)
    fitted = pq.read_table(train)
    names = [name for name in fitted.column_names if name not in ("row_id", "label")]
    encoded, kinds = _encode(fitted, rows, names)
    labels = {part: table["label"].to_numpy().astype(np.float64) for part, table in (("fit", fitted), ("new", rows))}
    booster = _train(encoded[0], labels["fit"], names, kinds, {"objective": "binary:logistic", "eta": 0.1}, 60)
    score = _predict(booster, encoded[1], names, kinds)
    held = _predict(booster, encoded[0][:2000], names, kinds)
    groups = {name: codes_of(rows[name]) for name in ("sex", "race", "education")}
    view = View(score_edges=tuple(bin_edges(held).tolist()))
    return block_of(score, label=labels["new"], groups=groups, features=encoded[1]), view


@cache
def beijing(path: Path) -> tuple[Any, Any, View, np.ndarray]:
    """PM2.5 of Beijing: rows of the first years that the model did not see, the later years, and their months."""
    rows = pq.read_table(path)
    rows = rows.filter(pc.is_valid(rows["pm25"])).sort_by("event_time")
    names = ["month", "hour", "dewp", "temp", "pres", "cbwd", "iws", "is", "ir"]
    (encoded, _), kinds = _encode(rows, rows, names)
    label, year = rows["pm25"].to_numpy().astype(np.float64), rows["year"].to_numpy()
    early = year < 2013
    fitted = early & (np.random.default_rng(5).random(len(label)) < 0.7)
    booster = _train(encoded[fitted], label[fitted], names, kinds, {"objective": "reg:squarederror", "eta": 0.1}, 60)
    score = _predict(booster, encoded, names, kinds)
    held = early & ~fitted
    calibration = fit_interval(score[held], label[held])
    lower, upper = calibration.intervals(score)
    covered = ((lower <= label) & (label <= upper)).astype(np.int64)
    none = Codes(np.full(len(label), -1), ())
    block = block_of(score, label=label, lower=lower, upper=upper, covered=covered, decision=none)
    view = View("regression", (), None, tuple(bin_edges(score[held]).tolist()))
    month = year * 12 + rows["month"].to_numpy() - 1
    return take(block, held), take(block, ~early), view, month[~early]


def _encode(fit: pa.Table, new: pa.Table, names: list[str]) -> tuple[tuple[np.ndarray, np.ndarray], list[str]]:
    columns: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    kinds: list[str] = []
    for name in names:
        if pa.types.is_string(fit[name].type) or pa.types.is_large_string(fit[name].type):
            values = pc.unique(fit[name].drop_null())
            kinds.append("c")
            for table, found in zip((fit, new), columns, strict=True):
                found.append(pc.index_in(table[name], values).to_numpy().astype(np.float32))
        else:
            kinds.append("q")
            for table, found in zip((fit, new), columns, strict=True):
                found.append(table[name].to_numpy().astype(np.float32))
    return (np.column_stack(columns[0]), np.column_stack(columns[1])), kinds


def _train(rows: np.ndarray, label: np.ndarray, names: list[str], kinds: list[str], params: dict, trees: int) -> Any:
    import xgboost

    matrix = xgboost.DMatrix(rows, label, feature_names=names, feature_types=kinds, enable_categorical=True)
    return xgboost.train({"max_depth": 4, "nthread": 1, "seed": 1, **params}, matrix, trees)


def _predict(booster: Any, rows: np.ndarray, names: list[str], kinds: list[str]) -> np.ndarray:
    import xgboost

    matrix = xgboost.DMatrix(rows, feature_names=names, feature_types=kinds, enable_categorical=True)
    return booster.predict(matrix).astype(np.float64)
