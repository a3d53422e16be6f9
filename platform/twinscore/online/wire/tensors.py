"""Tensors of the Open Inference Protocol to columns of cells and back; knows no contract and no request.

A column is a tensor of shape [n] or [n, 1]. Its data are JSON values, or bytes behind the JSON part of the body.
Source: Open Inference Protocol v2, "Tensor Data", and its binary tensor data extension.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from twinscore.errors import RequestMalformed

__all__ = ["DATATYPES", "binary_of", "cells_in", "json_of", "texts_in_bytes"]

DATATYPES: dict[str, np.dtype[Any] | None] = {
    "BOOL": np.dtype("?"),
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BYTES": None,
}
"""Every datatype by its name; BYTES has no width of its own."""
_WHOLE_MAX = 2**53


def cells_in(name: str, datatype: str, n_rows: int, data: object, raw: bytes | None) -> list[Any]:
    """Return the cells of one input, (n_rows,): null and NaN are None, BYTES are text.

    Args:
        name: for messages.
        datatype: a key of `DATATYPES`.
        n_rows: cells that the shape states.
        data: JSON values, flat or one list per row; ignored when there are raw bytes.
        raw: the input's part of the binary data.

    Raises:
        RequestMalformed: the data do not have that many cells of that type.
    """
    dtype = DATATYPES[datatype]
    if raw is None:
        return _of_json(name, datatype, n_rows, data)
    if dtype is None:
        return _of_bytes(name, n_rows, raw)
    if len(raw) != n_rows * dtype.itemsize:
        message = f"The input {name!r} has {len(raw)} bytes; {n_rows} of {datatype} are {n_rows * dtype.itemsize}."
        raise RequestMalformed(message)
    values = np.frombuffer(raw, dtype=dtype)
    return _without_nan(values.astype(np.float64)) if dtype.kind == "f" else list(values.tolist())


def json_of(values: Sequence[Any], datatype: str) -> list[Any]:
    """Return an output's cells as JSON values: a missing text is empty, a missing truth false, a number null."""
    if datatype == "BYTES":
        return [_text(value) for value in values]
    return [bool(value) for value in values] if datatype == "BOOL" else list(values)


def binary_of(values: Sequence[Any], datatype: str) -> bytes:
    """Return an output's cells as bytes: as `json_of`, but a missing number is NaN."""
    if datatype == "BYTES":
        return texts_in_bytes([_text(value).encode() for value in values])
    if datatype == "BOOL":
        return np.array([bool(value) for value in values], dtype="?").tobytes()
    return np.array(values, dtype="<f8").tobytes()  # None becomes NaN


def texts_in_bytes(texts: Sequence[bytes]) -> bytes:
    """Return texts, each behind its length."""
    return b"".join([struct.pack("<I", len(text)) + text for text in texts])


def _of_json(name: str, datatype: str, n_rows: int, data: object) -> list[Any]:
    if not isinstance(data, list):
        message = f"The input {name!r} has no data; send an array of {n_rows} values."
        raise RequestMalformed(message)
    if data and isinstance(data[0], list):
        if not all(isinstance(cell, list) and len(cell) == 1 for cell in data):
            message = f"The data of the input {name!r} are nested otherwise than its shape; send one value per row."
            raise RequestMalformed(message)
        data = [cell[0] for cell in data]
    if len(data) != n_rows:
        message = f"The input {name!r} has {len(data)} values and a shape of {n_rows}."
        raise RequestMalformed(message)
    dtype = DATATYPES[datatype]
    return data if dtype is None or dtype.kind != "f" or dtype.itemsize == 8 else _narrowed(data, dtype)


def _narrowed(data: list[Any], dtype: np.dtype[Any]) -> list[Any]:
    """Return each number as what a narrow float can hold of it, however many digits were written; the rest as it is."""
    plain = set(map(type, data)) <= {float, type(None)}
    numbers = data if plain else [cell if _is_number(cell) else None for cell in data]
    with np.errstate(over="ignore"):
        cells = _without_nan(np.array(numbers, dtype=np.float64).astype(dtype).astype(np.float64))
    return cells if plain else [old if new is None else new for old, new in zip(data, cells, strict=True)]


def _is_number(cell: object) -> bool:
    """Say whether a cell is a float, or a whole number that a float64 holds exactly: the others are refused."""
    return type(cell) is float or (type(cell) is int and -_WHOLE_MAX <= cell <= _WHOLE_MAX)


def _of_bytes(name: str, n_rows: int, raw: bytes) -> list[str]:
    texts: list[str] = []
    place = 0
    try:
        while place < len(raw) and len(texts) <= n_rows:
            (length,) = struct.unpack_from("<I", raw, place)
            place += 4 + length
            if place > len(raw):
                break
            texts.append(raw[place - length : place].decode())
    except (struct.error, UnicodeDecodeError):
        place = -1
    if place != len(raw) or len(texts) != n_rows:
        message = f"The bytes of the input {name!r} are not {n_rows} UTF-8 texts, each behind its length."
        raise RequestMalformed(message)
    return texts


def _without_nan(values: np.ndarray[Any, Any]) -> list[Any]:
    cells: list[Any] = values.tolist()
    return [None if cell != cell else cell for cell in cells] if np.isnan(values).any() else cells


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if isinstance(value, Sequence | Mapping) else str(value)
