"""Asks an endpoint for rows in order to compare: few at a time, slowly, and not at all while it is busy.

Serving comes first. One connection sends requests of at most 20 rows with pauses between them, sends none again, and
stops at the first answer that says the endpoint has no room. Each request carries an id by which the audit log knows
it as a check (`twinscore.audit.checks`), and asks for the live version, not for a canary.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from twinscore.access.local import local_key
from twinscore.audit.checks import check_id
from twinscore.audit.head import load_secret
from twinscore.audit.operate import audit_salt
from twinscore.clock import SystemClock
from twinscore.errors import ContractBroken, ModelNotReady, PredictFailed, RequestMalformed
from twinscore.monitoring.parity_ask import Asked, Live
from twinscore.online.arms import ARM_HEADER
from twinscore.online.client import PredictClient
from twinscore.online.exchange import as_body
from twinscore.online.explain import EXPLAIN_HEADER
from twinscore.scoring.table import SCORE_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from twinscore.settings import Settings

__all__ = ["CheckCalls", "check_calls"]

_ROWS_PER_CALL = 20
_EVERY_FEATURE = "999"
_IN_UNCERTAINTY = ("lower", "upper", "prediction_set")
_NOT_ASKED = Asked("not asked")


class CheckCalls:
    """One endpoint, asked gently; see `LiveEndpoint`. A context, or to be closed.

    Args:
        client: that sends nothing again.
        salt: of the audit log.
        rows_per_s: at most; a pause follows each request.
    """

    def __init__(self, client: PredictClient, salt: bytes, *, rows_per_s: float = 500.0) -> None:
        self._client = client
        self._salt = salt
        self._rows_per_s = rows_per_s
        self._busy = False

    def __enter__(self) -> CheckCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def live(self) -> Live:
        """Return what is served; raises as `PredictClient.version`."""
        said = self._client.version()
        return Live(str(said["version"]), str(said["bundle_digest"]))

    def ask(self, rows: Sequence[Mapping[str, Any]], live: Live, *, explain: bool = False) -> list[Asked]:
        """Return an answer to each row, in order."""
        found: list[Asked] = []
        for start in range(0, len(rows), _ROWS_PER_CALL):
            part = rows[start : start + _ROWS_PER_CALL]
            if start:
                time.sleep(_ROWS_PER_CALL / self._rows_per_s)
            found += self._call(part, live, explain)
        return found

    def _call(self, rows: Sequence[Mapping[str, Any]], live: Live, explain: bool) -> list[Asked]:
        if self._busy:
            return [_NOT_ASKED] * len(rows)
        headers = {"x-request-id": check_id(self._salt), "x-partial": "true", ARM_HEADER.decode(): "live",
                   EXPLAIN_HEADER.decode(): _EVERY_FEATURE if explain else "false"}  # fmt: skip
        try:
            answer = self._client.send(as_body({"instances": rows}), headers=headers)
        except (ContractBroken, RequestMalformed) as error:
            if len(rows) > 1:
                return [one for row in rows for one in self._call([row], live, explain)]
            # Infinity is not JSON, and no contract accepts it.
            faults = error.fields.get("faults") or [{"rule": error.code}]
            return [Asked("refused", rule=str(faults[0].get("rule", error.code)))]
        except (ModelNotReady, PredictFailed):
            self._busy = True
            return [_NOT_ASKED] * len(rows)
        return [_asked(prediction, str(answer["version"]), live) for prediction in answer["predictions"]]


def check_calls(
    settings: Settings,
    model: str,
    *,
    url: str | None = None,
    api_key: str | None = None,
    rows_per_s: float = 500.0,
) -> CheckCalls:
    """Return calls to this stack's endpoint of a model, or to the one at `url`, which gets no key of this stack.

    Raises:
        StoreUnavailable: the salt of the audit log cannot be read.
    """
    from twinscore.online.deploy import endpoint_url

    if url is None:
        url = endpoint_url(settings, model)
        api_key = api_key or local_key(settings.home, now=SystemClock().now())
    client = PredictClient(url, api_key=api_key, timeout_s=settings.request_timeout_s, retries=0)
    return CheckCalls(client, load_secret(audit_salt(settings.home)), rows_per_s=rows_per_s)


def _asked(prediction: Mapping[str, Any], version: str, live: Live) -> Asked:
    if str(prediction.get("version", version)) != live.version:
        return Asked("other version")
    if prediction["score"] is None:
        errors = prediction.get("errors") or [{}]
        return Asked("refused", rule=str(errors[0].get("rule", "refused")))
    if prediction.get("source") == "cache":
        return Asked("cached")
    doubt = prediction["uncertainty"]
    cells = {name: doubt["value"] if name == "uncertainty" else doubt[name] if name in _IN_UNCERTAINTY
             else prediction[name] for name in SCORE_SCHEMA.names}  # fmt: skip
    explained = (prediction.get("explanation") or {}).get("contributions", ())
    return Asked("scored", cells, seen={one["feature"]: one["value"] for one in explained})
