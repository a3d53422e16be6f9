"""Keys to look rows up in: hashes find, the true values decide; knows no files and no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.row_key import key_codes, key_hashes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["KeySet"]


class KeySet:
    """Keys of a table that other tables' rows are looked up in; a key with a missing part is never found.

    Args:
        keys: (n_keys, key columns).
    """

    def __init__(self, keys: pa.Table) -> None:
        # In one chunk: rows of many chunks are slow to take.
        self.keys = keys.combine_chunks()
        hashes, whole = key_hashes(keys)
        order = np.argsort(hashes, kind="stable")
        self._places = order[whole[order]]
        self._hashes = hashes[self._places]

    def __len__(self) -> int:
        return int(self.keys.num_rows)

    def places(self, keys: pa.Table) -> NDArray[np.int64]:
        """Return where each row's key stands in the set, its first place: (n_rows,); -1 where it does not.

        Args:
            keys: (n_rows, key columns), in the types of the set.
        """
        found = np.full(keys.num_rows, -1, np.int64)
        hashes, whole = key_hashes(keys)
        starts, ends = np.searchsorted(self._hashes, hashes, "left"), np.searchsorted(self._hashes, hashes, "right")
        rows = np.flatnonzero(whole & (ends > starts))
        if not len(rows):
            return found
        # Most keys have one place to look at; what is equal there needs no more than a comparison.
        guess = self._places[starts[rows]]
        same = self._equal(keys, rows, guess)
        found[rows[same]] = guess[same]
        rows = rows[~same | (ends[rows] - starts[rows] > 1)]
        if not len(rows):
            return found
        # Every place from a start to its end, each run of them once.
        starts, which = np.unique(starts[rows], return_index=True)
        counts = ends[rows][which] - starts
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        mine = np.sort(self._places[np.repeat(starts, counts) + steps])
        both = [self.keys.take(pa.array(mine)), keys.select(self.keys.column_names).take(pa.array(rows))]
        code = key_codes(pa.concat_tables([table.cast(self.keys.schema) for table in both]))
        own, theirs = code[: len(mine)], code[len(mine) :]
        first = np.full(int(code.max()) + 1, -1, np.int64)
        # Backwards, so that the first place is the one that stays.
        first[own[::-1]] = mine[::-1]
        found[rows] = first[theirs]
        return found

    def _equal(self, keys: pa.Table, rows: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which of the `rows` of `keys` are equal to the set's keys at `places`: (len(rows),)."""
        theirs, own = keys.take(pa.array(rows)), self.keys.take(pa.array(places))
        same = np.ones(len(rows), bool)
        for name in own.column_names:
            kind = own.schema.field(name).type
            same &= pc.equal(theirs[name].cast(kind), own[name]).to_numpy()
        return same

    def holds(self, keys: pa.Table) -> NDArray[np.bool_]:
        """Tell which rows' keys are in the set: (n_rows,)."""
        return self.places(keys) >= 0

    def repeated(self) -> NDArray[np.int64]:
        """Return the places of keys that stand in the set more than once, in order."""
        if not len(self._hashes):
            return np.zeros(0, np.int64)
        alike = self._hashes[1:] == self._hashes[:-1]
        suspects = np.sort(self._places[np.append(alike, False) | np.insert(alike, 0, False)])
        code = key_codes(self.keys.take(pa.array(suspects)))
        repeated: NDArray[np.int64] = suspects[np.bincount(code)[code] > 1] if len(code) else suspects
        return repeated
