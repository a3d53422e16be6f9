"""A bundle on disk: a fixed set of data files, each with its digest; knows nothing of registries or scoring.

    model.ubj         the booster            calibration.json  conformal quantiles
    features.json     raw columns -> inputs  shap.json         where contributions start from
    contract.yaml     the contract           card.json         the model card
    profile.json      reference profile      golden.parquet    reference rows and their margins
    digests.json      SHA-256 of each file; the SHA-256 of this file is the bundle's digest

Reading checks names and digests before any file is parsed, and nothing here is code: no pickle, no imports by name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from twinscore.bundle.calibration import Calibration
from twinscore.bundle.card import ModelCard
from twinscore.bundle.features import FeatureSpec
from twinscore.contract.compile import compile_contract
from twinscore.contract.document import dumps_contract, loads_contract
from twinscore.errors import BundleInvalid, TwinscoreError, near

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xgboost

    from twinscore.contract.check import Checker
    from twinscore.contract.model import Contract

__all__ = ["DIGESTS", "FILES", "MARGIN", "Bundle", "read_bundle", "write_bundle"]

FORMAT = 1
DIGESTS = "digests.json"
FILES = (
    "calibration.json",
    "card.json",
    "contract.yaml",
    "features.json",
    "golden.parquet",
    "model.ubj",
    "profile.json",
    "shap.json",
)
"""Every file of a bundle besides its digests; nothing else may be in the folder."""

MARGIN = "__margin"
"""Column of the golden rows with the booster's own margins: list<float32>, one number or one per class."""

_LARGEST_FILE = 2 * 1024**3


@dataclass(frozen=True)
class Bundle:
    """A verified bundle, loaded."""

    folder: Path
    digest: str
    booster: xgboost.Booster
    spec: FeatureSpec
    contract: Contract
    checker: Checker
    calibration: Calibration
    profile: Mapping[str, Any]
    shap_base: tuple[float, ...]
    card: ModelCard
    golden: pa.Table

    @property
    def contract_digest(self) -> str:
        """Digest of the contract inside."""
        return self.contract.digest


def write_bundle(
    folder: Path,
    *,
    booster: xgboost.Booster,
    spec: FeatureSpec,
    contract: Contract,
    profile: Mapping[str, Any],
    calibration: Calibration,
    shap_base: list[float] | tuple[float, ...],
    card: ModelCard,
    golden: pa.Table,
) -> str:
    """Write a bundle at `folder`, which appears whole or not at all, and return its digest.

    Args:
        folder: must not exist yet.
        golden: reference rows, (n_rows, contract columns); the booster's margins are added here.

    Raises:
        BundleInvalid: the folder exists, or the parts do not fit each other.
    """
    folder = Path(folder)
    if folder.exists():
        message = f"{folder} exists already; a bundle is written once, to a new folder."
        raise BundleInvalid(message, folder=str(folder))
    _refuse_misfit(booster, spec, contract, card)
    if golden.num_rows == 0:
        message = "A bundle needs golden rows: without them no replica could prove that it scores right."
        raise BundleInvalid(message)
    rows = compile_contract(contract).conform(golden, source="golden rows")
    margins = np.asarray(booster.inplace_predict(spec.encode(rows), predict_type="margin"), dtype=np.float32)
    listed = pa.FixedSizeListArray.from_arrays(pa.array(margins.reshape(-1)), margins.size // golden.num_rows)
    rows = rows.append_column(MARGIN, listed.cast(pa.list_(pa.float32())))

    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        (scratch / "model.ubj").write_bytes(bytes(booster.save_raw("ubj")))
        (scratch / "contract.yaml").write_text(dumps_contract(contract), encoding="utf-8")
        pq.write_table(rows, scratch / "golden.parquet")
        documents = {
            "features.json": spec.to_json(),
            "profile.json": profile,
            "calibration.json": calibration.to_json(),
            "shap.json": {"base": list(shap_base)},
            "card.json": card.to_json(),
        }
        for name, document in documents.items():
            (scratch / name).write_bytes(_canonical(document))
        digests = {name: _sha256((scratch / name).read_bytes()) for name in FILES}
        sealed = _canonical({"format": FORMAT, "files": digests})
        (scratch / DIGESTS).write_bytes(sealed)
        scratch.chmod(0o755)
        scratch.rename(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return _sha256(sealed)


def read_bundle(folder: Path) -> Bundle:
    """Verify and load a bundle.

    Raises:
        BundleInvalid: a file is missing, unknown, changed, a link, or not what its name says; the message names it.
    """
    folder = Path(folder)
    contents, digest = _verified(folder)
    try:
        spec = FeatureSpec.from_json(_document(contents, "features.json"))
        contract = loads_contract(contents["contract.yaml"].decode())
        card = ModelCard.from_json(_document(contents, "card.json"))
        calibration = Calibration.from_json(_document(contents, "calibration.json"))
        shap_base = tuple(float(value) for value in _document(contents, "shap.json")["base"])
        checker = compile_contract(contract)
    except (TwinscoreError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BundleInvalid):
            raise
        message = f"The bundle in {folder} does not load: {error}"
        raise BundleInvalid(message, folder=str(folder)) from error
    booster = _booster(contents["model.ubj"], folder)
    _refuse_misfit(booster, spec, contract, card)
    return Bundle(
        folder=folder,
        digest=digest,
        booster=booster,
        spec=spec,
        contract=contract,
        checker=checker,
        calibration=calibration,
        profile=_document(contents, "profile.json"),
        shap_base=shap_base,
        card=card,
        golden=_golden(contents["golden.parquet"], folder),
    )


def _verified(folder: Path) -> tuple[dict[str, bytes], str]:
    """Return the contents of every file once names and digests are right, and the bundle's digest."""
    try:
        present = {path.name: path for path in folder.iterdir()}
    except OSError as error:
        message = f"There is no bundle at {folder}: {error.strerror or error}."
        raise BundleInvalid(message, folder=str(folder)) from error
    for name in (*FILES, DIGESTS):
        if name not in present:
            message = f"The bundle in {folder} has no {name}. {near(name, present)} Train or adopt the version again."
            raise BundleInvalid(message, folder=str(folder), file=name)
    for name, path in present.items():
        if name not in FILES and name != DIGESTS:
            message = f"The bundle in {folder} holds {name!r}, which no bundle may. Allowed: {', '.join(FILES)}."
            raise BundleInvalid(message, folder=str(folder), file=name)
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            message = f"{name} in the bundle {folder} must be a plain file of at most {_LARGEST_FILE} bytes."
            raise BundleInvalid(message, folder=str(folder), file=name)
    sealed = present[DIGESTS].read_bytes()
    digests = _document({DIGESTS: sealed}, DIGESTS)
    if digests.get("format") != FORMAT or set(digests.get("files", ())) != set(FILES):
        message = f"{DIGESTS} in {folder} is not of format {FORMAT} with a digest for each of {', '.join(FILES)}."
        raise BundleInvalid(message, folder=str(folder), file=DIGESTS)
    contents = {name: present[name].read_bytes() for name in FILES}
    for name, content in contents.items():
        found = _sha256(content)
        if found != digests["files"][name]:
            message = (
                f"{name} in the bundle {folder} was changed: its SHA-256 is {found[:12]}..., "
                f"{DIGESTS} says {str(digests['files'][name])[:12]}... Fetch the bundle again."
            )
            raise BundleInvalid(message, folder=str(folder), file=name, found=found)
    return contents, _sha256(sealed)


def _refuse_misfit(booster: xgboost.Booster, spec: FeatureSpec, contract: Contract, card: ModelCard) -> None:
    if booster.num_features() != len(spec.features):
        message = f"The booster takes {booster.num_features()} features, the specification has {len(spec.features)}."
        raise BundleInvalid(message, booster=booster.num_features(), spec=len(spec.features))
    columns = {column.name: column.type for column in contract.columns}
    for field in spec.columns:
        if columns.get(field.name) != field.type:
            message = (
                f"The features read column {field.name!r} as {field.type}, the contract has it as "
                f"{columns.get(field.name, 'no column')}. {near(field.name, columns)}"
            )
            raise BundleInvalid(message, column=field.name)
    described = json.loads(booster.save_config())["learner"]
    objective = described["learner_train_param"]["objective"]
    if card.objective != objective:
        message = f"The card of {card.model!r} names the objective {card.objective!r}, the booster has {objective!r}."
        raise BundleInvalid(message, card=card.objective, booster=objective)
    sizes = described["learner_model_param"]
    n_outputs = max(int(sizes["num_class"]), int(sizes["num_target"]), 1)
    fits = {1: (0, 2)}.get(n_outputs, (n_outputs,)) if card.task == "classification" or n_outputs == 1 else ()
    if len(card.classes) not in fits or (card.positive is not None and card.positive not in card.classes[1:2]):
        message = (
            f"The card of {card.model!r} names {len(card.classes)} classes (positive: {card.positive!r}) for "
            f"{card.task}, but the booster has {n_outputs} outputs. One output scores a number or the second of two "
            "classes; more outputs score as many classes."
        )
        raise BundleInvalid(message, classes=len(card.classes), outputs=n_outputs)
    if card.task == "classification" and len(card.classes) < 2:
        message = f"The card of {card.model!r} names {len(card.classes)} classes; classification needs two or more."
        raise BundleInvalid(message, model=card.model)


def _booster(raw: bytes, folder: Path) -> xgboost.Booster:
    import xgboost

    try:
        return xgboost.Booster(model_file=bytearray(raw))
    except xgboost.core.XGBoostError as error:
        message = f"model.ubj in {folder} is not an XGBoost model: {str(error).strip().splitlines()[0][:200]}"
        raise BundleInvalid(message, folder=str(folder), file="model.ubj") from error


def _golden(raw: bytes, folder: Path) -> pa.Table:
    try:
        table = pq.read_table(pa.BufferReader(raw))
    except pa.ArrowException as error:
        message = f"golden.parquet in {folder} is not Parquet: {error}"
        raise BundleInvalid(message, folder=str(folder), file="golden.parquet") from error
    if table.num_rows == 0 or MARGIN not in table.column_names:
        message = f"golden.parquet in {folder} has no rows, or no column {MARGIN!r}."
        raise BundleInvalid(message, folder=str(folder), file="golden.parquet")
    return table


def _document(contents: Mapping[str, bytes], name: str) -> dict[str, Any]:
    try:
        document = json.loads(contents[name].decode())
    except (ValueError, RecursionError) as error:
        message = f"{name} is not JSON: {error}"
        raise BundleInvalid(message, file=name) from error
    if not isinstance(document, dict):
        message = f"{name} must hold a JSON object, not {type(document).__name__}."
        raise BundleInvalid(message, file=name)
    return document


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
