"""Drive shards through a pool of actors: a shard's description in, its result out.

The data itself goes from Parquet to Parquet inside one call, so a shard can be repeated.
"""

from __future__ import annotations

import contextlib
import json
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from twinscore import errors
from twinscore.batch.actors import answers, free_cores
from twinscore.batch.checkpoint import begin_shard
from twinscore.batch.plan import Shard
from twinscore.batch.session import ray_session
from twinscore.batch.shard import ShardJob, score_shard
from twinscore.batch.shard_result import ShardResult
from twinscore.errors import BundleInvalid, PredictFailed, TwinscoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from twinscore.bundle.files import Bundle
    from twinscore.settings import Settings

__all__ = ["Pool", "ScoreShard", "drive", "ray_workers"]

Pool = Callable[["Sequence[Shard]", "Mapping[int, NDArray[np.int64]]", "Bundle", ShardJob], "Iterator[ShardResult]"]
"""Scores shards somewhere: the shards, the positions of rows with a repeated key by shard, the bundle and the job."""


@contextlib.contextmanager
def ray_workers(settings: Settings) -> Iterator[Pool]:
    """Have a pool of Ray actors, one per free core, as long as the context lasts."""
    with ray_session(settings):
        yield partial(drive, actors=free_cores())


class ScoreShard:
    """The actor: keeps a bundle loaded and scores one shard per call.

    Args:
        bundle: folder of the bundle, on a file system that every node sees.
        digest: the bundle's.
        job: what is the same for every shard.
    """

    def __init__(self, bundle: str, digest: str, job: ShardJob) -> None:
        self._folder = Path(bundle)
        self._digest = digest
        self._job = job
        self._bundle: Bundle | None = None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Score the one shard in the batch: (1, [shard, duplicates]) in, (1, [result]) out.

        An error made by us comes back as a value: raised, Ray would wrap it in text.
        """
        import pyarrow as pa

        shard = Shard.from_plain(json.loads(batch["shard"][0].as_py()))
        repeated = np.frombuffer(batch["duplicates"][0].as_py(), np.int64)
        try:
            begin_shard(Path(self._job.folder), shard)
            answer: dict[str, Any] = {"result": score_shard(shard, self._loaded(), self._job, repeated).to_plain()}
        except TwinscoreError as error:
            answer = {"error": type(error).__name__, "message": error.message, "fields": _plain_fields(error)}
        except Exception as error:  # noqa: BLE001 - raised, it would come back as text of Ray's
            problem = (str(error) or "no message").splitlines()[0]
            message = (
                f"A worker failed in shard {shard.number}: {type(error).__name__}: {problem}. Nothing became visible."
            )
            facts = {"shard": shard.number, "traceback": traceback.format_exc()}
            answer = {"error": "PredictFailed", "message": message, "fields": facts}
        return pa.table({"answer": [json.dumps(answer)]})

    def _loaded(self) -> Bundle:
        # Loaded at the first call: an error in an actor's constructor reaches the driver as "actor died".
        if self._bundle is None:
            from twinscore.bundle.files import read_bundle
            from twinscore.bundle.lean import import_xgboost_lean

            import_xgboost_lean()
            self._bundle = read_bundle(self._folder)
            if self._bundle.digest != self._digest:
                message = f"The bundle at {self._folder} changed: it is no longer {self._digest[:12]}..."
                raise BundleInvalid(message, expected=self._digest, found=self._bundle.digest)
        return self._bundle


def drive(
    shards: Sequence[Shard],
    duplicates: Mapping[int, NDArray[np.int64]],
    bundle: Bundle,
    job: ShardJob,
    *,
    actors: int,
) -> Iterator[ShardResult]:
    """Yield the result of every shard as it is done, in no order.

    Raises:
        TwinscoreError: the first error of a shard, as it was raised there; the others are stopped.
        PredictFailed: a worker died or failed in a way that we did not foresee.
    """
    rows = [
        {
            "shard": json.dumps(shard.to_plain()),
            "duplicates": duplicates.get(shard.number, np.zeros(0, np.int64)).tobytes(),
        }
        for shard in shards
    ]
    try:
        told = answers(ScoreShard, (str(bundle.folder), bundle.digest, job), rows, actors=actors)
        with contextlib.closing(told):  # the first error stops the other shards at once
            for answer in told:
                if "error" in answer:
                    raise _rebuilt(answer)
                yield ShardResult.from_plain(answer["result"])
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, TwinscoreError):
            raise cause from error
        lines = [line for line in str(cause or error).splitlines() if line.strip()]
        problem = lines[-1].strip() if lines else type(error).__name__
        message = f"A worker failed while scoring: {problem}. Nothing became visible; the worker's log has the rest."
        raise PredictFailed(message, error=type(error).__name__) from error


def _plain_fields(error: TwinscoreError) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int | float | list | None) else str(value)
        for name, value in error.fields.items()
    }


def _rebuilt(answer: Mapping[str, Any]) -> TwinscoreError:
    kind = getattr(errors, answer["error"], TwinscoreError)
    made: TwinscoreError = kind(answer["message"], **answer["fields"])
    return made
