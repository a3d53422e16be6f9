"""Asks every replica of a model for one of its pages, all at once, with this machine's own key."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import httpx
import structlog

from twinscore.access.local import local_key
from twinscore.errors import SchemaMismatch
from twinscore.wiring import listener_roster

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from twinscore.ports.listener_roster import Listener, ListenerRoster
    from twinscore.settings import Settings

__all__ = ["Replicas"]

_TIMEOUT_S = 1.0
_AT_ONCE = 8
_log = structlog.get_logger("twinscore.control")
_Told = TypeVar("_Told")


class Replicas:
    """The replicas of one model that the roster names, whenever they are asked; closed when nobody asks any more.

    Args:
        settings: home of the roster and of the key.
        model: a served model.
        roster: where listeners are; None for the one of the settings.
    """

    def __init__(self, settings: Settings, model: str, roster: ListenerRoster | None = None) -> None:
        self._settings = settings
        self._model = model
        self._roster = roster or listener_roster(settings)
        self._client = httpx.Client(timeout=_TIMEOUT_S, trust_env=False)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"ask-{model}")

    def ask(
        self, page: str, read: Callable[[httpx.Response], _Told], now: datetime
    ) -> list[tuple[Listener, _Told | None]]:
        """Return what each replica told; None of one that did not answer in time, or with something else.

        Args:
            page: below the model's route.
            read: makes a value of an answer; raises SchemaMismatch, KeyError, TypeError or ValueError for another one.
            now: for which the key is to be valid.

        Raises:
            StoreUnavailable: the roster cannot be read.
        """
        listeners = [one for one in self._roster.listeners() if one.model == self._model]
        key = local_key(self._settings.home, now=now) if listeners else None
        headers = {} if key is None else {"authorization": f"Bearer {key}"}

        def told(one: Listener) -> _Told | None:
            try:
                answer = self._client.get(f"http://{one.address}/{self._model}/{page}", headers=headers)
                answer.raise_for_status()
                return read(answer)
            except (httpx.HTTPError, SchemaMismatch, KeyError, TypeError, ValueError) as error:
                _log.warning("replica_does_not_tell", model=self._model, replica=one.replica, error=str(error)[:200])
                return None

        return list(zip(listeners, self._pool.map(told, listeners), strict=True))

    def close(self) -> None:
        """End connections and threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()
