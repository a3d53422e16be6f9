"""One look at a version, in a process that may take so much and no more: `python -P -m twinscore.control.examine`.

The files of a version come from whoever may register one. They are checked against their digests before any is parsed,
but digests are written by the same hand, so parsing happens here: what eats memory, hangs or crashes ends this process.

It imports what takes seconds and says so, waits for one line of JSON, says each step as it begins and last what it
found. It ends when its input does, and by a timer of its own when nobody is left to stop it.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from twinscore.errors import BundleInvalid, ModelNotFound, ModelNotReady, StoreUnavailable, TwinscoreError
from twinscore.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["examine", "main"]

_MIB = 1024 * 1024
_GRACE_S = 5
_START_S = 120
_PIECES = {
    "contract.yaml": "contract",
    "golden.parquet": "golden rows",
    "model.ubj": "booster",
    "digests.json": "digest",
}


def main() -> int:
    """Answer one request; the settings come first, then, whenever somebody wants to know, the version."""
    # What libraries print must not be taken for an answer.
    said = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # As they are, without a look at the environment: whoever asks has read it.
    settings = Settings(**json.loads(sys.stdin.readline() or "{}"))
    signal.alarm(_START_S)
    _import(settings)
    signal.alarm(0)
    _say(said, step="check")
    line = sys.stdin.readline()
    if not line:
        return 0
    asked: dict[str, Any] = json.loads(line)
    tempfile.tempdir = str(asked["scratch"])
    _limit(memory_mb=int(asked["memory_mb"]), time_s=float(asked["time_s"]))
    _say(said, **examine(settings, str(asked["model"]), str(asked["version"]), lambda step: _say(said, step=step)))
    return 0


def examine(settings: Settings, model: str, version: str, begin: Callable[[str], object]) -> dict[str, Any]:
    """Fetch, verify and load a version, and score its golden rows as a replica does when it starts.

    Returns:
        `digest` of a version that is fit, else `piece` and `why`, and whether it `waits`.
    """
    from twinscore.online.asked import Asked
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.request import Limits
    from twinscore.wiring import load_version

    step = "registry"

    def now(name: str) -> None:
        nonlocal step
        step = name
        begin(name)

    try:
        _, bundle = load_version(settings, f"{model}/{version}", begin=now)
        now("golden rows")
        endpoint = Endpoint(bundle, model=model, version=version, limits=Limits.of(settings))
        endpoint.score(Asked(endpoint.decode([endpoint.example()])[0]))
    except StoreUnavailable as error:
        # Verifying writes to the lake; when that fails, it is no fault of the version.
        return {"piece": step if step in ("registry", "fetch") else "lake", "why": error.message, "waits": True}
    except TwinscoreError as error:
        # Where the files lay for a moment says nothing to whoever reads this beside the version.
        why = error.message.replace(str(error.fields.get("folder", "\0")), f"{model}/{version}")
        return {"piece": _piece(error, step), "why": why, "waits": False}
    except MemoryError:
        return {"piece": step, "why": f"{model}/{version} needs more memory than a look may take.", "waits": False}
    except Exception as error:  # noqa: BLE001 - whatever a hostile file raises is a verdict about the file
        # While nothing is read yet, it is a library of the store that complains, in words of its own.
        why = f"{type(error).__name__}: {str(error)[:300]}"
        return {"piece": step, "why": why, "waits": step in ("registry", "fetch")}
    return {"digest": bundle.digest}


def _piece(error: TwinscoreError, step: str) -> str:
    if isinstance(error, ModelNotFound):
        return "version"
    if isinstance(error, ModelNotReady):
        return "bundle"
    file = error.fields.get("file")
    if file is None and isinstance(error, BundleInvalid) and {"expected", "found"} <= set(error.fields):
        return "digest"
    return _PIECES.get(str(file), step)


def _import(settings: Settings) -> None:
    from twinscore.wiring import import_registry_client

    import_registry_client(settings)
    # Named, not used: a look's time is not spent on them.
    import xgboost  # noqa: F401


def _limit(*, memory_mb: int, time_s: float) -> None:
    """Bound what the rest of this process may take, beyond what it has already taken."""
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = math.ceil(used.ru_utime + used.ru_stime + time_s)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + memory_mb * _MIB,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Its default action ends the process, whatever code runs; whoever asked stops it before.
    signal.alarm(math.ceil(time_s) + _GRACE_S)


def _say(said: IO[str], **fact: object) -> None:
    print(json.dumps(fact), file=said, flush=True)


if __name__ == "__main__":
    sys.exit(main())
