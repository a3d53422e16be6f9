"""Records of shadows: they pair with those of the answers, can be proved and replayed, and never stand in their way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twinscore.adapters.bundle_folder import BundleFolder
from twinscore.audit.compaction import compact_model
from twinscore.audit.disk import Disk
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_key, contracts_in, replay_request
from twinscore.audit.places import model_folder
from twinscore.audit.reader import Entry, read_model
from twinscore.audit.record import decode_record
from twinscore.audit.replay import replay_rows
from twinscore.audit.rows import table_of
from twinscore.audit.verify import verify_model
from twinscore.contract.model import Contract
from twinscore.online.answer import RowError
from twinscore.online.arms import Arms
from twinscore.online.asked import Asked
from twinscore.online.caller import Scored
from twinscore.online.endpoint import Endpoint
from twinscore.online.front import Front
from twinscore.online.gateway import Gateway
from twinscore.online.mirrored import LiveRow
from twinscore.online.shadow import Compared, ShadowCall
from twinscore.online.shadow_feed import FeedTotals, ShadowFeed, show_shadow_log
from twinscore.online.shadow_log import ShadowLog, ShadowLogLimits
from twinscore.online.shadow_trail import ShadowTrail
from twinscore.online.spec import AuditPolicy
from twinscore.rollout.routing import Routing, Shadow, Target
from twinscore.settings import Settings
from twinscore.wiring import listener_roster

from .shadowing import in_threads, until

QUICK = ShadowLogLimits(gather_s=0.02)
ROOMY = AuditPolicy(reserve_mb=1, shadow_free_mb=0)
PATIENCE_S = 30.0


class Answering:
    """Answers with an endpoint of this process, as a shadow's replica would."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def __call__(self, rows: Any) -> Answering:
        """Take the rows."""
        made = Answering(self.endpoint)
        made.rows = rows
        return made

    def __await__(self) -> Any:
        message = "a mirror waits in a thread of its own, with `result`"
        raise AssertionError(message)

    def result(self, *, timeout_s: float | None = None) -> Scored:
        """Score them."""
        del timeout_s
        outcome = self.endpoint.score(Asked(self.rows, at="/rows", partial=True))
        return Scored(self.endpoint.bundle.digest, self.endpoint.predictions(outcome))

    def cancel(self) -> None:
        """Nothing to give up."""

    rows: Any = ()


class Replica:
    """A front with a shadow beside it, and the log that both write to."""

    def __init__(self, home: Path, binary: Any, second: Endpoint, policy: AuditPolicy, **options: Any) -> None:
        self.settings = Settings(home=home)
        self.bundles = BundleFolder(self.settings.lake / "bundles")
        for bundle in (binary.bundle, second.bundle):
            self.bundles.publish(bundle.folder)
        self.folder = model_folder(self.settings.lake, "members")
        gateway = Gateway("members")
        start = in_threads(self.settings, Answering(second), policy=policy, log_limits=QUICK, **options)
        shadow = Shadow(app="members.shadow.2", version="2", digest=second.bundle.digest)
        live = Target(version="1", digest=binary.bundle.digest)
        routing = Routing(model="members", live=live, shadows=(shadow,))
        self.feed, self.totals = ShadowFeed(shadow, start(routing, shadow)), FeedTotals()
        self.totals.begin(self.feed)
        show_shadow_log(gateway.metrics, self.log)
        gateway.swap(binary.endpoint, Arms(routing, binary.endpoint, {}, [self.feed]))
        self.front = Front(gateway, self.settings, listener_roster(self.settings), replica="r1", audit=policy)

    def post(self, body: Any, request_id: str) -> int:
        """Ask and return the status."""
        url = f"http://127.0.0.1:{self.front.listener.port}/members/predict"
        return httpx.post(url, json=body, headers={"x-request-id": request_id}, trust_env=False).status_code

    def log(self) -> dict[str, Any]:
        """Return what was recorded and what was left out."""
        return self.totals.counts()

    def close(self) -> None:
        """Leave in the order in which a replica does."""
        self.front.close()
        self.totals.end(self.feed)


@pytest.fixture
def replica(tmp_path: Path, binary: Any, second: Endpoint) -> Iterator[Replica]:
    """A replica whose shadow is version 2."""
    found = Replica(tmp_path, binary, second, ROOMY)
    yield found
    found.close()


def test_records_pair_with_the_answers(replica: Replica, binary: Any, second: Endpoint) -> None:
    """One row, few and many: each row of an answer has the shadow's beside it, in a whole log, compacted or not."""
    sent = {f"one-{number}": 1 for number in range(20)} | {"few": 3, "many": 40}
    start = 0
    for name, count in sent.items():
        rows = binary.rows[start : start + count]
        assert 200 == replica.post(rows[0] if count == 1 else {"instances": rows}, name)
        start += count
    until(lambda: replica.log()["recorded"] == start)
    page = httpx.get(f"http://127.0.0.1:{replica.front.listener.port}/members/metrics", trust_env=False).text
    replica.close()
    key = load_secret(audit_key(replica.settings.home))
    before = [entry.record for entry in read_model(replica.folder)]
    compacted = compact_model(replica.folder, key, contracts_in(replica.bundles.path))
    table = pa.concat_tables(
        [pq.read_table(path) for path in sorted(replica.folder.glob("date=*/*.parquet"))], promote_options="default"
    )
    by_role = {
        role: sorted(
            (row for row in table.to_pylist() if row["role"] == role), key=lambda row: (row["request_id"], row["row"])
        )
        for role in ("live", "shadow")
    }
    features = [name for name in table.column_names if name.startswith("feature_")]
    pairs = list(zip(by_role["live"], by_role["shadow"], strict=True))
    scored = second.score(Asked((), table=binary.table.slice(0, start))).scored
    assert scored is not None
    wanted = {row["row_id"]: score for row, score in zip(binary.rows, scored["score"].to_pylist(), strict=False)}

    assert f"twinscore_shadow_recorded_total {start}.0" in page
    assert len(before) == 2 * len(sent)
    assert [()] * 2 == [state.faults for state in verify_model(replica.folder, key)]
    assert ((), (), ()) == (compacted.conflicts, compacted.damaged, compacted.waiting)
    assert start == len(pairs)
    for name in ("request_id", "row", *features):
        assert [(live[name], shadow[name]) for live, shadow in pairs if live[name] != shadow[name]] == []
    assert {("2", second.bundle.digest, 200, "shadow")} == {
        (row["version"], row["bundle_digest"], row["status"], row["arm"]) for row in by_role["shadow"]
    }
    assert [wanted[row["feature_row_id"]] for row in by_role["shadow"]] == [row["score"] for row in by_role["shadow"]]
    assert all(row["decision"] and row["uncertainty"] is not None for row in by_role["shadow"])
    assert all(row["took_us"] > 0 and row["call_rows"] >= 1 for row in by_role["shadow"])
    assert {0} == {row["call_rows"] for row in by_role["live"]}


def test_what_was_recorded_never_counts_for_less(replica: Replica, binary: Any) -> None:
    """Before, while and after a feed ends, for whoever scrapes takes less for a start anew."""
    for number in range(10):
        replica.post(binary.rows[number], f"q-{number}")
    until(lambda: replica.log()["recorded"] == 10)
    ending = threading.Thread(target=replica.close)
    ending.start()
    seen = []
    while ending.is_alive():
        seen.append(replica.log()["recorded"])
        ending.join(0.01)

    assert {10} == {*seen, replica.log()["recorded"]}


def test_a_shadow_record_is_replayed(replica: Replica, binary: Any, second: Endpoint) -> None:
    """The request is found with both answers, and each is equal with its own version."""
    replica.post(binary.rows[0], "q-1")
    replica.post({"instances": binary.rows[:40]}, "q-2")
    until(lambda: replica.log()["recorded"] == 41)
    replica.close()
    answers = {name: replay_request(replica.folder, name, replica.bundles.path) for name in ("q-1", "q-2")}

    assert {"q-1": [(1, ()), (1, ())], "q-2": [(40, ()), (40, ())]} == {
        name: [(answer.rows, answer.differences) for answer in found] for name, found in answers.items()
    }
    assert {"live", "shadow"} == {entry.record.role for entry in read_model(replica.folder)}


def test_without_room_shadows_are_left_out_first(tmp_path: Path, binary: Any, second: Endpoint) -> None:
    """With less to spare than is theirs to take, answers go on and are recorded, shadows are not, and it is counted."""
    spare = threading.Event()

    class Filling(Disk):
        def free(self, folder: Path) -> int:
            return super().free(folder) if spare.is_set() else 1

    replica = Replica(tmp_path, binary, second, AuditPolicy(reserve_mb=1, shadow_free_mb=1), disk=Filling())
    try:
        statuses = {replica.post(row, f"q-{number}") for number, row in enumerate(binary.rows[:10])}
        until(lambda: replica.log()["left_out"]["no_room"] == 10)
        spare.set()
        statuses.add(replica.post(binary.rows[10], "q-10"))
        until(lambda: replica.log()["recorded"] == 1)
    finally:
        replica.close()
    roles = [entry.record.role for entry in read_model(replica.folder)]

    assert {200} == statuses
    assert (11, 1) == (roles.count("live"), roles.count("shadow"))


def test_a_disk_that_hangs_holds_no_answer_up(tmp_path: Path, binary: Any, second: Endpoint) -> None:
    """The queue fills to its bytes, the rest is left out and counted; what waited is written when the disk is back."""
    back = threading.Event()

    class Hanging(Disk):
        def free(self, folder: Path) -> int:
            back.wait(PATIENCE_S)
            return super().free(folder)

    settings = Settings(home=tmp_path)
    store = BundleFolder(settings.lake / "bundles")
    for bundle in (binary.bundle, second.bundle):
        store.publish(bundle.folder)
    limits = ShadowLogLimits(max_bytes=4_000, gather_s=0.001)
    log = ShadowLog(settings, "members", ROOMY, contract_of=contracts_in(store.path), limits=limits, disk=Hanging())
    try:
        for number in range(200):
            log.keep([compared(binary, second, number % 40, f"q-{number}")])
        held = log.counts()
        back.set()
        until(lambda: log.counts()["waiting_bytes"] == 0)
        counts = log.counts()
    finally:
        log.close()

    assert 0 < held["waiting_bytes"] <= limits.max_bytes
    assert 200 == counts["recorded"] + counts["left_out"]["full"]
    assert counts["left_out"]["full"] > 100
    assert counts["recorded"] == sum(1 for _ in read_model(model_folder(settings.lake, "members")))


def test_what_cannot_be_recorded_is_counted(tmp_path: Path, binary: Any, second: Endpoint) -> None:
    """A shadow whose bundle is not in the store costs its records, and nothing else."""
    log = ShadowLog(
        Settings(home=tmp_path), "members", ROOMY, contract_of=contracts_in(BundleFolder(tmp_path).path), limits=QUICK
    )
    log.keep([compared(binary, second, 0, "q-0")])
    log.close()

    assert {"full": 0, "no_room": 0, "failed": 1} == log.counts()["left_out"]


def test_what_the_live_contract_marks_stays_out(binary: Any, second: Endpoint) -> None:
    """A dropped column is dropped, a kept one of a marked contract takes all cells with it, and replay says why."""
    contract = second.bundle.contract

    def trail(live: str, shadow: str) -> ShadowTrail:
        found = (marked(contract, shadow), marked(contract, live))
        return ShadowTrail(*found, model="members", salt=b"s" * 32)

    one = compared(binary, second, 3, "q-3")
    place = [column.name for column in contract.columns].index("city")
    found = {
        marks: decode_record(trail(*marks).records([one])[0])
        for marks in (("keep", "keep"), ("drop", "hash"), ("hash", "hash"), ("hash", "keep"), ("drop", "keep"))
    }
    cells = {
        marks: record.rows[0][place] if record.rows and record.rows[0] else None for marks, record in found.items()
    }
    table = table_of([Entry("s", 1, 1, found["drop", "keep"])], contract)

    assert one.row["city"] == cells["keep", "keep"]
    assert (None, 32) == (cells["drop", "hash"], len(str(cells["hash", "hash"])))
    assert [[], []] == [found[marks].rows for marks in (("hash", "keep"), ("drop", "keep"))]
    assert one.shadow.score == table["score"][0].as_py()
    assert "beside the live version's answer" in replay_rows(table, second.bundle).unable


def test_rows_that_only_the_shadow_refuses_say_why(binary: Any, second: Endpoint) -> None:
    """They have no outputs, and the rule and column that they broke; a record of nothing else is a refusal."""
    rows = [compared(binary, second, number, "q-1") for number in (0, 1, 2)]
    error = RowError("/rows/1/debt~1income", "between(debt/income)", "0 to 1", "3")
    refused = replace_shadow(rows[1], error)
    trail = ShadowTrail(second.bundle.contract, binary.bundle.contract, model="members", salt=b"s" * 32)
    (some,) = (decode_record(record) for record in trail.records([rows[0], refused, rows[2]]))
    (none,) = (decode_record(record) for record in trail.records([refused]))

    assert [False, True, False] == [output is None for output in some.outputs]
    assert [(1, "between(debt/income)", "debt/income")] == list(some.faults)
    assert (200, "", [], 422, "contract_broken", [1]) == (
        some.status, some.code, some.places, none.status, none.code, none.places
    )  # fmt: skip


def test_space_that_shadows_leave_is_read_strictly() -> None:
    """A negative number of megabytes is refused."""
    with pytest.raises(Exception, match="shadow_free_mb must be 0 or more"):
        AuditPolicy(shadow_free_mb=-1)


def compared(binary: Any, second: Endpoint, number: int, request_id: str) -> Compared:
    """Return what a mirror hands on of one row, whose number is also its place in the request."""
    row = binary.endpoint.decode([binary.rows[number]])[0][0]
    found, shadow = (one.predictions(one.score(Asked([row])))[0] for one in (binary.endpoint, second))
    live = LiveRow(number, found.score, found.decision, row)
    call = ShadowCall(time.time_ns() // 1000, time.monotonic_ns(), 900, 1)
    digests = second.bundle.digest, binary.bundle.digest
    return Compared(request_id, "members.shadow.2", "2", digests[0], live, shadow, digests[1], call)


def replace_shadow(one: Compared, error: RowError) -> Compared:
    seen = one.shadow
    refused = type(seen)(seen.row, seen.key, None, None, None, False, None, None, "refused", [error])
    return one._replace(shadow=refused)


def marked(contract: Contract, mark: Any) -> Contract:
    columns = tuple(replace(column, audit=mark) if column.name == "city" else column for column in contract.columns)
    return replace(contract, columns=columns)
