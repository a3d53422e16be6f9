"""Publishing a run: the same promises on SQLite, PostgreSQL and Iceberg."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest

from twinscore.errors import FileUnreadable, SchemaMismatch, SettingsInvalid, StoreConflict
from twinscore.testing.predictions import make_predictions, make_run

from .places import Place

A, B, C = "a" * 16, "b" * 16, "c" * 16


def test_a_run_reads_back_as_it_was(place: Place) -> None:
    """Nulls, lists, quotes, letters of all kinds, and times with a zone arrive as they left."""
    published = place.sink().publish(make_run(1_000, A))

    assert place.stored(make_predictions(1_000, A)) == place.rows()
    assert (1_000, 0, False) == (published.rows, published.replaced, published.already_there)


def test_a_large_run_is_whole(place: Place) -> None:
    """A hundred thousand rows arrive, each with its values."""
    place.sink().publish(make_run(100_000, A, batch_rows=16_384))

    assert place.stored(make_predictions(100_000, A)) == place.rows()


def test_a_second_publication_changes_nothing(place: Place) -> None:
    """The same run twice is there once, and the second call says so."""
    place.sink().publish(make_run(500, A))

    again = place.sink().publish(make_run(500, A))

    assert (500, True) == (again.rows, again.already_there)
    assert {A: 500} == place.counts()


def test_runs_are_appended(place: Place) -> None:
    """A run that supersedes nothing stands beside the others."""
    for run_id in (A, B):
        place.sink().publish(make_run(200, run_id))

    assert {A: 200, B: 200} == place.counts()


def test_datasets_have_tables_of_their_own(place: Place) -> None:
    """The same run may go to two tables, and each knows what is in it."""
    place.sink("one").publish(make_run(200, A))
    published = place.sink("two").publish(make_run(200, A))

    assert ({A: 200}, {A: 200}, False) == (place.counts("one"), place.counts("two"), published.already_there)


def test_publishers_at_once_write_a_run_once(place: Place) -> None:
    """Four publishers of one run and one each of two others, on a place where no table is yet."""
    starting = threading.Barrier(6)

    def publish(run_id: str) -> bool:
        run = make_run(2_000, run_id)
        starting.wait()
        return place.sink().publish(run).already_there

    with ThreadPoolExecutor(6) as pool:
        already = list(pool.map(publish, [A, A, A, A, B, C]))

    assert {A: 2_000, B: 2_000, C: 2_000} == place.counts()
    assert ([False, True, True, True], [False, False]) == (sorted(already[:4]), already[4:])


def test_a_killed_publisher_leaves_nothing_visible(place: Place) -> None:
    """A process killed with half of its rows handed over has published none; the next one publishes all."""
    place.sink().publish(make_run(500, B))
    script = f"""
        import time
        from dataclasses import replace
        from twinscore.settings import load_settings
        from twinscore.testing.predictions import make_run
        from twinscore.wiring import prediction_sink

        whole = make_run(10_000, {A!r}, supersedes=({B!r},))

        def half():
            for number, batch in enumerate(whole.batches()):
                if number == 16:
                    print("half", flush=True)
                    time.sleep(600)
                yield batch

        prediction_sink(load_settings(), {place.uri!r}, "scores").publish(replace(whole, batches=half))
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE) as publisher:
        assert publisher.stdout is not None
        assert publisher.stdout.readline() == b"half\n"
        os.kill(publisher.pid, signal.SIGKILL)
        publisher.wait()

    assert {B: 500} == place.counts()

    place.sink().publish(make_run(10_000, A, supersedes=(B,)))

    assert {A: 10_000} == place.counts()


def test_superseded_rows_go_in_the_same_step(place: Place) -> None:
    """A reader beside sees the one run or the other, whole, and never both or none."""
    chain = [f"{number:016x}" for number in range(6)]
    place.sink().publish(make_run(3_000, chain[0]))
    seen: list[dict[str, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(place.counts())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        replaced = [
            place.sink().publish(make_run(3_000, new, supersedes=(old,))).replaced
            for old, new in itertools.pairwise(chain)
        ]
        done.set()
        reading.result()

    assert [3_000] * 5 == replaced
    assert [counts for counts in seen if [*counts.values()] != [3_000]] == []
    assert {chain[-1]: 3_000} == place.counts()


def test_a_superseded_run_does_not_come_back_by_itself(place: Place) -> None:
    """A late retry of an old run is refused; naming the run that took its place brings it back."""
    place.sink().publish(make_run(300, A))
    place.sink().publish(make_run(300, B, supersedes=(A,)))
    place.sink().publish(make_run(300, C, supersedes=(B,)))

    with pytest.raises(StoreConflict, match=f"superseded by run {C}"):
        place.sink().publish(make_run(300, A))
    assert {C: 300} == place.counts()

    place.sink().publish(make_run(300, A, supersedes=(C,)))

    assert {A: 300} == place.counts()


def test_a_run_may_be_superseded_before_it_comes(place: Place) -> None:
    """The order in which two publishers arrive does not decide what is visible."""
    place.sink().publish(make_run(300, B, supersedes=(A,)))

    with pytest.raises(StoreConflict, match=f"superseded by run {B}"):
        place.sink().publish(make_run(300, A))
    assert {B: 300} == place.counts()


def test_other_columns_are_refused(place: Place) -> None:
    """A table of another shape is left alone, and what differs is named."""
    place.sink().publish(make_run(300, A))
    table = make_predictions(300, B).drop_columns(["upper"])
    table = table.set_column(0, "row_id", table["row_id"].cast("string")).append_column("extra", table["score"])
    run = replace(make_run(300, B), schema=table.schema, batches=lambda: iter(table.to_batches()))

    with pytest.raises(SchemaMismatch) as caught:
        place.sink().publish(run)

    assert ["extra", "row_id", "upper"] == sorted(text.split()[0] for text in caught.value.fields["differences"])
    assert {A: 300} == place.counts()


def test_a_type_without_a_place_is_refused(place: Place) -> None:
    """A column that the sink cannot hold is named before anything is made."""
    run = make_run(10, A)
    schema = run.schema.append(pa.field("steps", pa.duration("s")))

    with pytest.raises(SchemaMismatch, match="'steps' of type duration"):
        place.sink().publish(replace(run, schema=schema))
    assert {} == place.counts()


@pytest.mark.parametrize("said", [999, 1_001])
def test_a_run_that_lost_rows_is_not_published(place: Place, said: int) -> None:
    """Rows are counted on their way; a run that is not what it says leaves nothing."""
    with pytest.raises(FileUnreadable, match=f"1000 rows instead of {said}"):
        place.sink().publish(replace(make_run(1_000, A), rows=said))

    assert {} == place.counts()


def test_an_empty_run_is_a_run(place: Place) -> None:
    """A run without a row is published once too, and takes the place of another."""
    place.sink().publish(make_run(300, A))
    first = place.sink().publish(make_run(0, B, supersedes=(A,)))
    second = place.sink().publish(make_run(0, B, supersedes=(A,)))

    assert ({}, False, True) == (place.counts(), first.already_there, second.already_there)


def test_a_run_needs_its_column() -> None:
    """Rows without a run id cannot be told apart later."""
    run = make_run(10, A)

    with pytest.raises(SchemaMismatch, match="'run_id'"):
        replace(run, schema=run.schema.remove(run.schema.get_field_index("run_id")))


def test_a_run_cannot_supersede_itself() -> None:
    """It would be gone and there at once."""
    with pytest.raises(SettingsInvalid, match="supersede itself"):
        make_run(10, A, supersedes=(A,))
