"""What a worker does with one source: count it and put down what it adds; only counts leave the worker."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from twinscore.errors import BundleInvalid, TwinscoreError

if TYPE_CHECKING:
    import pyarrow as pa

    from twinscore.batch.watch_audit import CountedPiece
    from twinscore.batch.watch_due import Source
    from twinscore.batch.watch_run import CountedRun
    from twinscore.bundle.files import Bundle
    from twinscore.monitoring.spec import MonitorSpec

__all__ = ["WatchJob", "WatchSource"]


class WatchJob(NamedTuple):
    """What is the same for every source."""

    lake: str
    """The lake, on a file system that every node sees."""
    salt: str
    """File of the salt of the audit log."""
    model: str
    spec: MonitorSpec
    how: str
    labels_path: str
    labels_token: str
    now: str
    """ISO 8601."""


class WatchSource:
    """The actor: keeps bundles and labels, and counts one source per call."""

    def __init__(self, job: WatchJob) -> None:
        from twinscore.audit.contracts import or_by_its_own
        from twinscore.audit.head import load_secret
        from twinscore.batch.watch_labels import KnownLabels
        from twinscore.bundle.lean import import_xgboost_lean
        from twinscore.monitoring.spec import period
        from twinscore.wiring import bundles_in, window_store

        import_xgboost_lean()
        self._job = job
        self._store_of_bundles = bundles_in(Path(job.lake))
        self._bundles: dict[str, Bundle] = {}
        self._contract_of = or_by_its_own(
            lambda digest: self._bundle(digest).contract, self._store_of_bundles.path, self._store_of_bundles.digests
        )
        self._length = period(job.spec.window, "window")
        self._store = window_store(Path(job.lake), job.model)
        self._now = datetime.fromisoformat(job.now)
        labels = job.spec.labels
        self._salt = load_secret(Path(job.salt))
        self._labels = None if labels is None else KnownLabels(labels, job.labels_path, self._now)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do what is due of the source in the batch: (1, [source, do]) in, (1, [answer]) out; our errors are values."""
        import pyarrow as pa

        from twinscore.batch.watch_due import Source

        row = batch.to_pylist()[0]
        do = row.pop("do")
        source = Source(**row)
        try:
            answer = self._count(source, glance=do == "glance")
        except TwinscoreError as error:
            answer = {"error": error.message}
        except Exception as error:  # noqa: BLE001 - raised, it would come back as text of Ray's
            answer = {"error": f"{type(error).__name__}: {error}"}
        return pa.table({"answer": [json.dumps({"source": source.name, **answer})]})

    def _count(self, source: Source, *, glance: bool) -> dict[str, Any]:
        from twinscore.ports.window_store import Counted

        job = self._job
        known = self._store.entries().get(source.name)
        state: dict[str, Any] = {"how": job.how, "labels": job.labels_token, "mature": "", "digest": ""}
        if job.spec.labels is not None:
            state["mature"] = job.spec.labels.mature_from(self._now).isoformat()
        if glance:
            looked = self._read(source, glance=True)
            if looked is None:
                return {"did": "gone"}
            if known is not None and looked.labels == known.state["digest"]:
                self._store.put(Counted(source.name, {**known.state, **state, "digest": looked.labels}, None))
                return {"did": "glanced"}
        counted = self._read(source, glance=False)
        if counted is None:
            return {"did": "gone"}
        found = counted.contribution.tallies
        state |= {"digest": counted.labels, "rows": counted.rows, **_content(counted)}
        self._store.put(Counted(source.name, state, tuple((key, one.to_json()) for key, one in found.items())))
        return {"did": "counted" if known is None else "counted again", "rows": counted.rows}

    def _read(self, source: Source, *, glance: bool) -> CountedPiece | CountedRun | None:
        from twinscore.audit.places import model_folder
        from twinscore.batch.read import open_run
        from twinscore.batch.watch_audit import count_piece
        from twinscore.batch.watch_run import count_run

        job = self._job
        if source.kind == "piece":
            return count_piece(
                model_folder(Path(job.lake), job.model), source.piece, model=job.model, bundle_of=self._bundle,
                spec=job.spec, length=self._length, salt=self._salt, labels=self._labels, glance=glance,
                contract_of=self._contract_of,
            )  # fmt: skip
        run = open_run(Path(source.folder))
        bundle = self._bundle(run.manifest["bundle_digest"])
        return count_run(run, bundle, spec=job.spec, length=self._length, labels=self._labels, glance=glance)

    def _bundle(self, digest: str) -> Bundle:
        if digest not in self._bundles:
            from twinscore.bundle.files import read_bundle

            if not self._store_of_bundles.has(digest):
                message = (
                    f"The bundle {digest[:12]}..., which answered rows, is not in the lake {self._job.lake}. Fetch it "
                    "by scoring or serving that version once; its rows are counted then."
                )
                raise BundleInvalid(message, expected=digest)
            self._bundles[digest] = read_bundle(self._store_of_bundles.path(digest))
        return self._bundles[digest]


def _content(counted: CountedPiece | CountedRun) -> dict[str, str]:
    from twinscore.batch.watch_audit import CountedPiece

    if isinstance(counted, CountedPiece):
        return {"token": counted.state.token, "chain": counted.state.chain}
    return {"token": counted.token, "chain": "", "note": counted.note}
