"""A bundle is exactly its files, and a changed byte is named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from twinscore.bundle.files import DIGESTS, FILES, MARGIN, read_bundle, write_bundle
from twinscore.errors import BundleInvalid
from twinscore.testing.models import make_bundle

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "made"
    make_bundle(folder, rows=400, trees=5)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "copy")


def test_a_bundle_is_exactly_its_files(folder: Path) -> None:
    """Nothing is missing, nothing is extra, and golden rows carry the booster's margins."""
    bundle = read_bundle(folder)

    assert {path.name for path in folder.iterdir()} == {*FILES, DIGESTS}
    assert bundle.golden.column_names == [*bundle.contract.schema.names, MARGIN]
    assert len(bundle.digest) == 64


def test_the_digest_is_that_of_the_content(folder: Path, made: Path) -> None:
    """A copy is the same bundle."""
    assert read_bundle(folder).digest == read_bundle(made).digest


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_named(folder: Path, name: str) -> None:
    """Every file is covered by a digest, checked before it is parsed."""
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)

    with pytest.raises(BundleInvalid, match=name):
        read_bundle(folder)


@pytest.mark.parametrize("name", [*FILES, DIGESTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    """A bundle with a hole does not load."""
    (folder / name).unlink()

    with pytest.raises(BundleInvalid, match=name):
        read_bundle(folder)


def test_extra_files_and_links_are_refused(folder: Path, tmp_path: Path) -> None:
    """No code can ride along, and no file may lead elsewhere."""
    (folder / "evil.py").write_text("boom")
    with pytest.raises(BundleInvalid, match=r"evil\.py"):
        read_bundle(folder)
    (folder / "evil.py").unlink()
    (folder / "card.json").rename(tmp_path / "card.json")
    (folder / "card.json").symlink_to(tmp_path / "card.json")
    with pytest.raises(BundleInvalid, match=r"card\.json"):
        read_bundle(folder)


def test_no_bundle_says_so(tmp_path: Path) -> None:
    """A path without a bundle is answered with the path."""
    with pytest.raises(BundleInvalid, match="no bundle at"):
        read_bundle(tmp_path / "nowhere")


def test_written_once(made: Path) -> None:
    """An existing folder is never written over."""
    with pytest.raises(BundleInvalid, match="exists already"):
        make_bundle(made, rows=400, trees=5)


def test_a_card_that_does_not_fit_is_refused(made: Path, tmp_path: Path) -> None:
    """Objective, classes and positive class must be the booster's."""
    bundle = read_bundle(made)
    parts = {
        "booster": bundle.booster,
        "spec": bundle.spec,
        "contract": bundle.contract,
        "profile": bundle.profile,
        "calibration": bundle.calibration,
        "shap_base": bundle.shap_base,
        "golden": bundle.golden,
    }
    for change in ({"objective": "reg:squarederror"}, {"classes": ("a", "b", "c")}, {"positive": "no"}):
        with pytest.raises(BundleInvalid, match="card of"):
            write_bundle(tmp_path / "misfit", card=replace(bundle.card, **change), **parts)  # type: ignore[arg-type]
