"""What one model's replica answers: path to operation, access, scoring, audit; knows no listener and no Ray.

    POST /<model>/predict                     score one row or many, as JSON or as an Arrow stream
    POST /<model>/invocations, GET /ping      the same in MLflow's form
    POST /<model>/v2/models/<model>/infer     the same in the Open Inference Protocol's, with its pages under /v2
    GET  /<model>/health/live, /health/ready  is the process up, is the model verified and its log writable
    GET  /<model>/version                     which version, which digests, which scorer
    GET  /<model>/contract                    the contract as YAML
    GET  /<model>/openapi.json, /docs         the same for programs and for people
    GET  /<model>/metrics                     what was counted, for Prometheus
    GET  /<model>/evidence                    what was counted of each version, for the control

Every listener hands it a whole `Call` and sends what it returns, once the audit record is durable.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import structlog

from twinscore.access.grant import verb_of
from twinscore.errors import AccessDenied, AuditUnavailable, ModelNotReady, RequestError
from twinscore.online.answer import (
    Answer,
    Refusal,
    as_json,
    as_problem,
    as_text,
    contract_refusal,
    internal_refusal,
    marked,
    refusal_of,
)
from twinscore.online.asked import RowsRefusedError
from twinscore.online.evidence_book import EvidenceBook
from twinscore.online.explain import EXPLAIN_HEADER, Explainer
from twinscore.online.metrics import CONTENT_TYPE, NOTHING, Metrics, Noted
from twinscore.online.pages import PAGES, wrong_method
from twinscore.online.per_version import PerVersion
from twinscore.online.request import Limits
from twinscore.online.spec import ExplainPolicy
from twinscore.online.stages import finish, side_by_side
from twinscore.online.trail import Trail
from twinscore.online.wire.inference_v2 import InferenceV2, plain_path
from twinscore.online.wire.inference_v2_pages import v2_page
from twinscore.online.wire.mlflow import Invocations
from twinscore.online.wire.native import Native

if TYPE_CHECKING:
    from twinscore.access.gate import Access
    from twinscore.online.arms import Arms, Part
    from twinscore.online.asked import Asked, Outcome
    from twinscore.online.call import Call
    from twinscore.online.degrading import Degrading, Served
    from twinscore.online.endpoint import Endpoint
    from twinscore.online.wire.format import WireFormat

__all__ = ["Gateway", "Reply"]

_INLINE_BODY_BYTES = 32 * 1024
"""Bodies up to this size are answered on the event loop; larger ones in a thread, so that health answers meanwhile.

One at a time: two would take turns at Python's lock, and more requests are answered without the cost of these turns."""
_RETRY = ((b"retry-after", b"1"),)
_PAGE = Noted("page")
_log = structlog.get_logger("twinscore.online")
Stages = Iterator["Reply | Awaitable[Reply] | None"]


class Reply(NamedTuple):
    """An answer, and the audit records that must be durable before it leaves: one, or one for each arm."""

    answer: Answer
    records: Sequence[bytes] = ()
    noted: Noted = NOTHING
    """What it is counted under."""


class Gateway:
    """Answers the calls of one model; 503 until it is given a verified endpoint.

    Args:
        model: the name that the paths start with.
        endpoint: the version to answer with; may come later, and be replaced at any time, by `swap`.
        limits: what one request may ask for.
        partial: score good rows beside refused ones when the request does not say.
        explain: which rows are explained when the request does not say.
    """

    def __init__(
        self,
        model: str,
        endpoint: Endpoint | None = None,
        *,
        limits: Limits | None = None,
        partial: bool = False,
        explain: ExplainPolicy | None = None,
    ) -> None:
        self.model = model
        self._serving: tuple[Endpoint | None, Arms | None] = (endpoint, None)
        self.limits = limits or (endpoint.limits if endpoint is not None else Limits())
        self.access: Access | None = None
        """Who may ask; None lets everybody in."""
        self.metrics = Metrics()
        """What was counted; each listener adds its own tally."""
        self.book = EvidenceBook()
        """What was counted of each version."""
        self.degrading: Degrading | None = None
        """For whom the cheaper way answers; None while full service is fast enough."""
        self._salt: bytes | None = None
        self._why_not: Callable[[], str] = str
        self._trails = PerVersion(self._make_trail)
        self._explain = explain or ExplainPolicy()
        self._explainers = PerVersion(lambda version: Explainer(version, self._explain))
        self._formats: dict[str, WireFormat] = {
            "/predict": Native(partial=partial),
            "/invocations": Invocations(partial=partial),
            f"/v2/models/{model}/infer": InferenceV2(partial=partial),
        }
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._pages = {**PAGES, "/metrics": self._counted, "/evidence": self._evidence}

    @property
    def endpoint(self) -> Endpoint | None:
        """The live version, or None until there is one."""
        return self._serving[0]

    def prepare(self, endpoint: Endpoint) -> None:
        """Make what a version's first callers would wait for: explainer and reader need seconds to be compiled."""
        self._explainers.of(endpoint)
        endpoint.prepare()

    def swap(self, endpoint: Endpoint, arms: Arms | None = None) -> None:
        """Answer with another version and other arms from the next request on: one assignment, so never a mixture."""
        self._serving = (endpoint, arms)

    def forget_but(self, kept: Sequence[Endpoint]) -> None:
        """Let go of what was made for versions that are held no more."""
        self._trails.forget_but(kept)
        self._explainers.forget_but(kept)

    def record_with(self, salt: bytes, why_not: Callable[[], str]) -> None:
        """Make an audit record of every answer from now on.

        Args:
            salt: secret of the keyed hashes of sensitive columns.
            why_not: says why no record can be written now, or nothing; requests are then refused before any score.
        """
        self._salt = salt
        self._why_not = why_not

    def handle(self, call: Call) -> Reply | Awaitable[Reply]:
        """Answer a call; every outcome is an answer, none an exception. A large body comes back as an awaitable."""
        reply: Reply | Awaitable[Reply] = finish(self._stages_of(call))
        return reply

    def handle_all(self, calls: Sequence[Call]) -> list[Reply | Awaitable[Reply]]:
        """Answer calls that came together, each as `handle` does."""
        return side_by_side([self._stages_of(call) for call in calls])

    def unrecorded(self, call: Call, error: Exception) -> Answer:
        """Return what is said instead of an answer whose audit record could not be made durable."""
        _log.error("audit_unavailable", request_id=call.request_id, model=self.model, error=str(error)[:300])
        refusal = Refusal("audit_unavailable", "The answer could not be recorded, so it is not given.", extra=_RETRY)
        wire = self._wire(call)
        return as_problem(refusal, call.request_id) if wire is None else wire.refuse(refusal, call)

    def _wire(self, call: Call) -> WireFormat | None:
        wire = self._formats.get(call.path)
        if wire is None and call.path.startswith("/v2/"):
            wire = self._formats.get(plain_path(call.path, self.endpoint))
        return wire

    def _stages_of(self, call: Call) -> Stages:
        wire = self._wire(call)
        if wire is None:
            return iter((Reply(self._page(call), (), _PAGE),))
        if call.method != "POST":
            return iter((Reply(wrong_method("POST", call), (), Noted(wire.name, "method_not_allowed")),))
        if len(call.body) <= _INLINE_BODY_BYTES:
            return self._stages(wire, call)
        return iter((self._in_thread(wire, call),))

    def _stages(self, wire: WireFormat, call: Call) -> Stages:
        """Read, score, write and record: the stages of a prediction, see `stages`."""
        asked: Asked | None = None
        caller = ""
        try:
            endpoint, arms = self._ready()
            caller = self._admit(call)
            asked = wire.read(call, endpoint)
            yield None
            if arms is not None:
                parts = arms.split(asked, call)
                if parts is not None:
                    yield self._by_arms(wire, call, caller, asked, arms, parts)
                    return
            degrading = self.degrading
            if degrading is not None:
                full = partial(self._full, call, endpoint)
                served = degrading.serve(endpoint, asked, full, explaining=self._explains(call))
                if served is not None:
                    yield self._degraded(wire, call, caller, asked, served)
                    return
            outcome = self._full(call, endpoint, asked)
            yield None
            answer = wire.write(call, endpoint, asked, outcome, "live")
            yield None
            records: tuple[bytes, ...] = ()
            if self._salt is not None:
                records = (self._trails.of(endpoint).answered(call, wire.name, caller, asked, outcome, answer.status),)
            if arms is not None:
                arms.mirror(asked, outcome, call)
            yield Reply(answer, records, Noted(wire.name, "", "live", asked.n_rows))
        except Exception as error:  # noqa: BLE001 - the promise is an answer to every request
            yield self._failed(wire, call, caller, asked, error)

    def _full(self, call: Call, endpoint: Endpoint, asked: Asked, *, count: bool = True) -> Outcome:
        """Return what the live version makes of rows, counted and explained as the deployment says."""
        outcome = self.book.score(endpoint, asked) if count else endpoint.score(asked)
        if self._explains(call):
            self._explainers.of(endpoint).explain(call, asked, outcome)
        return outcome

    def _explains(self, call: Call) -> bool:
        return self._explain.when != "asked" or EXPLAIN_HEADER in call.headers

    def _degraded(self, wire: WireFormat, call: Call, caller: str, asked: Asked, served: Served) -> Reply:
        """Answer a request of which the cheaper way has a part: no evidence of the live version, and not mirrored."""
        outcome = served.outcome
        answer = marked(wire.write(call, served.endpoint, asked, outcome, outcome.arm), outcome)
        records: list[bytes] = []
        if self._salt is not None:
            args = (call, wire.name, caller, answer.status, len(served.parts) == 1)
            records = [self._trails.of(part.endpoint).part(part, *args) for part in served.parts]
        return Reply(answer, records, Noted(wire.name, "", outcome.arm, asked.n_rows))

    async def _by_arms(
        self, wire: WireFormat, call: Call, caller: str, asked: Asked, arms: Arms, parts: Sequence[Part]
    ) -> Reply:
        """Answer a request of which a challenger has a part; its rows are not explained, that being another version."""
        try:
            outcome: Outcome = await arms.score(asked, parts)
            if self._explains(call):
                arms.explain_nothing(outcome)
            answer = wire.write(call, arms.view(outcome), asked, outcome, outcome.arm)
            arms.mirror(asked, outcome, call)
            records: Sequence[bytes] = ()
            if self._salt is not None:
                trail = self._trails.of(arms.endpoint)
                records = trail.by_share(call, wire.name, caller, asked, outcome, answer.status, arms.facts)
            return Reply(answer, records, Noted(wire.name, "", outcome.arm, asked.n_rows))
        except Exception as error:  # noqa: BLE001 - the promise is an answer to every request
            return self._failed(wire, call, caller, asked, error)

    async def _in_thread(self, wire: WireFormat, call: Call) -> Reply:
        answering = self._large.submit(finish, self._stages(wire, call))
        reply: Reply | Awaitable[Reply] = await asyncio.wrap_future(answering)
        return reply if isinstance(reply, Reply) else await reply

    def _failed(self, wire: WireFormat, call: Call, caller: str, asked: Asked | None, error: Exception) -> Reply:
        if isinstance(error, (RequestError, ModelNotReady, AuditUnavailable, AccessDenied)):
            refusal = refusal_of(error)
        elif isinstance(error, RowsRefusedError):
            refusal = contract_refusal(error.faults, error.n_faults, error.n_rows)
        else:
            # Not reachable by any input we know of; the caller learns the id, the log the cause.
            _log.error(
                "predict_failed",
                request_id=call.request_id,
                model=self.model,
                version=None if self.endpoint is None else self.endpoint.version,
                trace="".join(traceback.format_exception(error)),  # plain: a pretty one prints local variables
            )
            refusal = internal_refusal()
        endpoint = self.endpoint
        records: tuple[bytes, ...] = ()
        if self._salt is not None and endpoint is not None and refusal.code != "audit_unavailable":
            records = (self._trails.of(endpoint).refused(call, wire.name, caller, asked, refusal),)
        return Reply(wire.refuse(refusal, call), records, Noted(wire.name, refusal.code))

    def _make_trail(self, endpoint: Endpoint) -> Trail:
        assert self._salt is not None  # or nothing is recorded
        return Trail(endpoint, self._salt)

    def _admit(self, call: Call) -> str:
        """Return the id of who asks, or raise AccessDenied."""
        if self.access is None:
            return ""
        authorization, api_key = call.headers.get(b"authorization"), call.headers.get(b"x-api-key")
        return self.access.admit(
            authorization, api_key, model=self.model, verb=verb_of(call.path), now_s=time.time()
        ).id

    def _page(self, call: Call) -> Answer:
        if call.path.startswith("/v2"):
            return self._v2_page(call)
        page = self._pages.get(call.path)
        if page is None and call.path != "/health/live":
            known = ", ".join([*self._formats, "/health/live", *self._pages])
            detail = f"There is nothing at this path; {self.model} has {known}."
            return as_problem(Refusal("not_found", detail), call.request_id)
        if call.method not in ("GET", "HEAD"):
            return wrong_method("GET, HEAD", call)
        if page is None:
            return as_json({"status": "live", "model": self.model}, call.request_id)
        try:
            self._admit(call)
            endpoint, _ = self._ready(answering=call.path == "/health/ready")
            return page(endpoint, call.request_id)
        except (ModelNotReady, AuditUnavailable, AccessDenied) as error:
            return as_problem(refusal_of(error), call.request_id)
        except Exception:  # noqa: BLE001 - the promise is an answer to every request
            _log.error("page_failed", request_id=call.request_id, model=self.model, trace=traceback.format_exc())
            return as_problem(internal_refusal(), call.request_id)

    def _counted(self, _: Endpoint, request_id: str) -> Answer:
        return as_text(self.metrics.render(), CONTENT_TYPE, request_id)

    def _evidence(self, _: Endpoint, request_id: str) -> Answer:
        arms = self._serving[1]
        return as_json({**self.book.document(), "beside": [] if arms is None else arms.evidence()}, request_id)

    def _v2_page(self, call: Call) -> Answer:
        try:
            self._admit(call)
        except AccessDenied as error:
            return self._formats[f"/v2/models/{self.model}/infer"].refuse(refusal_of(error), call)
        return v2_page(call, self.model, self.endpoint)

    def _ready(self, *, answering: bool = True) -> tuple[Endpoint, Arms | None]:
        """Return the live version and what is done beside it, as one swap put them there.

        Raises ModelNotReady without one, and AuditUnavailable when `answering` and no answer could be recorded now.
        """
        endpoint, arms = self._serving
        if endpoint is None:
            message = f"The model {self.model} is not loaded and verified yet; try again in a moment."
            raise ModelNotReady(message)
        if answering and (why := self._why_not()):
            message = f"Answers cannot be recorded now, so none are given: {why}"
            raise AuditUnavailable(message)
        return endpoint, arms
