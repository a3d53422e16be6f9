"""What one rollout has shown, stage by stage, and what its gates make of it; knows nothing of what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from twinscore.rollout.evidence import Evidence, lacks_members
from twinscore.rollout.judge import judge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.rollout.evidence import Labelled, Role
    from twinscore.rollout.gate import GateVerdict
    from twinscore.rollout.policy import Policy
    from twinscore.rollout.routing import Routing
    from twinscore.rollout.state import Rollout

__all__ = ["Labels", "Source", "StageEvidence"]


class Source(Protocol):
    """Where evidence comes from; see `control.scrape`."""

    evidence: Evidence

    def look(self, routing: Routing, /) -> Evidence:
        """Return all that is known now."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Labels(Protocol):
    """Where outcomes come from; see `control.labelled`."""

    def between(self, since: datetime, until: datetime | None = None, /) -> Mapping[tuple[str, Role], Labelled]:
        """Return what is known now of that span of time, by version and role."""
        ...


class StageEvidence:
    """The evidence of one rollout.

    Args:
        rollout: the rollout that it is of.
        source: where evidence comes from; what it knew before is in it already.
        known: what `to_json` returned before this process, None for nothing.
        labels: where outcomes come from; None for nowhere.
    """

    def __init__(
        self,
        rollout: Rollout,
        source: Source,
        known: Mapping[str, Any] | None = None,
        labels: Labels | None = None,
    ) -> None:
        self.rollout_id = rollout.id
        self._source = source
        self._labels = labels
        self._stage = (rollout.stage, rollout.status)
        self._since = rollout.stage_at
        self._start: Evidence | None = None
        """All that was known when the stage began; None until its first look."""
        self._before: Evidence | None = None
        """What the stages before have shown together."""
        self._before_span: tuple[datetime, datetime] | None = None
        """From when to when that was."""
        self._anew = False
        """Whether the stage's counting begins anew."""
        if known is not None:
            self._stage = (int(known["stage"][0]), str(known["stage"][1]))  # type: ignore[assignment]
            self._since = datetime.fromisoformat(known["since"])
            self._start, self._before = _read(known["start"]), _read(known["before"])
            span = [datetime.fromisoformat(one) for one in known.get("before_span") or ()]
            self._before_span = (span[0], span[1]) if span else None
            # Rows whose entities an earlier build did not count would be judged by those that came since: too few.
            self._anew = lacks_members(known["all"])

    def look(self, rollout: Rollout, policy: Policy, routing: Routing) -> tuple[tuple[GateVerdict, ...], int]:
        """Return what every gate says now, and how often the candidate was asked since the stage began."""
        known = self._source.evidence
        if self._stage != (rollout.stage, rollout.status) and self._start is not None:
            since = self._since if self._before_span is None else self._before_span[0]
            self._before, self._before_span = _joined(self._before, known.minus(self._start)), (since, known.at)
            self._start = None
        if self._anew:
            self._start, self._anew = None, False
        found = self._source.look(routing)
        if self._start is None:
            # What was counted until this look belongs to the stage before.
            self._stage, self._since, self._start = (rollout.stage, rollout.status), found.at, found
        shown = self._with_labels(found.minus(self._start), self._since)
        was = rollout.was or routing.live.version
        verdicts = judge(
            policy.gates, shown, rollout.version, was, since=self._since, alpha=policy.alpha,
            stages=max(1, len(policy.stages)),
            before=self._shown_before() if rollout.takes_all else None,
        )  # fmt: skip
        return verdicts, _asked(shown, rollout)

    def _shown_before(self) -> Evidence | None:
        if self._before is None or self._before_span is None:
            return self._before
        return self._with_labels(self._before, *self._before_span)

    def _with_labels(self, shown: Evidence, since: datetime, until: datetime | None = None) -> Evidence:
        """Return the evidence with what outcomes said by now."""
        labels = {} if self._labels is None else self._labels.between(since, until)
        arms = [replace(arm, labelled=labels.get((arm.version, arm.role), arm.labelled)) for arm in shown.arms]
        return replace(shown, arms=tuple(arms)) if labels else shown

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values, to be kept beside the rollout's state."""
        return {
            "rollout": self.rollout_id,
            "all": self._source.evidence.to_json(),
            "stage": list(self._stage),
            "since": self._since.isoformat(),
            "start": None if self._start is None else self._start.to_json(),
            "before": None if self._before is None else self._before.to_json(),
            "before_span": None if self._before_span is None else [one.isoformat() for one in self._before_span],
        }

    def close(self) -> None:
        """End the source."""
        self._source.close()


def _asked(shown: Evidence, rollout: Rollout) -> int:
    """Return how often the candidate was asked, in whichever role."""
    pair = shown.pair(rollout.version)
    calls = [arm.calls for arm in shown.arms if arm.version == rollout.version]
    return max([0, *calls, pair.n if pair is not None else 0])


def _joined(earlier: Evidence | None, newest: Evidence) -> Evidence:
    """Return what the stages have shown until now.

    What a version is compared with in its bake grows no more, so it is all there is. Restarts are the newest stage's:
    they are no share of anything, and those of days would excuse as many in an hour.
    """
    if earlier is None:
        return newest
    restarts = {(arm.version, arm.role): arm.restarts for arm in newest.arms}
    arms = [replace(arm, restarts=restarts.get((arm.version, arm.role), 0)) for arm in earlier.merged(newest).arms]
    return replace(earlier.merged(newest), arms=tuple(arms))


def _read(document: Mapping[str, Any] | None) -> Evidence | None:
    return None if document is None else Evidence.from_json(document)
