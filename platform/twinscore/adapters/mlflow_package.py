"""The MLflow model folder around a bundle: MLmodel, signature, requirements; knows nothing of the registry.

`MLmodel` names twinscore's own loader module, so `mlflow.pyfunc.load_model` and `mlflow models serve` work wherever
twinscore is installed, and no code or pickle is stored.
"""

from __future__ import annotations

import json
from importlib.metadata import version as installed
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import yaml

from twinscore.adapters.mlflow_client import quiet
from twinscore.contract.document import load_contract
from twinscore.errors import BundleInvalid, ModelNotReady

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.models import ModelSignature

    from twinscore.contract.model import Contract

__all__ = ["LOADER", "bundle_inside", "flat", "signature_of", "write_package"]

LOADER = "twinscore.scoring.pyfunc"
"""The module whose `_load_pyfunc` reads a bundle."""

# Whatever touches a score's bits; the rest comes with twinscore itself.
_PINNED = ("twinscore", "xgboost", "numba", "numpy", "pandas", "pyarrow")


def write_package(bundle_folder: Path, folder: Path, *, digest: str) -> None:
    """Write an MLflow model at `folder` (which must not exist) that carries a copy of the bundle."""
    with quiet():
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module=LOADER,
            data_path=str(bundle_folder),
            signature=signature_of(load_contract(bundle_folder / "contract.yaml")),
            pip_requirements=[f"{name}=={installed(name)}" for name in _PINNED],
            metadata={"twinscore.bundle_digest": digest},
        )


def bundle_inside(model_folder: Path, *, ref: str) -> Path:
    """Return the bundle folder inside a downloaded MLflow model.

    Raises:
        ModelNotReady: the model was not written by twinscore; the message says how to adopt it.
        BundleInvalid: the folder is not an MLflow model, or its data path leads nowhere or out of it.
    """
    try:
        described = yaml.safe_load((model_folder / "MLmodel").read_text(encoding="utf-8"))
        flavor: dict[str, Any] = described["flavors"].get("python_function", {})
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        message = f"The files of {ref} are not an MLflow model: MLmodel is missing or not readable ({error})."
        raise BundleInvalid(message, ref=ref) from error
    if flavor.get("loader_module") != LOADER:
        message = (
            f"{ref} is a plain MLflow model (loader {flavor.get('loader_module')!r}) without a bundle. "
            f"Give it one: twinscore adopt models:/{ref} --data REFERENCE.parquet --key COLUMN --label COLUMN"
        )
        raise ModelNotReady(message, ref=ref, loader=flavor.get("loader_module"))
    inside = PurePosixPath(str(flavor.get("data", "")))
    if inside.is_absolute() or ".." in inside.parts or not inside.parts:
        message = f"The MLmodel of {ref} points to its data by {str(inside)!r}, which is not a folder inside the model."
        raise BundleInvalid(message, ref=ref, data=str(inside))
    if not (model_folder / inside).is_dir():
        message = (
            f"The files of {ref} lack the folder {inside}, in which its MLmodel says that the bundle is: "
            "they were moved or removed after registration. Train or adopt the version again."
        )
        raise BundleInvalid(message, ref=ref, data=str(inside))
    return model_folder / inside


def signature_of(contract: Contract) -> ModelSignature:
    """Return the MLflow signature of a contract's columns and of a scored frame.

    MLflow refuses a float64 frame column for `long` and an int64 one for `double`, and pandas turns integers with a
    null into floats; it also refuses times with a zone. So integers that may be null, and times, are declared `any`:
    MLflow lets them through and the contract, which knows better, checks them (mlflow issue 5207).
    """
    with quiet():
        from mlflow.models import ModelSignature
        from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema, TensorSpec

    filled = {str(e.kwargs["column"]) for e in contract.expectations if e.type == "expect_column_values_to_not_be_null"}
    filled.update(contract.key)

    def declared(name: str, arrow: pa.DataType) -> DataType | AnyType:
        if pa.types.is_string(arrow):
            return DataType.string
        if pa.types.is_floating(arrow):
            return DataType.double
        if pa.types.is_boolean(arrow):
            return DataType.boolean
        if pa.types.is_integer(arrow) and name in filled:
            return DataType.long
        return AnyType()  # type: ignore[no-untyped-call]  # MLflow has no types here

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(name=c.name, type=declared(c.name, c.type), required=True) for c in contract.columns
    ]
    number = ("score", "lower", "upper", "uncertainty")
    outputs: list[ColSpec | TensorSpec] = [
        *(ColSpec(name=name, type=DataType.double, required=name == "score") for name in number),
        *(ColSpec(name=name, type=DataType.string, required=False) for name in ("decision", "review_reason")),
        ColSpec(name="prediction_set", type=Array(DataType.string), required=False),
        ColSpec(name="review", type=DataType.boolean, required=False),
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def flat(values: object) -> str:
    """Return a parameter as MLflow stores it: short text, JSON for what is not text."""
    text = values if isinstance(values, str) else json.dumps(values, default=str, sort_keys=True)
    return text[:6000]
