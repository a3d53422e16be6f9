"""SIGKILL of a front under POST load, again and again: every answer is in the log, none is lost, none is made up."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.audit.compaction import compact_model
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, replay_request
from twinscore.audit.places import STREAMS, model_folder
from twinscore.audit.reader import read_model
from twinscore.audit.verify import verify_model
from twinscore.settings import Settings

from .killing import Asking, Ledger, Nursery

LONGEST_LIFE_S = 0.4
REPLAYED = 200


def live_and_die(nursery: Nursery, ledger: Ledger, dice: random.Random) -> None:
    """One life: it opens, is asked and killed; every tenth one is killed while it opens."""
    pid = nursery.fork("serve")
    if dice.random() < 0.1:
        time.sleep(dice.random() * 0.1)
        nursery.kill(pid)
        return
    port = nursery.port_of(pid)
    with Asking(ledger, lambda: port) as asking:
        until = time.monotonic() + 30
        while not asking.answers and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(dice.random() * LONGEST_LIFE_S)
        nursery.kill(pid)


@pytest.mark.parametrize("rounds", [6, pytest.param(0, marks=[pytest.mark.chaos, pytest.mark.timeout(3_600)])])
def test_every_answer_is_in_the_log(binary: Any, tmp_path: Path, rounds: int) -> None:
    """Every 200 is visible once with the score that was told; what nobody was told may be there, if it was sent."""
    seed = int(os.environ.get("TWINSCORE_SEED", "7"))
    rounds = rounds or int(os.environ.get("TWINSCORE_KILLS", "200"))
    dice = random.Random(seed)
    settings, ledger, compactions = Settings(home=tmp_path), Ledger(binary.rows, random.Random(seed)), 0
    store = BundleFolder(settings.lake / "bundles")
    digest = store.publish(binary.bundle.folder)
    began = time.monotonic()
    with Nursery(store.path(digest), digest, settings.home) as nursery:
        for number in range(rounds):
            beside = nursery.fork("compact") if number % 3 == 1 else None
            compactions += beside is not None
            live_and_die(nursery, ledger, dice)
            if beside is not None:
                nursery.kill(beside)
    took_s = time.monotonic() - began
    log = model_folder(settings.lake, "members")
    key = load_secret(audit_key(settings.home))
    collapsed = compact_model(log, key, lambda _: binary.bundle.contract)
    visible = rows_of(log)
    told, refused, unknown = ledger.answered(), ledger.answered(422), set(visible) - ledger.sent.keys()
    lost = {name for name, sent in told.items() if visible.get(name) != [(200, score) for score in sent.scores or ()]}
    lost |= {name for name in refused if [status for status, _ in visible.get(name, ())] != [422]}
    untold = {name for name in visible if name in ledger.sent and ledger.sent[name].status is None}
    states = verify_model(log, key)
    print(
        f"seed {seed}: {rounds} kills of a front and {compactions} of a compaction in {took_s:.0f} s,"
        f" {len(ledger.sent)} requests sent, {len(told)} answered 200, {len(refused)} refused, {ledger.failures} broken"
        f" off, {ledger.resent} sent again; lost {len(lost)}, made up {len(unknown)}, recorded and never told"
        f" {len(untold)}, repeats collapsed at the end {collapsed.collapsed}."
    )

    assert (set(), set()) == (lost, unknown)
    assert {200, 422, None} >= {sent.status for sent in ledger.sent.values()}
    assert len(told) > 5 * rounds
    assert ((), ()) == (collapsed.conflicts, collapsed.damaged)
    assert [] == list(read_model(log))
    assert [()] == [state.faults for state in states]
    assert os.listdir(log / STREAMS / states[0].stream)  # noqa: PTH208 - the one stream that each life took up again
    chosen = dice.sample(sorted(told), min(REPLAYED, len(told)))
    replayed = [one for name in chosen for one in replay_request(log, name, store.path)]
    assert {((), "")} == {(one.differences, one.unable) for one in replayed}
    assert sum(len(told[name].scores or ()) for name in chosen) == sum(one.rows for one in replayed)


def rows_of(log: Path) -> dict[str, list[tuple[int, float | None]]]:
    """Return status and score of each visible row, by request, in the order of the rows."""
    names = ["request_id", "row", "status", "score"]
    tables = [pq.read_table(path, columns=names, partitioning=None) for path in log.glob("date=*/*.parquet")]
    table = pa.concat_tables(tables)
    places = pc.sort_indices(table, [("request_id", "ascending"), ("row", "ascending")])
    found: dict[str, list[tuple[int, float | None]]] = {}
    for row in table.take(places).to_pylist():
        found.setdefault(row["request_id"], []).append((row["status"], row["score"]))
    return found
