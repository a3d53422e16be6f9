"""Bodies of few JSON rows straight to typed rows, where nothing is wrong with them; knows nothing of faults or HTTP.

The parser is told the types of the columns, so that a row comes out of it as the contract wants it, and nobody looks at
each cell again. Whatever is not beyond doubt comes back as None, and `strict_json` with the contract's own decoder
decides about it; so both ways accept the same rows and give them the same bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import msgspec

from twinscore.contract.model import type_name
from twinscore.contract.rows import CELL_DECODERS, UnfitCellError
from twinscore.contract.rules import WHOLE_MAX
from twinscore.online.strict_json import MAX_TEXT_CHARS, has_no_more_keys

if TYPE_CHECKING:
    from twinscore.contract.model import Contract

__all__ = ["TypedRows"]

_LISTED = b'"instances"'
# From 2**53 on a float does not tell whether it was written as a whole number, which the contract may refuse there.
_FLOAT = Annotated[float, msgspec.Meta(gt=-WHOLE_MAX, lt=WHOLE_MAX)]
_WHOLE = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_object: Any = TypedDict
"""Makes the type of an object from the types of its members, all of which it must have."""
_KINDS: dict[str, Any] = {"float64": _FLOAT, "int64": _WHOLE, "bool": bool}
"""Types that the parser knows; all others are text in JSON."""


class TypedRows:
    """Turns one flat object, or `{"instances": [{..}, ..]}`, into rows; made once per contract, safe between threads.

    Args:
        contract: what the rows have to hold.
        most_rows: more are not read here.
    """

    def __init__(self, contract: Contract, *, most_rows: int) -> None:
        kinds = {column.name: type_name(column.type) for column in contract.columns}
        msgspec.json.encode(list(kinds))  # leaves its UTF-8 in each name, where the decoder looks for it
        row: Any = _object("Row", {name: _KINDS.get(kind, str) | None for name, kind in kinds.items()})
        self._several = msgspec.json.Decoder(_object("Listed", {"instances": list[row]})).decode
        self._one = msgspec.json.Decoder(row).decode
        self._names = tuple(kinds)
        self._parsed = [(name, CELL_DECODERS[kind]) for name, kind in kinds.items() if kind not in {*_KINDS, "string"}]
        self._most = most_rows

    def rows_of(self, body: bytes) -> tuple[list[dict[str, Any]], str] | None:
        """Return the rows, in the contract's order of columns, and the JSON pointer that they stand under.

        None in doubt: of everything that not every reader would take, and of long bodies.
        """
        if len(body) > MAX_TEXT_CHARS:
            return None
        try:
            if _LISTED in body:
                rows, n_keys, at = self._several(body)["instances"], 1, "/instances"
                if not 0 < len(rows) <= self._most:
                    return None
            else:
                rows, n_keys, at = [self._one(body)], 0, ""
            n_keys += len(rows) * len(self._names)
            # Each column is there: no more keys, so none twice and none unknown.
            return ([self._ordered(row) for row in rows], at) if has_no_more_keys(body, n_keys) else None
        except (ValueError, RecursionError, UnfitCellError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
            return None

    def _ordered(self, row: dict[str, Any]) -> dict[str, Any]:
        for name, decode in self._parsed:
            if row[name] is not None:
                row[name] = decode(row[name])
        return row if tuple(row) == self._names else {name: row[name] for name in self._names}
