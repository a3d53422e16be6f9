"""Bodies of many JSON rows straight to a table, where nothing is wrong with them; knows nothing of faults or HTTP.

Between bytes and columns there is no Python object for a cell, which is what most of a bulk request's time went into.
Whatever is not beyond doubt comes back as None, and `strict_json` with the contract's own decoders decides about it; so
both ways accept the same rows and give them the same bits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from twinscore.contract.columns import column_of
from twinscore.contract.model import type_name

if TYPE_CHECKING:
    import numpy.typing as npt

    from twinscore.contract.model import Contract

__all__ = ["JsonColumns"]

_HEAD = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"instances"[ \t\n\r]*:[ \t\n\r]*\[')
_numbers = msgspec.json.Decoder(list[float]).decode


class JsonColumns:
    """Turns `{"instances": [{..}, ..]}` into a conformed table; made once per contract, safe to share between threads.

    Args:
        contract: what the rows have to hold.
        fewest_rows: below, nothing is read here.
        most_rows: above, too.
    """

    def __init__(self, contract: Contract, *, fewest_rows: int, most_rows: int) -> None:
        from twinscore.online import json_loops

        self._loops = json_loops
        kinds = {"float64": json_loops.FLOAT, "int64": json_loops.WHOLE, "bool": json_loops.TRUTH}
        names = [msgspec.json.encode(column.name) for column in contract.columns]
        self._schema = contract.schema
        self._types = [type_name(column.type) for column in contract.columns]
        self._kinds = np.array([kinds.get(kind, json_loops.TEXT) for kind in self._types], dtype=np.int8)
        self._names = np.frombuffer(b"".join(names) + bytes(json_loops.WORD), dtype=np.uint8)
        self._name_ends = np.cumsum([0, *map(len, names)])
        self._order = np.arange(len(names))
        self._shortest = sum(map(len, names)) + 3 * len(names) + 2
        """Bytes of a row with one for each cell: name, colon, cell and comma, and the row's own braces and comma."""
        self._fewest, self._most = fewest_rows, most_rows
        self.fewest_bytes = self._shortest * fewest_rows
        """Shorter bodies hold fewer rows than are read here."""
        self.table_of(b'{"instances": [{}]}' + b" " * self._shortest * fewest_rows)  # compiles it

    def table_of(self, body: bytes) -> pa.Table | None:
        """Return the rows as (n_rows, contract.columns) when every reader would take them, or None in doubt."""
        most = min(self._most, len(body) // self._shortest)
        if most < self._fewest or (head := _HEAD.match(body)) is None:
            return None
        if not body.isascii():
            try:
                body.decode()
            except UnicodeDecodeError:
                return None
        text = np.frombuffer(body + bytes(self._loops.WORD + 1), dtype=np.uint8)[: len(body) + 1]
        shape = len(self._types), most
        cells = np.empty(shape, dtype=np.int64)
        stops = np.empty(shape, dtype=np.int64)
        nulls = np.zeros(shape, dtype=np.bool_)
        hard = np.empty((cells.size, 3), dtype=np.int64)
        floats = cells.view(np.float64)
        n_rows, n_hard = self._loops.read_cells(
            text, head.end(), self._names, self._name_ends, self._kinds, self._order.copy(), cells, floats, stops,
            nulls, hard,
        )  # fmt: skip
        if n_rows < self._fewest or not _read_hard(body, hard[:n_hard], floats):
            return None
        some_null = np.asarray(nulls[:, :n_rows].any(axis=1))
        columns = [
            self._column(
                number,
                text,
                cells[number, :n_rows],
                stops[number, :n_rows],
                nulls[number, :n_rows] if some_null[number] else None,
            )
            for number in range(len(self._types))
        ]
        if any(column is None for column in columns):
            return None
        return pa.table(columns, schema=self._schema)

    def _column(
        self,
        number: int,
        text: npt.NDArray[np.uint8],
        cells: npt.NDArray[np.int64],
        stops: npt.NDArray[np.int64],
        mask: npt.NDArray[np.bool_] | None,
    ) -> pa.Array | None:
        kind = self._kinds[number]
        if kind == self._loops.FLOAT:
            return pa.array(cells.view(np.float64), mask=mask)
        if kind == self._loops.WHOLE:
            return pa.array(cells, mask=mask)
        if kind == self._loops.TRUTH:
            return pa.array(cells.astype(np.bool_), mask=mask)
        ends = np.zeros(len(cells) + 1, dtype=np.int32)
        out = np.empty(int((stops - cells).sum()), dtype=np.uint8)
        self._loops.gather(text, cells, stops, ends, out)
        valid = None if mask is None else pa.py_buffer(np.packbits(~mask, bitorder="little"))
        found = pa.Array.from_buffers(pa.string(), len(cells), [valid, pa.py_buffer(ends), pa.py_buffer(out)])
        if self._types[number] == "string":
            return found
        return column_of(found.to_pylist(), self._types[number], self._schema.field(number).type)


def _read_hard(body: bytes, hard: npt.NDArray[np.int64], floats: npt.NDArray[np.float64]) -> bool:
    """Fill in the numbers that the loop left, and return whether each is one."""
    if len(hard) == 0:
        return True
    places, starts, stops = hard.T.tolist()
    texts: list[Any] = [body[start:stop] for start, stop in zip(starts, stops, strict=True)]
    try:
        floats.reshape(-1)[places] = _numbers(b"[%b]" % b",".join(texts))
    except msgspec.DecodeError:  # beyond a 64-bit float
        return False
    return True
