"""What the Open Inference Protocol asks a server and a model about themselves; scores nothing.

    GET /<model>/v2                                              the server
    GET /<model>/v2/health/live, /v2/health/ready                is it up, is it ready
    GET /<model>/v2/models/<model>[/versions/<version>][/ready]  the model: inputs, outputs, readiness

Errors are the protocol's own, `{"error": text}`.
"""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

from twinscore.online.answer import Answer, as_json
from twinscore.online.wire.inference_v2 import input_datatype, outputs_of, plain_path

if TYPE_CHECKING:
    from twinscore.online.call import Call
    from twinscore.online.endpoint import Endpoint

__all__ = ["model_metadata", "v2_page"]

_RETRY = ((b"retry-after", b"1"),)


def v2_page(call: Call, model: str, endpoint: Endpoint | None) -> Answer:
    """Return the answer to anything below `/v2` that is no inference; errors as `{"error": text}`."""
    path = plain_path(call.path, endpoint)
    at = f"/v2/models/{model}"
    if path not in {"/v2", "/v2/", "/v2/health/live", "/v2/health/ready", at, f"{at}/ready"}:
        text = f"There is nothing at this path; the model is at {at}."
        return as_json({"error": text}, call.request_id, status=404)
    if call.method not in ("GET", "HEAD"):
        extra = ((b"allow", b"GET, HEAD"),)
        return as_json({"error": "This path takes GET, HEAD."}, call.request_id, status=405, extra=extra)
    if path.rstrip("/") == "/v2":
        facts = {"name": "twinscore", "version": installed("twinscore"), "extensions": ["binary_tensor_data"]}
        return as_json(facts, call.request_id)
    if path == "/v2/health/live":
        return as_json({"live": True}, call.request_id)
    if endpoint is None:
        text = f"The model {model} is not loaded and verified yet; try again in a moment."
        return as_json({"error": text}, call.request_id, status=503, extra=_RETRY)
    if path == at:
        return as_json(model_metadata(endpoint), call.request_id)
    return as_json({"name": model, "ready": True}, call.request_id)


def model_metadata(endpoint: Endpoint) -> dict[str, Any]:
    """Return the model's metadata: its inputs are the contract's columns, its outputs the fields of a score."""
    contract = endpoint.bundle.contract
    inputs = [_tensor(column.name, input_datatype(column.name, contract)) for column in contract.columns]
    return {
        "name": endpoint.model,
        "versions": [str(endpoint.version)],
        "platform": "xgboost",
        "inputs": inputs,
        "outputs": [_tensor(name, datatype) for name, datatype in outputs_of(endpoint).items()],
    }


def _tensor(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}
