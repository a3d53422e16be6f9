"""The one Ray that a process may be connected to: kept from module to module while the next one wants the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

__all__ = ["OneRay", "started_ray"]

T = TypeVar("T")


class OneRay:
    """Starts what is asked for and ends what was there before; what is asked for again is not started again."""

    def __init__(self) -> None:
        self._made_by: object = None
        self._made: Any = None
        self._ending = ExitStack()

    def have(self, make: Callable[[], AbstractContextManager[T]]) -> T:
        """Return what `make` starts, which is there already when the module before had it too."""
        if self._made_by is not make:
            self.end()
            self._made = self._ending.enter_context(make())
            self._made_by = make
        found: T = self._made
        return found

    def end(self) -> None:
        """End what is there, so that the next test finds no Ray."""
        self._made_by = None
        self._ending.close()


@contextmanager
def started_ray(prefix: str, **options: Any) -> Iterator[None]:
    """Connect to a Ray with two cores; its raylet has 30 s to come up, a constant of Ray that a busy machine may miss.

    Its folder has a short name, because a socket's path may have 107 letters.
    """
    import ray

    folder = tempfile.mkdtemp(prefix=prefix, dir="/tmp")
    given = {"address": "local", "num_cpus": 2, "include_dashboard": False, "log_to_driver": False, **options}
    for attempt in (1, 2, 3):
        try:
            ray.init(_temp_dir=folder, **given)
            break
        except Exception as error:
            if attempt == 3 or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
