"""Puts a control together from settings: its store, the registry, Serve and the policies; decides nothing."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from twinscore.control.actions import Actions
from twinscore.control.alerting import Alerting
from twinscore.control.alerts import Alerts
from twinscore.control.candidate import Candidates
from twinscore.control.courier import Courier
from twinscore.control.labelled import WindowLabels
from twinscore.control.live_figures import ReplicaFigures
from twinscore.control.loop import Control
from twinscore.control.mirror import Mirror
from twinscore.control.monitor_specs import MonitorSpecs
from twinscore.control.reconcile import Reconciler
from twinscore.control.rungs import Rungs
from twinscore.control.scrape import Scrape
from twinscore.control.shown import Shown
from twinscore.control.traffic import Traffic
from twinscore.control.watching import Watching
from twinscore.errors import SettingsInvalid
from twinscore.online.ladder_orders import ServeLadder
from twinscore.online.routes import current_routing, served_models
from twinscore.rollout.policy_file import policy_for
from twinscore.stack.state import read_state
from twinscore.wiring import alias_store, open_rollout_store, window_store

if TYPE_CHECKING:
    from twinscore.online.challenger import ChallengerOptions
    from twinscore.rollout.evidence import Evidence
    from twinscore.rollout.policy import Policy
    from twinscore.rollout.state import Rollout
    from twinscore.settings import Settings

__all__ = ["Assembled"]


class Assembled:
    """A control that runs, and what it works with; closed in the order in which it was opened.

    Args:
        settings: home, registry, store and policies.
        options: how applications beside the gateway are run.

    Raises:
        StoreUnavailable: the control's own store does not answer.
    """

    def __init__(self, settings: Settings, *, options: ChallengerOptions | None = None) -> None:
        self.settings = settings
        self._options = options
        self._stack = ExitStack()
        self.store = self._stack.enter_context(open_rollout_store(settings))
        self._registry = alias_store(settings)
        self._candidates = Candidates(settings, on_verdict=self._hint)
        self._stack.callback(self._candidates.close)
        self.loop = Control(
            self.store.leases, self.models, self._reconciler, poll_s=settings.control_poll_s,
            lease_s=settings.control_lease_s,
        )  # fmt: skip
        self._stack.callback(self.loop.close)
        self._watched = MonitorSpecs(settings.deployments)
        self.shown = Shown(self.store, self._watched.spec_of)
        self._rungs = Rungs(self.store, ServeLadder())
        actions = Actions(settings, self.store, self._watched.spec_of, rungs=self._rungs)
        self.alerting = Alerting(
            lambda: self.loop.lease, self.models, self._alerts, Courier(self.store, actions.carry_out),
            poll_s=settings.alerts_poll_s,
        )  # fmt: skip
        self._stack.callback(self.alerting.close)
        self.watching = Watching(
            settings, lambda: self.loop.lease, self.watched_models, ray_address=_other_ray(settings)
        )  # fmt: skip
        self._stack.callback(self.watching.close)

    def models(self) -> list[str]:
        """Return the models that are served, and those that were driven before."""
        return sorted({*served_models(), *self.store.rollouts.models()})

    def watched_models(self) -> list[str]:
        """Return the models that are counted: those known to the control, and those with a deployment file."""
        found = set(self.models())
        for path in self.settings.deployments.glob("[!.]*.yaml"):
            with suppress(SettingsInvalid):  # no deployment file, or a wrong one: of a served model, its rules say so
                self._watched.spec_of(path.stem)
                found.add(path.stem)
        return sorted(found)

    def policy_of(self, model: str) -> Policy:
        """Return the newest policy of a model.

        Raises:
            SettingsInvalid: its file is wrong.
        """
        return policy_for(self.settings.policies, model)

    def _hint(self, model: str) -> None:
        self.loop.hint(model)

    def close(self) -> None:
        """End the loop, what it looks with, and its connections."""
        self._stack.close()

    def _reconciler(self, model: str) -> Reconciler:
        def source(rollout: Rollout, known: Evidence | None) -> Scrape:
            return Scrape(self.settings, model, baseline=rollout.was or rollout.version, known=known)

        return Reconciler(
            model,
            store=self.store,
            mirror=Mirror(
                self._registry, model, poll_s=self.settings.control_poll_s, on_change=lambda: self._hint(model)
            ),
            candidates=self._candidates,
            traffic=Traffic(self.settings, model, options=self._options),
            policy_of=self.policy_of,
            source_of=source,
            labels=WindowLabels(self.settings, model),
        )

    def _alerts(self, model: str) -> Alerts:
        def version() -> str:
            routing = current_routing(model)
            return "" if routing is None else routing.live.version

        return Alerts(
            model,
            store=self.store,
            spec_of=self._watched.spec_of,
            windows=window_store(self.settings.lake, model),
            live=ReplicaFigures(self.settings, model, version),
            after=self._rungs.keep_up,
        )


def _other_ray(settings: Settings) -> str | None:
    """Return the address of the Ray that this process is of, when neither settings nor a stack of the home name it."""
    if settings.ray_address is not None or read_state(settings) is not None:
        return None
    import ray

    return ray.get_runtime_context().gcs_address if ray.is_initialized() else None
