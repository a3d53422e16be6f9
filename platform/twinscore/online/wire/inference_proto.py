"""Messages of the Open Inference Protocol's gRPC service, built at import, so that no generated code is kept.

They live in a pool of their own: a client library that registers the same names in one process is not disturbed.
Source: Open Inference Protocol v2, `grpc_predict_v2.proto`, with Triton's further kinds of parameters.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

__all__ = ["MESSAGES", "METHODS", "SERVICE"]

SERVICE = "inference.GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
"""Each takes `<method>Request` and answers `<method>Response`."""

_NAMED = "1 name string, 2 version string"
_FIELDS = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 live bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 ready bool",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "1 ready bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, 3 extensions *string",
    "ModelMetadataRequest": _NAMED,
    "TensorMetadata": "1 name string, 2 datatype string, 3 shape *int64",
    "ModelMetadataResponse": "1 name string, 2 versions *string, 3 platform string, 4 inputs *TensorMetadata, "
    "5 outputs *TensorMetadata",
    "InferParameter": "1 bool_param ?bool, 2 int64_param ?int64, 3 string_param ?string, 4 double_param ?double, "
    "5 uint64_param ?uint64",
    "InferTensorContents": "1 bool_contents *bool, 2 int_contents *int32, 3 int64_contents *int64, "
    "4 uint_contents *uint32, 5 uint64_contents *uint64, 6 fp32_contents *float, 7 fp64_contents *double, "
    "8 bytes_contents *bytes",
    "Tensor": "1 name string, 2 datatype string, 3 shape *int64, 4 parameters %InferParameter, "
    "5 contents InferTensorContents",
    "RequestedOutput": "1 name string, 2 parameters %InferParameter",
    "ModelInferRequest": "1 model_name string, 2 model_version string, 3 id string, 4 parameters %InferParameter, "
    "5 inputs *Tensor, 6 outputs *RequestedOutput, 7 raw_input_contents *bytes",
    "ModelInferResponse": "1 model_name string, 2 model_version string, 3 id string, 4 parameters %InferParameter, "
    "5 outputs *Tensor, 6 raw_output_contents *bytes",
}
"""Number, name and type of each field: `*` many, `%` a map from text, `?` one of those of its message."""


def _built() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="twinscore/inference.proto", package="inference", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", ") if fields else ():
            number, called, kind = field.split(" ")
            if kind.startswith("%"):
                entry = message.nested_type.add(name=f"{called.capitalize()}Entry")
                entry.options.map_entry = True
                _add(entry, "1", "key", "string")
                _add(entry, "2", "value", kind[1:])
                kind = f"*{name}.{entry.name}"
            if kind.startswith("?") and not message.oneof_decl:
                message.oneof_decl.add(name="parameter_choice")
            _add(message, number, called, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}")) for name in _FIELDS}


def _add(message: Any, number: str, name: str, kind: str) -> None:
    of = descriptor_pb2.FieldDescriptorProto
    label = of.LABEL_REPEATED if kind.startswith("*") else of.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    plain = kind.lstrip("*?")
    if plain.islower():
        field.type = of.Type.Value(f"TYPE_{plain.upper()}")
    else:
        field.type, field.type_name = of.TYPE_MESSAGE, f".inference.{plain}"
    if kind.startswith("?"):
        field.oneof_index = 0


MESSAGES: dict[str, Any] = _built()
"""Classes by name; nested ones of the protocol have names of their own, which the bytes do not show."""
