"""Replay shadow: a past window of the audit log scored by a candidate on Ray Data, at no cost to who is served.

What flows through Ray is one small row per piece of the log; pairs go from the log to Parquet inside one call.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ray

from twinscore.batch.actors import answers, free_cores
from twinscore.batch.session import ray_session
from twinscore.errors import BundleInvalid, FileUnreadable, PredictFailed, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from twinscore.audit.window import Piece, Window
    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

__all__ = ["ReplayJob", "ReplayPiece", "replay_pieces"]


class ReplayJob(NamedTuple):
    """What is the same for every piece."""

    log: str
    """Folder of the model's audit log."""
    bundles: str
    """Folder of the content-addressed store."""
    digest: str
    """Of the candidate."""
    output: str
    """Folder that pairs are written to, on a file system that every node sees."""
    window: Window
    columns: tuple[str, ...]
    """Features that segments and groups are made of."""


class ReplayPiece:
    """The actor: keeps bundles loaded and replays one piece per call."""

    def __init__(self, job: ReplayJob) -> None:
        self._job = job
        self._bundles: dict[str, Bundle | None] = {}

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Replay the one piece in the batch: (1, [stream, segment]) in, (1, [answer]) out; our errors are values."""
        import pyarrow as pa

        from twinscore.audit.window import Piece

        piece = Piece(batch["stream"][0].as_py(), batch["segment"][0].as_py())
        try:
            answer = self._replay(piece)
        except TwinscoreError as error:
            answer = {"error": error.message}
        except Exception as error:  # noqa: BLE001 - raised, it would come back as text of Ray's
            answer = {"error": f"{type(error).__name__}: {error}"}
        return pa.table({"answer": [json.dumps(answer)]})

    def _replay(self, piece: Piece) -> dict[str, Any]:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from twinscore.audit.candidate import replay_candidate
        from twinscore.audit.window import read_piece

        job = self._job
        candidate = self._bundle(job.digest)
        if candidate is None:
            message = f"The bundle {job.digest[:12]}... is not in the store at {job.bundles}."
            raise BundleInvalid(message, expected=job.digest)
        counts: Counter[str] = Counter()
        unable: Counter[str] = Counter()
        damaged: list[str] = []
        tables = read_piece(
            Path(job.log), piece, lambda digest: self._known(digest).contract, window=job.window, roles=["live"],
            on_damage=lambda found: damaged.append(found.message),
        )  # fmt: skip
        for place, rows in enumerate(tables):
            for digest in pc.unique(rows["bundle_digest"]).to_pylist():
                name = f"{piece.stream}-{piece.segment:010d}-{place}-{digest[:12]}"
                part = rows.filter(pc.equal(rows["bundle_digest"], digest))
                live = self._known(digest)
                done = replay_candidate(part, live.contract, candidate, live=live, columns=job.columns, block=name)
                counts.update(answered=part.num_rows - part["score"].null_count, refused=done.refused,
                              cached=done.cached)  # fmt: skip
                if done.unable:
                    unable[done.unable] += part.num_rows - part["score"].null_count - done.cached
                if done.pairs is not None:
                    pq.write_table(done.pairs, Path(job.output) / f"pairs-{name}.parquet", compression="zstd")
        return {"counts": dict(counts), "unable": dict(unable), "damaged": damaged}

    def _known(self, digest: str) -> Bundle:
        found = self._bundle(digest)
        if found is None:
            message = (
                f"The bundle {digest[:12]}..., which answered rows of the window, is not in {self._job.bundles}. "
                "Fetch it by scoring or serving that version once."
            )
            raise BundleInvalid(message, expected=digest)
        return found

    def _bundle(self, digest: str) -> Bundle | None:
        if digest not in self._bundles:
            from twinscore.bundle.files import read_bundle
            from twinscore.bundle.lean import import_xgboost_lean

            import_xgboost_lean()
            folder = Path(self._job.bundles) / digest
            self._bundles[digest] = read_bundle(folder) if folder.is_dir() else None
        return self._bundles[digest]


def replay_pieces(settings: Settings, pieces: Sequence[Piece], job: ReplayJob) -> dict[str, Any]:
    """Replay pieces of the log into `job.output`, and return what was counted over all of them.

    Returns:
        `counts` of rows (answered, refused, cached), `unable` by reason, and the messages of `damaged` segments.

    Raises:
        FileUnreadable: a piece cannot be replayed; nothing is reported of a part of a window.
        PredictFailed: a worker died.
        StackBroken: there is no Ray.
    """
    found: dict[str, Any] = {"counts": Counter(), "unable": Counter(), "damaged": []}
    if not pieces:
        return found
    with ray_session(settings):
        try:
            rows = [piece._asdict() for piece in pieces]
            for answer in answers(ReplayPiece, (job,), rows, actors=free_cores()):
                if "error" in answer:
                    message = f"The window cannot be replayed: {answer['error']}"
                    raise FileUnreadable(message)
                found["counts"].update(answer["counts"])
                found["unable"].update(answer["unable"])
                found["damaged"] += answer["damaged"]
        except ray.exceptions.RayError as error:
            message = f"A worker failed while replaying: {str(error).splitlines()[-1]}. Nothing was reported."
            raise PredictFailed(message, error=type(error).__name__) from error
    return found
