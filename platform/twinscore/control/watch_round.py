"""A round of looks in a process of its own: `python -m twinscore.control.watch_round --model loans --model adult`.

It works only while nobody else wants the core, from its first line on, and ends with whoever began it. It prints a
JSON line for each model as soon as it was looked at.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from twinscore.errors import StoreConflict, TwinscoreError
from twinscore.priority import all_give_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twinscore.settings import Settings

__all__ = ["main"]

_HERE = 4
"""Sources that are counted in this process; to start workers for so few takes longer, and more from others."""
_PR_SET_PDEATHSIG = 1
_MOST_WAITING = 5
_LONGEST = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at each model once, and return 0; what goes wrong with one is told and stops no other."""
    parser = argparse.ArgumentParser(prog="python -m twinscore.control.watch_round", description=main.__doc__)
    parser.add_argument("--model", action="append", required=True, help="name of a model; repeat it")
    parser.add_argument("--parent", type=int, help="process to end with")
    given = parser.parse_args(arguments)
    all_give_way(19)
    if given.parent is not None:
        _end_with(given.parent)
    import pyarrow as pa

    from twinscore.settings import load_settings

    pa.set_cpu_count(1)  # idle work on every core still delays those who answer, see `batch.actors.spare_cores`
    settings = load_settings()
    for model in given.model:
        sys.stdout.write(json.dumps({"model": model, **_looked(settings, model)}) + "\n")
        sys.stdout.flush()
    return 0


def _looked(settings: Settings, model: str) -> dict[str, Any]:
    from twinscore.control.look import deployed, has_sources, look_once

    try:
        served = deployed(settings, model)
        if not has_sources(settings, model, served):
            return {}
        look = look_once(settings, model, served, here=_HERE)
    except StoreConflict:
        return {"trouble": "another job was looking at it"}
    except TwinscoreError as error:
        return {"trouble": error.message[:_LONGEST]}
    except Exception as error:  # noqa: BLE001 - one model's trouble is not the others'
        return {"trouble": f"{type(error).__name__}: {error}"[:_LONGEST]}
    waiting = [one[:_LONGEST] for one in look.waiting[:_MOST_WAITING]]
    found = {"rows": look.rows, "counted": look.counted, "windows": len(look.windows)}
    return {**found, "waiting": waiting, "waits": len(look.waiting)}


def _end_with(parent: int) -> None:
    """Have the kernel end this process when the one that began it is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it was gone before the kernel was asked


if __name__ == "__main__":
    sys.exit(main())
