"""What a look says of versions that are not whole, in this process; limits are another test's."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.adapters.mlflow_client import connect
from twinscore.adapters.mlflow_models import BUNDLE_TAG
from twinscore.bundle.files import DIGESTS, FILES, MARGIN
from twinscore.control.examine import examine
from twinscore.settings import Settings, load_settings
from twinscore.wiring import alias_store

if TYPE_CHECKING:
    from twinscore.bundle.files import Bundle

    from .conftest import Register

Spoil = Callable[[Path], object]
_NUMBERS = itertools.count()


def bundle_in(files: Path) -> Path:
    """Return the folder of the bundle among a version's files."""
    (found,) = files.rglob("golden.parquet")
    return found.parent


def sealed(folder: Path) -> None:
    """Write digests that fit the files, as whoever changed them would."""
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    (folder / DIGESTS).write_text(json.dumps({"format": 1, "files": digests}))


def without(name: str) -> Spoil:
    """Lose a file."""
    return lambda folder: (folder / name).unlink()


def with_text(name: str, text: str) -> Spoil:
    """Replace a file, and its digest with it."""

    def spoil(folder: Path) -> None:
        (folder / name).write_text(text)
        sealed(folder)

    return spoil


def with_other_margins(folder: Path) -> None:
    """Let the bundle promise scores that its booster does not give."""
    golden = pq.read_table(folder / "golden.parquet")
    margins = pa.array([[value + 1.0 for value in row] for row in golden[MARGIN].to_pylist()], pa.list_(pa.float32()))
    place = golden.column_names.index(MARGIN)
    pq.write_table(golden.set_column(place, MARGIN, margins), folder / "golden.parquet")
    sealed(folder)


def with_another_loader(folder: Path) -> None:
    """Make it a model of another kind."""
    described = next(path / "MLmodel" for path in folder.parents if (path / "MLmodel").exists())
    described.write_text(described.read_text().replace("twinscore.scoring.pyfunc", "mlflow.sklearn"))


def test_a_whole_version_is_read_step_by_step(platform: Settings, register: Register, bundle: Bundle) -> None:
    """A version that scores its golden rows gives its digest, and says each step before it is taken."""
    register("whole", "e" * 64)
    alias_store(platform).tag("whole", "1", BUNDLE_TAG, None)
    steps: list[str] = []

    assert {"digest": bundle.digest} == examine(platform, "whole", "1", steps.append)
    assert ["registry", "fetch", "bundle", "bundle", "golden rows"] == steps


@pytest.mark.parametrize(
    ("spoil", "piece", "words"),
    [
        (without("contract.yaml"), "contract", r"The bundle in (\S+) has no contract.yaml\."),
        (without("golden.parquet"), "golden rows", r"The bundle in (\S+) has no golden.parquet\."),
        (without("digests.json"), "digest", r"The bundle in (\S+) has no digests.json\."),
        (
            lambda folder: (folder / "card.json").write_text("{}"),
            "bundle",
            r"card.json in the bundle (\S+) was changed",
        ),
        (lambda folder: (folder / "extra.py").write_text(""), "bundle", r"The bundle in (\S+) holds 'extra.py', which"),
        (
            lambda folder: folder.rename(folder.with_name("moved")),
            "fetch",
            r"The files of (\S+) lack the folder data/bundle,",
        ),
        (lambda folder: None, "digest", r"The artifacts of (\S+) have digest .*, its tag says"),
        (with_another_loader, "bundle", r"(\S+) is a plain MLflow model .* twinscore adopt models:/"),
        (with_text("model.ubj", "{L"), "booster", r"model.ubj in (\S+) is not an XGBoost model"),
        (with_text("contract.yaml", ""), "bundle", r"The bundle in (\S+) does not load: "),
        (with_text("golden.parquet", "PAR1"), "golden rows", r"golden.parquet in (\S+) is not Parquet"),
        (with_other_margins, "", r"The booster gives .* for golden row 0"),
    ],
)
def test_the_missing_piece_is_named(
    platform: Settings, register: Register, spoil: Spoil, piece: str, words: str
) -> None:
    """A version that is not whole, or not what it says of itself, is refused with the piece and the version's name."""
    model = f"spoilt{next(_NUMBERS)}"
    spoil(bundle_in(register(model, "f" * 64)))
    if not piece:
        alias_store(platform).tag(model, "1", BUNDLE_TAG, None)

    found = examine(platform, model, "1", lambda _: None)

    assert (piece or "golden rows", False) == (found["piece"], found["waits"])
    named = re.match(words, found["why"])
    assert named, found["why"]
    assert [f"{model}/1"] * len(named.groups()) == list(named.groups())


def test_a_version_that_is_not_there_is_refused(platform: Settings, register: Register) -> None:
    """A number that nobody registered is refused with those that there are."""
    register("short")

    found = examine(platform, "short", "7", lambda _: None)

    assert {"piece": "version", "why": "'short' has no version 7; it has 1.", "waits": False} == found


def test_what_may_be_over_soon_waits(platform: Settings, register: Register, free_port: int, tmp_path: Path) -> None:
    """Without the registry, without the files, or without a lake to keep them in, nothing is said of the version."""
    files = register("slow", "9" * 64)
    away = platform.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{free_port}"})
    full = load_settings(home=tmp_path, mlflow_uri=platform.embedded_registry_uri)
    (tmp_path / "lake").write_text("a file where the lake should be")

    found = [examine(settings, "slow", "1", lambda _: None) for settings in (away, full)]
    files.rename(files.with_name("away"))
    found.append(examine(platform, "slow", "1", lambda _: None))
    client = connect(platform.embedded_registry_uri)
    client.create_registered_model("odd")
    client.create_model_version("odd", "http://127.0.0.1/what-its-library-cannot-read")
    found.append(examine(platform, "odd", "1", lambda _: None))

    assert ["registry", "lake", "fetch", "fetch"] == [one["piece"] for one in found if one["waits"]]
