"""The Open Inference Protocol's gRPC messages as calls of its REST form, and the answers back; knows no server.

A request becomes the REST body with binary data, so that what is read, checked, scored, recorded and refused is the
same, bit for bit, and needs no second reading of the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from twinscore.errors import RequestMalformed
from twinscore.online.answer import sane_request_id
from twinscore.online.call import Call
from twinscore.online.wire.inference_proto import MESSAGES
from twinscore.online.wire.tensors import DATATYPES, texts_in_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twinscore.online.answer import Answer

__all__ = ["call_of", "response_of"]

_LENGTH = b"inference-header-content-length"
_OURS = frozenset({b"content-type", b"content-encoding", b"content-length", b"accept", _LENGTH})
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Where a typed tensor of each datatype stands; FP16 has bytes only."""


def call_of(method: str, request: Any, headers: Mapping[bytes, bytes]) -> Call:
    """Return what a gRPC request asks of the gateway.

    Args:
        method: of `METHODS`.
        request: its message.
        headers: the caller's metadata.

    Raises:
        RequestMalformed: the tensors do not belong to the inputs, or have cells that their datatype has not.
    """
    sent_id = headers.get(b"x-request-id")
    request_id = sane_request_id(None if sent_id is None else sent_id.decode("latin-1"))
    kept = {name: value for name, value in headers.items() if name not in _OURS}
    if method in ("ServerLive", "ServerReady", "ServerMetadata"):
        path = {"ServerLive": "/v2/health/live", "ServerReady": "/v2/health/ready"}.get(method, "/v2")
        return Call("GET", path, kept, b"", request_id)
    infers = method == "ModelInfer"
    name, version = (request.model_name, request.model_version) if infers else (request.name, request.version)
    path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}"
    if not infers:
        return Call("GET", f"{path}/ready" if method == "ModelReady" else path, kept, b"", request_id)
    head, blobs = _body(request)
    kept |= {b"content-type": b"application/octet-stream", _LENGTH: b"%d" % len(head)}
    return Call("POST", f"{path}/infer", kept, head + b"".join(blobs), request_id)


def response_of(method: str, answer: Answer) -> Any:
    """Return the message of an answer that is no refusal; readiness is told by 200 and 503."""
    response = MESSAGES[f"{method}Response"]
    if method in ("ServerLive", "ServerReady", "ModelReady"):
        return response(**{"live" if method == "ServerLive" else "ready": answer.status == 200})
    headers = dict(answer.headers)
    n_json = int(headers.get(_LENGTH, b"%d" % len(answer.body)))
    document = msgspec.json.decode(answer.body[:n_json])
    if method != "ModelInfer":
        return response(**document)
    found = response(
        model_name=document["model_name"], model_version=document["model_version"], id=document.get("id", "")
    )
    for name, value in document["parameters"].items():
        setattr(found.parameters[name], "bool_param" if isinstance(value, bool) else "string_param", value)
    place = n_json
    for output in document["outputs"]:
        size = output["parameters"]["binary_data_size"]
        found.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        found.raw_output_contents.append(answer.body[place : place + size])
        place += size
    return found


def _body(request: Any) -> tuple[bytes, list[bytes]]:
    """Return the JSON part of the REST body, and the binary data of each input."""
    raw = list(request.raw_input_contents)
    if raw and len(raw) != len(request.inputs):
        message = f"The request has {len(request.inputs)} inputs and {len(raw)} raw contents; send one for each."
        raise RequestMalformed(message)
    if raw and any(sent.HasField("contents") for sent in request.inputs):
        message = "The request has raw contents and typed ones; send one kind."
        raise RequestMalformed(message)
    blobs = raw or [_packed(sent) for sent in request.inputs]
    document: dict[str, Any] = {
        "parameters": {**_plain(request.parameters), "binary_data_output": True},
        "inputs": [
            {
                "name": sent.name, "datatype": sent.datatype, "shape": list(sent.shape),
                "parameters": {"binary_data_size": len(blob)},
            }
            for sent, blob in zip(request.inputs, blobs, strict=True)
        ],
        "outputs": [{"name": wanted.name} for wanted in request.outputs],
    }  # fmt: skip
    if request.id:
        document["id"] = request.id
    return msgspec.json.encode(document), blobs


def _packed(sent: Any) -> bytes:
    """Return a typed tensor as its binary data; one of an unknown datatype has none, and is refused by its name."""
    field = _CONTENTS.get(sent.datatype)
    filled = [descriptor.name for descriptor, _ in sent.contents.ListFields()]
    if field is None and not filled:
        return b""
    if filled not in ([], [field]):
        wanted = field or "raw contents"
        message = f"The input {sent.name[:80]!r} of {sent.datatype[:20]!r} has {', '.join(filled)}, not {wanted}."
        raise RequestMalformed(message)
    assert field is not None
    values = getattr(sent.contents, field)
    dtype = DATATYPES[sent.datatype]
    if dtype is None:
        return texts_in_bytes(values)
    wide = np.array(values, dtype=np.int64 if field in ("int_contents", "uint_contents") else dtype)
    narrow = wide.astype(dtype)
    if field in ("int_contents", "uint_contents") and not np.array_equal(wide, narrow):
        message = f"The input {sent.name[:80]!r} has numbers that are no {sent.datatype}."
        raise RequestMalformed(message)
    return narrow.tobytes()


def _plain(parameters: Any) -> dict[str, Any]:
    return {name: getattr(value, chosen) for name, value in parameters.items()
            if (chosen := value.WhichOneof("parameter_choice"))}  # fmt: skip
