"""What the audit log has of columns that a contract marks: a keyed hash or nothing; knows no files but the contract.

A hash is BLAKE2b with a secret salt, so equal values can be found and counted, and nobody without the salt can try
values out. Hashed and dropped rows cannot be scored again.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twinscore.contract.model import Contract

__all__ = ["Masker", "hash_cell", "masker"]

_HEX_BYTES = 16


class Masker:
    """Masks rows and tables of one contract; made once."""

    def __init__(self, contract: Contract, salt: bytes) -> None:
        self._salt = salt
        self._hashed = [place for place, column in enumerate(contract.columns) if column.audit == "hash"]
        self._dropped = [place for place, column in enumerate(contract.columns) if column.audit == "drop"]
        self._marks = {column.name: column.audit for column in contract.columns if column.audit != "keep"}
        self._key_is_marked = any(contract.column(name).audit != "keep" for name in contract.key)

    @property
    def idle(self) -> bool:
        """Whether the contract marks no column."""
        return not self._hashed and not self._dropped

    def row(self, cells: Sequence[Any]) -> list[Any]:
        """Return the cells of a row, in the contract's order, as the log may have them."""
        masked = list(cells)
        for place in self._hashed:
            if masked[place] is not None:
                masked[place] = hash_cell(masked[place], self._salt)
        for place in self._dropped:
            masked[place] = None
        return masked

    @property
    def marked(self) -> frozenset[str]:
        """Names of the columns that the contract marks."""
        return frozenset(self._marks)

    def cell(self, name: str, cell: Any) -> Any:
        """Return a cell of a column as the log may have it."""
        mark = self._marks.get(name, "keep")
        if mark == "keep" or cell is None:
            return cell
        return hash_cell(cell, self._salt) if mark == "hash" else None

    def table(self, table: pa.Table) -> pa.Table:
        """Return a table, (n_rows, contract columns), as the log may have it; hashes are text, dropped columns null."""
        for place in self._hashed:
            values = [None if cell is None else hash_cell(cell, self._salt) for cell in table.column(place).to_pylist()]
            table = table.set_column(place, table.column_names[place], pa.array(values, pa.string()))
        for place in self._dropped:
            table = table.set_column(place, table.column_names[place], pa.nulls(table.num_rows))
        return table

    def entity(self, text: str) -> str:
        """Return the entity that arms are assigned by: hashed when a key column is marked, as it is a part of it."""
        return hash_cell(text, self._salt) if text and self._key_is_marked else text


def masker(contract: Contract, salt: bytes) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what turns the cells of a row into those that the log may have; the plainest there is for the contract."""
    made = Masker(contract, salt)
    return list if made.idle else made.row


def hash_cell(value: Any, salt: bytes) -> str:
    """Return a keyed hash of a cell in hex; values of different types never share one by their spelling.

    >>> hash_cell("anna", b"salt") == hash_cell("anna", b"salt")
    True
    >>> hash_cell(1, b"salt") == hash_cell("1", b"salt")
    False
    """
    if isinstance(value, float):
        text = b"f" + struct.pack("<d", value + 0.0)  # adding zero makes -0.0 and 0.0 the one value that they are
    elif isinstance(value, str):
        text = b"s" + value.encode()
    else:
        text = f"{type(value).__name__} {value.isoformat() if hasattr(value, 'isoformat') else value}".encode()
    return hashlib.blake2b(text, digest_size=_HEX_BYTES, key=salt).hexdigest()
