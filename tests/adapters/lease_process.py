"""A process that acts under a lease, told what to do line by line; run as a script by the tests of leases."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from twinscore.errors import StoreConflict
from twinscore.ports.rollout_store import ControlStore, Lease
from twinscore.rollout.ledger import Draft
from twinscore.settings import load_settings
from twinscore.wiring import open_rollout_store

MODEL, LEASE = "loans", "control"


def say(**facts: object) -> None:
    """Print facts as one line."""
    print(json.dumps(facts), flush=True)


def save(store: ControlStore, lease: Lease) -> int:
    """Load, then save with one entry that names the epoch; return the revision."""
    stored = store.rollouts.load(MODEL)
    revision = 0 if stored is None else stored.revision
    entry = Draft(model=MODEL, kind="started", decided_by=lease.holder, evidence={"epoch": lease.epoch})
    saved = store.rollouts.save(MODEL, {"by": lease.holder}, revision=revision, lease=lease, drafts=[entry])
    return saved.revision


def step(store: ControlStore, holder: str, seconds: float) -> None:
    """Take the lease, say so, and save once for each line on standard input."""
    lease = store.leases.take(LEASE, holder, seconds)
    assert lease is not None
    say(epoch=lease.epoch)
    for _ in sys.stdin:
        try:
            say(saved=save(store, lease))
        except StoreConflict as error:
            say(refused=error.fields["stale"])


def race(store: ControlStore, holder: str, seconds: float) -> None:
    """For some seconds, take the lease whenever it can be had, save under it, and hold it too long every other time."""
    end = time.monotonic() + seconds
    revisions: list[int] = []
    refused: list[str] = []
    taken = 0
    say(ready=True)
    sys.stdin.readline()
    while time.monotonic() < end:
        lease = store.leases.take(LEASE, holder, 0.05)
        if lease is None:
            time.sleep(0.003)
            continue
        taken += 1
        for _ in range(3):
            try:
                revisions.append(save(store, lease))
            except StoreConflict as error:
                refused.append(error.fields["stale"])
            time.sleep(0.04 if taken % 2 else 0.002)
        if taken % 2 == 0:
            store.leases.give_back(lease)
            time.sleep(0.005)
    say(revisions=revisions, refused=refused, taken=taken)


def flood(store: ControlStore, holder: str, seconds: float) -> None:
    """Save as fast as possible, saying each revision, until killed."""
    lease = None
    while lease is None:
        lease = store.leases.take(LEASE, holder, seconds)
    while True:
        say(saved=save(store, lease))


def stop_inside(store: ControlStore, holder: str, seconds: float) -> None:
    """Stop in the middle of a transaction that holds the lease's row, as a machine that is paused does."""
    lease = store.leases.take(LEASE, holder, seconds)
    assert lease is not None
    save(store, lease)
    database = store.rollouts._database  # type: ignore[attr-defined]
    from twinscore.adapters.sql_leases import check

    try:
        with database.writing() as connection:
            check(connection, lease)
            say(inside=True)
            os.kill(os.getpid(), signal.SIGSTOP)
            database.now(connection)
        say(committed=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, the test wants its name
        say(failed=type(error).__name__)


def main(what: str, home: str, uri: str, holder: str, seconds: str) -> None:
    """Open the store and do one of the above."""
    doing = {"step": step, "race": race, "flood": flood, "stop_inside": stop_inside}[what]
    with open_rollout_store(load_settings(home=Path(home), control_store=uri or None)) as store:
        doing(store, holder, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
