"""A seeded sample of rows of the log, by stratum: the same rows whatever the order and the pieces they came in.

Each row has a place in a shuffle that its request id, its number and the seed decide; a stratum keeps its first rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from twinscore.contract.row_key import key_hashes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sampler", "Stratum", "divided", "row_order"]


class Stratum(NamedTuple):
    """What rows of a sample share."""

    version: str
    role: str
    bundle_digest: str
    contract_digest: str


class Sampler:
    """Takes tables of the log and keeps at most so many rows of each stratum.

    Args:
        rows: of the whole sample.
        seed: another one is another sample.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows = rows
        self._seed = seed
        self._kept: dict[Stratum, pa.Table] = {}
        self._places: dict[Stratum, NDArray[np.uint64]] = {}

    def add(self, table: pa.Table) -> None:
        """Take rows in: (n_rows, log_schema), all under one contract."""
        for values in table.group_by(list(Stratum._fields)).aggregate([]).to_pylist():
            stratum = Stratum(**values)
            chosen = np.logical_and.reduce(
                [pc.equal(table.column(name), value).to_numpy() for name, value in values.items()]
            )
            self._add(stratum, table.filter(pa.array(chosen)))

    def taken(self) -> dict[Stratum, pa.Table]:
        """Return the sample: as many rows of each stratum as it has, or as its part of the whole is."""
        strata = sorted(self._kept)
        shares = divided(self._rows, [self._kept[one].num_rows for one in strata])
        return {one: self._kept[one].slice(0, share) for one, share in zip(strata, shares, strict=True) if share}

    def _add(self, stratum: Stratum, table: pa.Table) -> None:
        hashes = row_order(table, self._seed)
        if stratum in self._kept:
            table = pa.concat_tables([self._kept[stratum], table], promote_options="default")
            hashes = np.concatenate([self._places[stratum], hashes])
        # A request that was sent again, and recorded twice, has one place.
        places, first = np.unique(hashes, return_index=True)
        self._kept[stratum] = table.take(pa.array(first[: self._rows]))
        self._places[stratum] = places[: self._rows]


def row_order(table: pa.Table, seed: int) -> NDArray[np.uint64]:
    """Return places of rows of the log, (n_rows,), by request and row alone; another seed is another order."""
    names = table.select(["request_id", "row"])
    hashes, _ = key_hashes(names.append_column("seed", pa.array(np.full(len(names), seed), pa.int64())))
    return hashes


def divided(rows: int, sizes: list[int]) -> list[int]:
    """Return how many rows each part of these sizes gives: equal shares, and what small parts leave to the others.

    >>> divided(10, [2, 100, 100]), divided(3, [1, 1]), divided(5, [])
    ([2, 4, 4], [1, 1], [])
    """
    shares = [0] * len(sizes)
    left = rows
    for done, place in enumerate(sorted(range(len(sizes)), key=lambda one: sizes[one])):
        shares[place] = min(sizes[place], -(-left // (len(sizes) - done)))
        left -= shares[place]
    return shares
