"""The reference of the online measurements: 200 trees of depth 6 over 20 numbers, the requests and their right scores.

Not a measurement by itself: `python benchmarks/online_model.py FOLDER` makes everything in a folder.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from single_row import make_bundle, make_table

from twinscore.bundle.files import Bundle, read_bundle
from twinscore.scoring.table import score

if TYPE_CHECKING:
    from collections.abc import Callable

MODEL, KEY = "bench", "row_id"
REQUESTS = 200
"""Different requests; a server that remembered an answer would gain nothing from fewer."""
BULK_ROWS = 1_000
TREES, DEPTH, FEATURES = 200, 6, 20


@dataclass(frozen=True)
class Reference:
    """Model, requests and answers; `rows` and `scores` belong together."""

    folder: Path
    bundle: Bundle
    next_bundle: Bundle
    """The same with one tree more: what a shadow runs."""
    names: list[str]
    rows: list[dict[str, Any]]
    scores: list[float]
    """What the booster says."""
    own_scores: list[float]
    """What the batch path says; the online path must give the same bits."""
    bulk: pa.Table

    @property
    def booster_file(self) -> Path:
        """The booster alone, for those who serve without a bundle."""
        return self.folder / "model.ubj"

    @property
    def encoded_bulk(self) -> np.ndarray:
        """(BULK_ROWS, FEATURES) float32: what the booster itself takes."""
        return np.column_stack([self.bulk[name].to_numpy() for name in self.names]).astype(np.float32)


def make_reference(folder: Path) -> Reference:
    """Train and write model and bundle, unless they are there, and return them with the requests."""
    table = rounded(make_table(20_000, FEATURES))
    place = folder / "bundle"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        bundle = make_bundle(table, place, TREES, DEPTH)
        bundle.booster.save_model(folder / "model.ubj")
        make_bundle(table, folder / "next", TREES + 1, DEPTH)
        (folder / "done").touch()
    bundle = read_bundle(place)
    names = list(bundle.spec.names)
    # Complete rows: not every peer's protocol can say that a number is missing.
    complete = table.drop_null()
    rows = complete.slice(0, REQUESTS).to_pylist()
    encoded = np.array([[row[name] for name in names] for row in rows], np.float32)
    bundle.booster.set_param({"nthread": 1})
    scores = bundle.booster.inplace_predict(encoded, validate_features=False).tolist()
    own = score(bundle.checker.conform(complete.slice(0, REQUESTS)), bundle)["score"].to_pylist()
    return Reference(
        folder, bundle, read_bundle(folder / "next"), names, rows, scores, own, complete.slice(REQUESTS, BULK_ROWS)
    )


def rounded(table: pa.Table) -> pa.Table:
    """Return the numbers with four digits, as people send them."""
    columns = [column if name == KEY else pa.array(np.round(column.to_numpy(), 4), from_pandas=True)
               for name, column in zip(table.column_names, table.columns, strict=True)]  # fmt: skip
    return pa.table(columns, names=table.column_names)


def flat(row: dict[str, Any], names: list[str]) -> Any:
    """Return the row as it is: FastAPI, granian, LitServe, Ray Serve and twinscore."""
    return row


def wrapped(row: dict[str, Any], names: list[str]) -> Any:
    """Return the row as the argument `row`: BentoML."""
    return {"row": row}


def matrix(row: dict[str, Any], names: list[str]) -> Any:
    """Return KServe's first protocol, and MLflow's `instances` with the key left out."""
    return {"instances": [[row[name] for name in names]]}


def split(row: dict[str, Any], names: list[str]) -> Any:
    """Return MLflow's `dataframe_split`, which its documentation recommends."""
    return {"dataframe_split": {"columns": names, "data": [[row[name] for name in names]]}}


def tensors(row: dict[str, Any], names: list[str]) -> Any:
    """Return the Open Inference Protocol v2: one tensor of one row."""
    values = [row[name] for name in names]
    return {"inputs": [{"name": "rows", "shape": [1, len(values)], "datatype": "FP32", "data": values}]}


def write_bodies(reference: Reference, form: Callable[[dict[str, Any], list[str]], Any]) -> Path:
    """Write one file per request and a list of them, as the load generator reads it; return the list."""
    contents = [json.dumps(form(row, reference.names)).encode() for row in reference.rows]
    return write_files(reference.folder / "bodies" / form.__name__, contents)


def write_files(folder: Path, contents: list[bytes]) -> Path:
    """Write bodies into a folder, and a file that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, content in enumerate(contents):
        file = folder / f"{number:04d}"
        file.write_bytes(content)
        names.append(str(file))
    listed = folder / "list"
    listed.write_text("\n".join(names) + "\n")
    return listed


def read_bodies(listed: Path) -> list[bytes]:
    """Return the bodies that a list names."""
    return [Path(name).read_bytes() for name in listed.read_text().split()]


if __name__ == "__main__":
    made = make_reference(Path(sys.argv[1]))
    print(f"{len(made.rows)} requests, scores from {min(made.scores):.3f} to {max(made.scores):.3f}")
