"""The bundle store on local disk."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.bundle.files import FILES, read_bundle
from twinscore.errors import BundleInvalid

if TYPE_CHECKING:
    from pathlib import Path

    from twinscore.bundle.files import Bundle


def test_a_published_bundle_is_found_by_its_digest(tmp_path: Path, bundle: Bundle) -> None:
    """Publishing returns the bundle's digest, under which the same bundle is read again."""
    store = BundleFolder(tmp_path)

    digest = store.publish(bundle.folder)

    assert digest == bundle.digest
    assert store.has(digest)
    assert read_bundle(store.path(digest)).digest == digest
    assert [digest] == [path.name for path in tmp_path.iterdir()]


def test_published_files_are_read_only(tmp_path: Path, bundle: Bundle) -> None:
    """Nobody changes a published file by accident."""
    store = BundleFolder(tmp_path)

    folder = store.path(store.publish(bundle.folder))

    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o444}


def test_publishing_again_changes_nothing(tmp_path: Path, bundle: Bundle) -> None:
    """A digest that is there already is left as it is."""
    store = BundleFolder(tmp_path)
    first = store.path(store.publish(bundle.folder)).stat().st_mtime_ns

    again = store.publish(bundle.folder)

    assert first == store.path(again).stat().st_mtime_ns


def test_publishers_at_the_same_time_all_succeed(tmp_path: Path, bundle: Bundle) -> None:
    """Many publishers of one bundle end with one folder and nothing left over."""
    store = BundleFolder(tmp_path)

    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(lambda _: store.publish(bundle.folder), range(4)))

    assert digests == {bundle.digest}
    assert [bundle.digest] == [path.name for path in tmp_path.iterdir()]


def test_what_a_killed_publisher_left_is_taken_away(tmp_path: Path, bundle: Bundle) -> None:
    """A private folder of two hours ago goes with the next publication; one of a minute ago may still be written."""
    for name, age_s in [(".incoming-old", 7200), (".incoming-new", 60)]:
        (tmp_path / name / "bundle").mkdir(parents=True)
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)

    BundleFolder(tmp_path).publish(bundle.folder)

    assert {".incoming-new", bundle.digest} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_never_published(tmp_path: Path, bundle: Bundle, name: str) -> None:
    """One flipped byte in any file keeps the bundle out, and the message names the file."""
    changed = tmp_path / "changed"
    shutil.copytree(bundle.folder, changed)
    content = bytearray((changed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (changed / name).write_bytes(content)
    store = BundleFolder(tmp_path / "store")

    with pytest.raises(BundleInvalid, match=name):
        store.publish(changed)

    assert list((tmp_path / "store").iterdir()) == []


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    """A symbolic link inside a bundle is seen as a link, not followed."""
    linked = tmp_path / "linked"
    shutil.copytree(bundle.folder, linked)
    (linked / "card.json").unlink()
    (linked / "card.json").symlink_to(bundle.folder / "card.json")

    with pytest.raises(BundleInvalid, match=r"card\.json"):
        BundleFolder(tmp_path / "store").publish(linked)


@pytest.mark.parametrize("digest", ["", "..", "../../etc", "A" * 64, "0" * 63])
def test_what_is_no_digest_never_becomes_a_path(tmp_path: Path, digest: str) -> None:
    """Only 64 hexadecimal letters are looked up."""
    with pytest.raises(BundleInvalid, match="not a SHA-256"):
        BundleFolder(tmp_path).has(digest)


def test_an_absent_digest_says_how_to_get_it(tmp_path: Path) -> None:
    """Asking for a bundle that is not here names the store and the remedy."""
    with pytest.raises(BundleInvalid, match="load its version once"):
        BundleFolder(tmp_path).path("0" * 64)
