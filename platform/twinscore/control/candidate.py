"""Whether a version is fit to be asked: looked at in a process of its own, within a deadline, before anybody is.

What is the version's fault refuses it, and says which piece. What may be over soon waits: artifacts that cannot be read
until the deadline, and the registry and the lake, which are ours, for as long as it takes.
"""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twinscore.clock import SystemClock
from twinscore.control.examiner import Examiner
from twinscore.rollout.candidate import Checked

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinscore.clock import Clock
    from twinscore.settings import Settings

__all__ = ["Candidates", "CheckLimits", "check_candidate"]

_OURS = ("check", "registry", "lake")
"""What no version is refused for."""
_LEAST_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLimits:
    """What a look at a version may take."""

    deadline_s: float = 50.0
    """From the first look to a verdict, while the registry answers; with a poll and a debounce still below a minute."""
    memory_mb: int = 4096
    """Address space for reading and scoring it, beyond what the process has before."""
    retry_s: float = 2.0
    """Between two looks at files that could not be read."""


def check_candidate(
    settings: Settings,
    model: str,
    version: str,
    *,
    limits: CheckLimits | None = None,
    examiner: Examiner | None = None,
    time_s: float | None = None,
) -> Checked:
    """Look at a version once, and say whether it is fit, refused, or not to be had now.

    Args:
        settings: where the registry and the bundle store are.
        model: its name.
        version: its number.
        limits: what the look may take.
        examiner: a process that is ready; None starts one, which takes seconds.
        time_s: for this look; None gives it the whole deadline.
    """
    limits = limits or CheckLimits()
    time_s = limits.deadline_s if time_s is None else time_s
    with tempfile.TemporaryDirectory(prefix="twinscore-candidate-") as scratch:
        request = {
            "model": model,
            "version": version,
            "scratch": scratch,
            "memory_mb": limits.memory_mb,
            "time_s": time_s,
        }
        said, ended = (examiner or Examiner(settings)).ask(request, time_s)
    found = said[-1] if said else {}
    if "digest" in found:
        return Checked(version=version, digest=found["digest"])
    if "piece" in found:
        words = f"{found['piece']}: {found['why']}"
        return Checked(version=version, waiting=words) if found["waits"] else Checked(version=version, refused=words)
    step = found.get("step", "check")
    words = f"{step}: looking at {model}/{version} ended without a verdict, for {ended}."
    if step in (*_OURS, "fetch"):
        return Checked(version=version, waiting=words)
    return Checked(version=version, refused=words)


class Candidates:
    """Looks at versions beside the loop that asks for them, and remembers what became of each.

    Args:
        settings: where the registry and the bundle store are.
        limits: what a look may take.
        clock: what deadlines are measured by.
        on_verdict: is told the model when one of its versions was found fit or refused; None tells nobody.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        limits: CheckLimits | None = None,
        clock: Clock | None = None,
        on_verdict: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._limits = limits or CheckLimits()
        self._clock = clock or SystemClock()
        self._on_verdict = on_verdict
        self._cases: dict[tuple[str, str], _Case] = {}
        self._lock = threading.Lock()
        self._closed = False
        # One that has imported everything waits for the next look, which then takes a second instead of several.
        self._spare: Examiner | None = Examiner(settings)
        self._busy: set[Examiner] = set()

    def look(self, model: str, version: str) -> Checked:
        """Return what is known now, without waiting; begins to look where nobody has."""
        with self._lock:
            case = self._cases.get((model, version))
            if case is None:
                begun = Checked(version=version, waiting=f"check: looking at {model}/{version} has begun")
                case = self._cases[model, version] = _Case(begun)
            now_s = self._clock.monotonic_s()
            if not self._closed and not case.runs and case.said.waiting and now_s >= case.next_s:
                case.runs = True
                threading.Thread(target=self._run, args=(model, version, case), name="candidate", daemon=True).start()
            return case.said

    def forget(self, model: str, version: str) -> None:
        """Look anew when the version is asked for again."""
        with self._lock:
            self._cases.pop((model, version), None)

    def close(self) -> None:
        """End what still looks."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
            for busy in self._busy:
                busy.stop()
        if spare is not None:
            spare.close()

    def _run(self, model: str, version: str, case: _Case) -> None:
        begun_s = self._clock.monotonic_s()
        since_s = begun_s if case.since_s is None else case.since_s
        with self._lock:
            if self._closed:
                return
            examiner, self._spare = self._spare or Examiner(self._settings), None
            self._busy.add(examiner)
        try:
            time_s = max(_LEAST_S, since_s + self._limits.deadline_s - begun_s)
            found = check_candidate(
                self._settings, model, version, limits=self._limits, examiner=examiner, time_s=time_s
            )
        except Exception as error:  # noqa: BLE001 - a look that cannot be made says so, and is made again
            found = Checked(version=version, waiting=f"check: {type(error).__name__}: {error}")
        with self._lock:
            self._busy.discard(examiner)
            if self._spare is None and not self._closed:
                self._spare = Examiner(self._settings)
            now_s = self._clock.monotonic_s()
            case.since_s = None if found.piece in _OURS else since_s
            case.next_s = now_s + self._limits.retry_s
            case.said = _settled(found, now_s - since_s, self._limits)
            case.runs = False
        if self._on_verdict is not None and not case.said.waiting:
            self._on_verdict(model)


@dataclass(slots=True)
class _Case:
    """What is known of one version."""

    said: Checked
    since_s: float | None = None
    next_s: float = 0.0
    runs: bool = False


def _settled(found: Checked, waited_s: float, limits: CheckLimits) -> Checked:
    """Refuse what has waited for its files until there is no time for another look."""
    if not found.waiting or found.piece in _OURS or waited_s + limits.retry_s + _LEAST_S < limits.deadline_s:
        return found
    return replace(found, waiting="", refused=f"{found.waiting} This went on for {waited_s:.0f} s.")
