"""The two files of a run's report: written beside its manifest before the run becomes visible, and read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from twinscore.batch.checkpoint import write_whole
from twinscore.batch.report_data import REPORT_FORMAT, report_of
from twinscore.batch.report_page import report_page
from twinscore.errors import FileUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twinscore.bundle.files import Bundle
    from twinscore.errors import RunRefused

__all__ = ["REPORT_JSON", "REPORT_PAGE", "read_report", "write_report"]

REPORT_JSON = "_report.json"
REPORT_PAGE = "_report.html"


def write_report(folder: Path, manifest: Mapping[str, Any], bundle: Bundle, refused: RunRefused | None = None) -> None:
    """Write `_report.json` and `_report.html` into a run's folder.

    Args:
        folder: where the run is being written.
        manifest: what `_manifest.json` will say.
        bundle: what scored.
        refused: why the run does not become visible, when it does not.

    Raises:
        StoreUnavailable: the file system refuses.
    """
    facts = manifest if refused is None else {**manifest, "refused": refused.message}
    report = report_of(facts, bundle.profile, bundle.card, contract_path=str(bundle.folder / "contract.yaml"))
    content = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / REPORT_JSON, content.encode() + b"\n")
    write_whole(folder / REPORT_PAGE, report_page(report).encode())


def read_report(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the report of a run; of a run without one, what its manifest alone can tell.

    Args:
        folder: the run's.
        manifest: the run's.

    Raises:
        FileUnreadable: the report is there and cannot be read, or is of a later format.
    """
    path = folder / REPORT_JSON
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = found["format"] == REPORT_FORMAT
    except FileNotFoundError:
        return report_of(manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"The report {path} cannot be read: {error}. Delete it to see what the manifest says."
        raise FileUnreadable(message, path=str(path)) from error
    if not known:
        message = (
            f"The report {path} is of format {found['format']}, this twinscore reads {REPORT_FORMAT}. "
            "Use the twinscore that wrote it, or open the page."
        )
        raise FileUnreadable(message, path=str(path), format=found["format"])
    return found
