"""A check of both paths of a model, put together: the audit log, the runs in the lake, and the endpoint over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from twinscore.batch.parity_watch import Direction, check_paths, parity_figures
from twinscore.errors import TwinscoreError
from twinscore.online.check_calls import check_calls
from twinscore.online.spec import load_serve_spec

if TYPE_CHECKING:
    from twinscore.monitoring.figure import Figure
    from twinscore.monitoring.parity_report import ParityFindings
    from twinscore.online.spec import ServeSpec
    from twinscore.settings import Settings

__all__ = ["check_parity", "watched_parity"]


def check_parity(
    settings: Settings,
    model: str,
    rows: int = 1_000,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    direction: Direction = "both",
    spec: Path | str | None = None,
    seed: int | None = None,
    url: str | None = None,
    api_key: str | None = None,
) -> ParityFindings:
    """Check both paths of a model on samples of what they did; see `twinscore.batch.parity_watch.check_paths`.

    Args:
        since, until: of the answers; without a time zone they are UTC.
        spec: the deployment file: it names the features that are joined, and the datasets.
        url: address of the endpoint, when it is not this stack's.
        api_key: key for that address; this stack's own is found in the home, and sent nowhere else.

    Raises:
        SettingsInvalid: the deployment file cannot be read.
        Unauthenticated, Forbidden: the endpoint asks for a key, or for another one.
    """
    served = None if spec is None else load_serve_spec(Path(spec))
    first, last = (one if one is None or one.tzinfo else one.replace(tzinfo=UTC) for one in (since, until))
    with check_calls(settings, model, url=url, api_key=api_key) as endpoint:
        return check_paths(
            settings, model, rows=rows, since=first, until=last, direction=direction, endpoint=endpoint,
            features=None if served is None else served.cache.features,
            datasets=() if served is None else served.monitor.datasets, seed=seed,
        )  # fmt: skip


def watched_parity(
    settings: Settings, model: str, served: ServeSpec, *, since: datetime, until: datetime
) -> list[Figure]:
    """Return the figures of one look of a watch: as many rows as the deployment file says, and slowly.

    An endpoint that cannot be asked, for want of a key for one, leaves out its direction and not the look.
    """
    rows, features, datasets = served.monitor.parity_rows, served.cache.features, served.monitor.datasets
    with check_calls(settings, model, rows_per_s=100.0) as endpoint:
        try:
            return parity_figures(
                settings, model, rows=rows, since=since, until=until, endpoint=endpoint, features=features,
                datasets=datasets,
            )  # fmt: skip
        except TwinscoreError:
            return parity_figures(
                settings, model, rows=rows, since=since, until=until, features=features, datasets=datasets
            )
