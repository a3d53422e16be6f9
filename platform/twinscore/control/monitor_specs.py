"""What is watched of each model, by its deployment file, read anew when the file is another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twinscore.monitoring.spec import MonitorSpec
from twinscore.online.spec import load_serve_spec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MonitorSpecs"]

_Stamp = tuple[int, int, int]


class MonitorSpecs:
    """The key `monitor` of `<folder>/<model>.yaml`.

    Args:
        folder: of deployment files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, tuple[_Stamp, MonitorSpec]] = {}

    def spec_of(self, model: str) -> MonitorSpec:
        """Return what is watched of a model; the defaults where it has no file.

        Raises:
            SettingsInvalid: the file is wrong; what was read before is not returned in its place.
        """
        path = self._folder / f"{model}.yaml"
        try:
            found = path.stat()
        except OSError:
            return MonitorSpec()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        known = self._known.get(model)
        if known is None or known[0] != stamp:
            known = self._known[model] = (stamp, load_serve_spec(path).monitor)
        return known[1]
