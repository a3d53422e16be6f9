"""Which process runs which tests when they run side by side: what starts a Ray in one, the rest in the others."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

__all__ = ["Lanes"]

WITH_A_RAY = "the files that start a Ray"


class Lanes(LoadScopeScheduling):
    """Gives out whole files, for the sake of their fixtures, and all files that start a Ray together, first of all.

    Two Rays at once would take the processor from each other; one of them spends much of its time waiting.
    """

    def __init__(self, config: pytest.Config, log: object = None) -> None:
        super().__init__(config, log)
        self._root = config.rootpath

    def _split_scope(self, nodeid: str) -> str:
        """Return what a test is given out with."""
        file = nodeid.split("::", maxsplit=1)[0]
        return WITH_A_RAY if _starts_a_ray(self._root / file) else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the next piece; what takes longest begins first."""
        if WITH_A_RAY in self.workqueue:
            self.workqueue.move_to_end(WITH_A_RAY, last=False)
        super()._assign_work_unit(node)


@cache
def _starts_a_ray(file: Path) -> bool:
    return file.is_file() and "mark.cluster" in file.read_text(encoding="utf-8")
