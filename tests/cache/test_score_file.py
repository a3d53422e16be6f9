"""Scores by entity key: what is found is what a dict would find."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinscore.cache.freshness import Status
from twinscore.cache.score_file import Cached, Missing, ScoreCache, Source, build_scores
from twinscore.contract.model import COLUMN_TYPES
from twinscore.contract.row_key import KeyReader, RowKey, key_hashes
from twinscore.errors import FileUnreadable, SchemaMismatch
from twinscore.scoring.table import SCORE_SCHEMA

from .conftest import MADE, MADE_S, VALUES, contract_of, number_keys, opened, score_file, scored

FRESH = {"now_s": MADE_S + 1, "ttl_s": 60.0}


class Colliding(KeyReader):
    """Gives every key one of three hashes."""

    def read(self, row: Any) -> RowKey | None:
        """Read it as ever, and lose most of the hash."""
        found = super().read(row)
        return found and (found[0] % 3, found[1])


def colliding(keys: pa.Table) -> Any:
    hashes, whole = key_hashes(keys)
    return hashes % np.uint64(3), whole


def score_of(cache: ScoreCache, number: int) -> object:
    found = cache.find({"id": number}, **FRESH)
    return found.values["score"] if isinstance(found, Cached) else found.status


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@given(st.data(), st.booleans())
def test_what_is_found_is_what_a_dict_finds(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, collide: bool
) -> None:
    """Keys of every type, alone and joined, with and without missing parts, and whether or not hashes are shared."""
    kinds = data.draw(st.lists(st.sampled_from(sorted(COLUMN_TYPES)), min_size=1, max_size=3))
    key = pa.schema([pa.field(f"k{place}", COLUMN_TYPES[kind]) for place, kind in enumerate(kinds)])
    parts = [st.one_of(st.none(), VALUES[kind], VALUES[kind]) for kind in kinds]
    some = data.draw(st.lists(st.tuples(*parts), max_size=25, unique=True))
    table = scored(pa.Table.from_pylist([dict(zip(key.names, one, strict=True)) for one in some], schema=key))
    wanted = {
        tuple(row[name] for name in key.names): {name: row[name] for name in SCORE_SCHEMA.names}
        for row in table.to_pylist()
    }
    path = tmp_path_factory.mktemp("cache") / "r1.arrow"
    build_scores(
        path, key, [(Source("r1", MADE), [table.slice(0, 10), table.slice(10)])], rows=len(some), facts={},
        hashed=colliding if collide else key_hashes,
    )  # fmt: skip
    cache = ScoreCache.open(path, contract_of(key), reader=Colliding if collide else KeyReader)
    asked = [*some, *data.draw(st.lists(st.tuples(*parts), max_size=10))]

    for one in asked:
        found = cache.find(dict(zip(key.names, one, strict=True)), **FRESH)
        if one in wanted and not any(missing(part) for part in one):
            assert Cached(Status.PRESENT, wanted[one], "r1", 1.0) == found
        else:
            assert Missing(Status.NOT_FOUND) == found
    assert sum(not any(missing(part) for part in one) for one in some) == len(cache) == cache.facts["rows"]


def test_many_pages_of_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one hash that lie on several pages are all found."""
    monkeypatch.setattr("twinscore.cache.keyed_file.PAGE_ROWS", 16)
    keys = number_keys(100)
    build_scores(
        tmp_path / "a", keys.schema, [(Source("r1", MADE), [scored(keys)])], rows=100, facts={}, hashed=colliding
    )
    cache = ScoreCache.open(tmp_path / "a", contract_of(keys.schema), reader=Colliding)

    assert [number / 100 for number in range(100)] == [score_of(cache, number) for number in range(100)]
    assert {Status.NOT_FOUND} == {cache.find({"id": number}, **FRESH).status for number in range(100, 200)}


@pytest.mark.parametrize(("age", "status"), [
    (0.0, Status.PRESENT), (59.9, Status.PRESENT), (60.0, Status.OUTSIDE_MAX_AGE), (-0.1, Status.OUTSIDE_MAX_AGE),
])  # fmt: skip
def test_an_expired_score_is_never_served(tmp_path: Path, age: float, status: Status) -> None:
    """Its age counts from the beginning of the run; one from the future has no age that could be trusted."""
    cache = opened(score_file(tmp_path / "r1.arrow", scored(number_keys(5))))

    found = cache.find({"id": 3}, now_s=MADE_S + age, ttl_s=60.0)

    assert (status, "r1", age, status is Status.PRESENT) == (
        found.status, found.run_id, pytest.approx(found.age_s), isinstance(found, Cached),
    )  # fmt: skip


def test_rows_of_a_retry_have_their_own_run_and_age(tmp_path: Path) -> None:
    """What came home later is younger."""
    key = number_keys(0).schema
    later = MADE + timedelta(seconds=50)
    parts = [(Source("r1", MADE), [scored(number_keys(5))]), (Source("r2", later), [scored(number_keys(5, 5))])]
    build_scores(tmp_path / "r1.arrow", key, parts, rows=10, facts={})
    cache = opened(tmp_path / "r1.arrow")

    first, second = (cache.find({"id": number}, now_s=MADE_S + 70, ttl_s=60.0) for number in (4, 5))

    assert (Status.OUTSIDE_MAX_AGE, "r1", 70.0) == (first.status, first.run_id, first.age_s)
    assert (Status.PRESENT, "r2", 20.0) == (second.status, second.run_id, second.age_s)


def test_a_null_score_is_told_apart(tmp_path: Path) -> None:
    """The key is there, the score is not."""
    cache = opened(score_file(tmp_path / "r1.arrow", scored(number_keys(2), [None, 0.5])))

    assert (Status.NULL_VALUE, Status.PRESENT) == (
        cache.find({"id": 0}, **FRESH).status, cache.find({"id": 1}, **FRESH).status,
    )  # fmt: skip


def test_two_scores_of_one_key_are_refused(tmp_path: Path) -> None:
    """Which one is meant cannot be told; nothing becomes visible."""
    twice = pa.concat_tables([number_keys(5), number_keys(1, 3)])

    with pytest.raises(SchemaMismatch, match=r"two scores of \{'id': 3\}"):
        score_file(tmp_path / "r1.arrow", scored(twice))

    assert [".lock"] == [path.name for path in tmp_path.iterdir()]


def test_a_key_that_requests_lack_is_refused(tmp_path: Path) -> None:
    """A run keyed by a column outside the contract, or of another type, answers no request."""
    path = score_file(tmp_path / "r1.arrow", scored(number_keys(5)))
    contract = contract_of(pa.schema([pa.field("id", pa.string())]))

    with pytest.raises(SchemaMismatch, match=r"the key id \(int64\), which rows of contract 'demo' do not have"):
        ScoreCache.open(path, contract)
    with pytest.raises(SchemaMismatch, match="id"):
        ScoreCache.open(path, replace(contract, columns=()))


def test_an_empty_file_finds_nothing(tmp_path: Path) -> None:
    """A run without a row is a file without a row."""
    cache = opened(score_file(tmp_path / "r1.arrow", scored(number_keys(0))))

    assert (0, Missing(Status.NOT_FOUND)) == (len(cache), cache.find({"id": 1}, **FRESH))


def test_a_file_is_replaced_while_it_is_open(tmp_path: Path) -> None:
    """Who holds the old one goes on with it, also after it was deleted."""
    path = score_file(tmp_path / "r1.arrow", scored(number_keys(1000)))
    old = opened(path)
    score_file(path, scored(number_keys(1000), [0.25] * 1000))
    new = opened(path)
    path.unlink()

    assert [(number / 1000, 0.25) for number in range(1000)] == [
        tuple(score_of(one, number) for one in (old, new)) for number in range(1000)
    ]


@pytest.mark.parametrize("left", [0, 5, 100, 0.5, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, left: float) -> None:
    """Wherever it ends, the message says what to do."""
    path = score_file(tmp_path / "r1.arrow", scored(number_keys(1000)))
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if isinstance(left, float) else left])

    with pytest.raises(FileUnreadable, match=r"r1\.arrow (cannot be read|is damaged).* Build it again\."):
        opened(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[object]]:
    """What is in a file of 200 scores, and what is found in it."""
    path = score_file(tmp_path_factory.mktemp("whole") / "r1.arrow", scored(number_keys(200)))
    return path.read_bytes(), _found(opened(path))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, whole: tuple[bytes, list[object]], share: float, change: int
) -> None:
    """Every value is under a checksum; what is under none, such as padding, alters no answer."""
    path = tmp_path_factory.mktemp("cache") / "r1.arrow"
    content, wanted = bytearray(whole[0]), whole[1]
    content[int(share * len(content))] ^= change
    path.write_bytes(content)

    try:
        cache = opened(path)
    except (FileUnreadable, SchemaMismatch):
        return
    assert wanted == _found(cache)


def _found(cache: ScoreCache) -> list[object]:
    return [cache.find({"id": number}, **FRESH) for number in range(200)]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Four times the rows need hardly more memory: Arrow's own peak is compared."""
    peaks = []
    for rows in (40_000, 160_000):
        script = _BUILD.format(rows=rows, path=tmp_path / f"{rows}.arrow")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
        peaks.append(int(done.stdout))

    assert peaks[1] < 1.5 * peaks[0]


_BUILD = """
import datetime, numpy as np, pyarrow as pa
from pathlib import Path
from twinscore.cache import hash_sort
from twinscore.cache.score_file import Source, build_scores
from twinscore.scoring.table import SCORE_SCHEMA
hash_sort.BUCKET_ROWS, hash_sort._BUFFER = 4096, 1024
key = pa.schema([pa.field("id", pa.int64())])
def tables():
    for first in range(0, {rows}, 4000):
        table = pa.table({{"id": np.arange(first, first + 4000), "score": np.ones(4000)}})
        for item in list(SCORE_SCHEMA)[1:]:
            table = table.append_column(item, pa.nulls(4000, item.type))
        yield table
made = datetime.datetime.now(datetime.UTC)
build_scores(Path("{path}"), key, [(Source("r", made), tables())], rows={rows}, facts={{}})
print(pa.default_memory_pool().max_memory())
"""


def test_processes_share_the_pages(tmp_path: Path) -> None:
    """A second process that maps the file adds little to what the first one needs: its share is half of the pages."""
    rows = 200_000
    path = score_file(tmp_path / "r1.arrow", scored(number_keys(rows)))
    script = _MAP.format(path=path, rows=rows)
    command = [sys.executable, "-c", script]
    alone = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first = _shown(alone)
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    second = _shown(other)
    again = _shown(alone)
    for process in (alone, other):
        process.communicate("", timeout=60)
    size = path.stat().st_size

    # PSS counts a page that n processes map as 1/n of it.
    assert first > 0.9 * size
    assert max(second, again) < 0.6 * size
    assert second + again < 1.1 * size


def _shown(process: subprocess.Popen[str]) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


_MAP = """
import sys, pyarrow as pa
from pathlib import Path
from twinscore.cache.keyed_file import KeyedFile
file = KeyedFile(Path("{path}"))
assert all(file.find({{"id": number}}) for number in range(0, {rows}, 100))
for line in sys.stdin:
    kept, here = 0, False
    for entry in open("/proc/self/smaps"):
        if "-" in entry.split(" ")[0]:
            here = entry.rstrip().endswith("{path}")
        elif here and entry.startswith("Pss:"):
            kept += int(entry.split()[1]) * 1024
    print(kept, flush=True)
"""
