"""The reference of the batch measurements: 20 columns, 200 trees of depth 6, and as many rows as one likes.

Not a measurement by itself: `python benchmarks/reference.py FOLDER ROWS` makes model and rows in a folder.
A model and data of one's own take its place: `train_on` and `take_bundle` make the model, `write_repeated` the rows.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost

from twinscore.batch.snapshot import find_files
from twinscore.bundle.calibration import fit_classes
from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import infer_features
from twinscore.bundle.files import Bundle, read_bundle, write_bundle
from twinscore.bundle.profile import build_profile
from twinscore.contract.infer import infer_contract
from twinscore.ports.model_store import ModelVersion

KEY, LABEL = "row_id", "outcome"
NUMBERS = [f"x{place:02d}" for place in range(16)]
CATEGORIES = {"city": 40, "plan": 5, "channel": 8, "segment": 12}
FILE_ROWS = 1_000_000
GROUP_ROWS = 131_072
_POOL = 1_000_000


def make_rows(rows: int, first: int = 0, seed: int = 0) -> pa.Table:
    """Return a key that counts from `first`, 16 numbers with a few missing ones, and four texts."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pa.Array] = {KEY: pa.array(np.arange(first, first + rows))}
    for place, name in enumerate(NUMBERS):
        values = rng.normal(size=rows).round(4) if place % 4 else rng.integers(0, 1_000, rows).astype(float)
        columns[name] = pa.array(values, mask=rng.random(rows) < 0.02)
    for name, words in CATEGORIES.items():
        codes = pa.array(rng.integers(0, words, rows).astype(np.int32))
        columns[name] = pa.array([f"{name}-{word}" for word in range(words)]).take(codes)
    return pa.table(columns)


def write_input(folder: Path, rows: int, *, file_rows: int = FILE_ROWS) -> Path:
    """Write `rows` rows into files of `file_rows`: the key differs everywhere, the rest repeats every million rows."""
    done = folder / "_done"  # a name that no reader takes for data
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pool = make_rows(min(rows, _POOL), seed=7)
        for number, first in enumerate(range(0, rows, file_rows)):
            count = min(file_rows, rows - first)
            start = first % pool.num_rows
            start = start if start + count <= pool.num_rows else 0
            table = pool.slice(start, count).set_column(0, KEY, pa.array(np.arange(first, first + count)))
            pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS)
        done.write_text(str(rows))
    return folder


def write_repeated(folder: Path, source: Path, bundle: Bundle, rows: int, *, file_rows: int = FILE_ROWS) -> Path:
    """Write `rows` rows that a model takes, as `write_input` does: those of `source` again and again, with new keys."""
    done = folder / "_done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        key = key_of(bundle)
        schema = bundle.contract.schema
        own = bundle.checker.conform(pa.concat_tables([pq.read_table(path) for path in find_files(source)]))
        # Refused rows would be refused a thousand times: the limit of the quarantine is not what is measured.
        own = own.filter(pa.array(bundle.checker.check(own).accepted)).combine_chunks()
        place = schema.get_field_index(key.name)
        for number, first in enumerate(range(0, rows, file_rows)):
            count = min(file_rows, rows - first)
            numbers = np.arange(first, first + count)
            keys = pa.array(numbers).cast(key.type)
            table = own.take(pa.array(numbers % own.num_rows)).set_column(place, key, keys)
            pq.write_table(table, folder / f"part-{number:05d}.parquet", row_group_size=GROUP_ROWS)
        done.write_text(str(rows))
    return folder


def key_of(bundle: Bundle) -> pa.Field:
    """Return the one key column of a model, which a benchmark can count in."""
    names = bundle.contract.key
    field = bundle.contract.schema.field(names[0]) if names and names[0] in bundle.contract.schema.names else None
    if len(names) != 1 or field is None or not (pa.types.is_integer(field.type) or pa.types.is_string(field.type)):
        sys.exit(f"The benchmark needs a model with one key column of whole numbers or text, not {list(names)}.")
    return field


def take_bundle(folder: Path, bundle: Path) -> Bundle:
    """Copy the folder of a bundle to where the benchmark's model is, unless one is there."""
    if not folder.exists():
        shutil.copytree(bundle, folder)
    return read_bundle(folder)


def train_on(folder: Path, data: Path, *, label: str, key: str) -> Bundle:
    """Train on one's own data as `twinscore train` does, unless the model is there."""
    if not folder.exists():
        from twinscore.settings import load_settings
        from twinscore.training.train import train
        from twinscore.wiring import load_version

        settings = load_settings(home=folder.parent / "home")
        made = train(settings, model=data.stem, data=data, label=label, key=key)
        take_bundle(folder, Path(load_version(settings, made.ref)[1].folder))
    return read_bundle(folder)


def make_model(folder: Path, *, trees: int = 200, depth: int = 6) -> Bundle:
    """Train on 50,000 rows and write the bundle, unless it is there."""
    if not folder.exists():
        table = make_rows(50_000, seed=1)
        rng = np.random.default_rng(2)
        signal = sum(np.nan_to_num(table[name].to_numpy()) * rng.normal() / (1 if place % 4 else 300)
                     for place, name in enumerate(NUMBERS))  # fmt: skip
        codes = table["city"].combine_chunks().dictionary_encode().indices.to_numpy()
        outcome = (signal + 0.05 * codes + rng.normal(size=50_000) > 0).astype(int)
        contract = infer_contract(table, name="reference", key=[KEY])
        spec = infer_features(table, exclude=[KEY])
        matrix = xgboost.DMatrix(
            spec.encode(table), outcome, feature_names=spec.names, feature_types=spec.feature_types,
            enable_categorical=True,
        )  # fmt: skip
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": depth, "eta": 0.05}, matrix, trees)
        scores = booster.predict(matrix).astype(np.float64)
        card = ModelCard(
            model="reference", task="classification", objective="binary:logistic", classes=("no", "yes"),
            positive="yes", label=LABEL, key=(KEY,), rows={"train": 50_000}, created_at="2025-01-01T00:00:00+00:00",
        )  # fmt: skip
        write_bundle(
            folder, booster=booster, spec=spec, contract=contract, profile=build_profile(table, spec, scores),
            calibration=fit_classes(np.column_stack([1 - scores, scores]), outcome), shap_base=[0.0], card=card,
            golden=table.slice(0, 300),
        )  # fmt: skip
    return read_bundle(folder)


def version_of(bundle: Bundle) -> ModelVersion:
    """Return the version that a registry would name."""
    return ModelVersion("reference", "1", (), bundle.digest, "", None)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make_model(place / "model")
    write_input(place / "rows", int(sys.argv[2]))
