"""What a caller may do: the verbs, the table from paths to verbs, and a grant; knows no secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from twinscore.errors import Forbidden

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALL_VERBS", "ANONYMOUS", "USUAL_VERBS", "VERBS", "Caller", "Grant", "Verb", "verb_of"]

Verb = Literal["predict", "read", "operate"]
"""`predict` asks for scores, `read` for what describes a model, `operate` for what its rollout is decided by."""

ALL_VERBS: tuple[Verb, ...] = ("predict", "read", "operate")
USUAL_VERBS: tuple[Verb, ...] = ("predict", "read")
"""What a key may do unless more is said."""

VERBS: Mapping[str, Verb | None] = MappingProxyType(
    {
        "/health/live": None,
        "/health/ready": None,
        "/predict": "predict",
        "/invocations": "predict",
        "/version": "read",
        "/contract": "read",
        "/openapi.json": "read",
        "/docs": "read",
        "/metrics": "read",
        "/evidence": "operate",
        # MLflow's own paths beside /invocations
        "/ping": None,
        "/health": None,
        # Open Inference Protocol, REST
        "/v2": "read",
        "/v2/health/live": None,
        "/v2/health/ready": None,
        "/v2/models/{model}": "read",
        "/v2/models/{model}/ready": None,
        "/v2/models/{model}/infer": "predict",
        "/v2/models/{model}/versions/{version}": "read",
        "/v2/models/{model}/versions/{version}/ready": None,
        "/v2/models/{model}/versions/{version}/infer": "predict",
        # and gRPC
        "/inference.GRPCInferenceService/ServerLive": None,
        "/inference.GRPCInferenceService/ServerReady": None,
        "/inference.GRPCInferenceService/ModelReady": None,
        "/inference.GRPCInferenceService/ServerMetadata": "read",
        "/inference.GRPCInferenceService/ModelMetadata": "read",
        "/inference.GRPCInferenceService/ModelInfer": "predict",
    }
)
"""The verb that each path below `/<model>` needs; None needs no key."""

_OF_A_MODEL = re.compile(r"/v2/models/[^/]+(/versions/[^/]+)?(/[a-z]+)?")


def verb_of(path: str) -> Verb | None:
    """Return the verb that a path below `/<model>` needs; a path that `VERBS` does not have needs `predict`.

    >>> verb_of("/version"), verb_of("/v2/models/loans/ready"), verb_of("/new")
    ('read', None, 'predict')
    """
    if path in VERBS:
        return VERBS[path]
    found = _OF_A_MODEL.fullmatch(path)
    if found is None:
        return "predict"
    version = "/versions/{version}" if found[1] else ""
    return VERBS.get(f"/v2/models/{{model}}{version}{found[2] or ''}", "predict")


class Caller(NamedTuple):
    """Who asks: the id of a key, the subject of a token, or nobody."""

    id: str
    kind: Literal["anonymous", "key", "token"]
    name: str = ""
    """In which it may speak: the label of a key, the subject of a token; empty where nobody is named."""
    proof: str = ""
    """What shows it, such as `key h4ytk8mbw2rc` or `token of https://login.example.com/`."""

    def signed(self, name: str) -> str:
        """Return a name with what shows it behind it, as the ledger keeps it.

        >>> Caller("h4ytk8mbw2rc", "key", "anna", "key h4ytk8mbw2rc").signed("anna"), ANONYMOUS.signed("anna")
        ('anna (key h4ytk8mbw2rc)', 'anna')
        """
        return f"{name} ({self.proof})" if self.proof else name


ANONYMOUS = Caller("", "anonymous")


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may do."""

    caller: Caller
    models: frozenset[str] | None
    """None is every model."""
    verbs: frozenset[str]

    def admit(self, model: str, verb: str) -> Caller:
        """Return the caller, when the grant covers the model and the verb.

        Raises:
            Forbidden: it does not.
        """
        if self.models is not None and model not in self.models:
            message = f"The {self.caller.kind} does not cover the model {model}. Ask for one that does."
            raise Forbidden(message, model=model, verb=verb)
        if verb not in self.verbs:
            message = f"The {self.caller.kind} does not cover the verb {verb}. Ask for one that does."
            raise Forbidden(message, model=model, verb=verb)
        return self.caller
