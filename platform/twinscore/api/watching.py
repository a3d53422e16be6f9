"""What is watched and compared: parity, shadows, windows, reports; imports what it needs when called."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinscore.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from twinscore.batch.shadow_report import ShadowReport
    from twinscore.batch.watch import Look
    from twinscore.batch.watch_report import MonitorReport
    from twinscore.monitoring.parity_report import ParityFindings
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.settings import Settings

__all__ = ["check_parity", "monitor_report", "shadow_report", "watch"]


def check_parity(model: str, rows: int = 1_000, *, settings: Settings | None = None, **options: Any) -> ParityFindings:
    """Check both paths on samples of what they did; `options` as `twinscore.control.parity_check.check_parity`."""
    from twinscore.control.parity_check import check_parity as run

    return run(settings or load_settings(), model, rows, **options)


def shadow_report(
    model: str,
    version: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    replay: bool = False,
    against: str | None = None,
    segments: Sequence[str] = (),
    output: Path | str | None = None,
    settings: Settings | None = None,
) -> ShadowReport:
    """Compare a candidate with the live version on the same requests; see `twinscore.batch.shadow_report`.

    Args:
        since: answers from then on; without a time zone it is UTC.
        until: answers before then.
        replay: score the window with the candidate now, instead of reading what its shadow recorded.
        output: folder of the report; None is `comparisons/<model>/<version>` in the lake.
    """
    from twinscore.audit.window import Window
    from twinscore.batch.shadow_report import shadow_report as of_window
    from twinscore.stack import connect

    settings = settings or load_settings()
    window = Window(*(one if one is None or one.tzinfo else one.replace(tzinfo=UTC) for one in (since, until)))
    folder = settings.lake / "comparisons" / model / version.removeprefix("@") if output is None else Path(output)
    with connect(settings) if replay else nullcontext():
        return of_window(
            settings, model, version, folder.expanduser().absolute(),
            window=window, replay=replay, against=against, segments=segments,
        )  # fmt: skip


def monitor_report(
    model: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    output: Path | str | None = None,
    settings: Settings | None = None,
    **known: Any,
) -> MonitorReport:
    """Make the page of what is watched of a model; `known` as `twinscore.batch.watch_report.monitor_report`.

    Incidents are those of the control's store, limits those of the model's rules. The folder is by default
    `monitoring/<model>` in the lake; moments without a time zone are UTC.
    """
    from twinscore.batch.watch_report import monitor_report as of_figures
    from twinscore.clock import SystemClock
    from twinscore.control.monitor_specs import MonitorSpecs
    from twinscore.control.shown import Shown
    from twinscore.wiring import open_rollout_store

    settings = settings or load_settings()
    span = [one if one is None or one.tzinfo else one.replace(tzinfo=UTC) for one in (since, until)]
    folder = settings.lake / "monitoring" / model if output is None else Path(output).expanduser().absolute()
    now = SystemClock().now()
    with open_rollout_store(settings) as store:
        shown = Shown(store, MonitorSpecs(settings.deployments).spec_of)
        known = {"incidents": shown.incidents().get(model, ()), "limits": shown.limits(model), **known}
    return of_figures(settings, model, folder, now=now, since=span[0], until=span[1], **known)


def watch(
    model: str,
    spec: MonitorSpec | Path | str | None = None,
    *,
    every: timedelta | None = None,
    on_look: Callable[[Look], object] = lambda look: None,
    looks: int | None = None,
    settings: Settings | None = None,
) -> Look | None:
    """Count what is new of a model's audit log and runs, and make figures; see `twinscore.batch.watch`.

    Args:
        spec: what is watched, or the deployment file that says so under `monitor`; None takes the defaults.
        every: looks again after so long, until this process ends; then nothing is returned.
        on_look: is told what each look did.
        looks: how many with `every`; None goes on for ever.
    """
    from twinscore.control.look import look_once, parity_of
    from twinscore.monitoring.spec import MonitorSpec
    from twinscore.online.spec import ServeSpec, load_serve_spec

    settings = settings or load_settings()
    if isinstance(spec, MonitorSpec):
        served = ServeSpec(model=model, monitor=spec)
    else:
        served = ServeSpec(model=model) if spec is None else load_serve_spec(Path(spec))
    if every is None:
        look = look_once(settings, model, served)
        on_look(look)
        return look
    from twinscore.batch.watch import watch_again
    from twinscore.stack import connect

    parity = parity_of(settings, model, served)
    with connect(settings):
        watch_again(settings, model, served.monitor, every=every, parity=parity, on_look=on_look, looks=looks)
    return None
