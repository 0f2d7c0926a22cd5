"""Whether recommendations leave out what their user had before, and the lists without it.

Q queries (a user each), C candidates, R rows of the item table, k list length
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from genrec.data.repeats import REPEATS_ALLOWED, mark_repeats
from tencentgr.dataset import Candidates, TencentGRData
from tencentgr.ranking import as_sequences


@dataclass(frozen=True)
class SeenItems:
    """Candidates that each query's user had, end to end."""

    offset: np.ndarray  # (Q + 1,) int64
    candidate: np.ndarray  # int64

    @property
    def most(self) -> int:
        return int(np.diff(self.offset).max(initial=0))

    def without(self, lists: np.ndarray, begin: int, k: int, num_candidates: int) -> np.ndarray:
        """Lists (n, >= k + most) of the queries from `begin` on -> (n, k) in the same order, -1 where they end."""
        end = begin + len(lists)
        own = self.candidate[self.offset[begin] : self.offset[end]]
        owner = np.repeat(np.arange(len(lists)), np.diff(self.offset[begin : end + 1]))
        keys = np.arange(len(lists))[:, None] * num_candidates + lists
        dropped = np.isin(keys, owner * num_candidates + own) | (lists < 0)
        order = np.argsort(dropped, axis=1, kind="stable")[:, :k]
        kept = np.where(dropped, -1, lists)
        return np.take_along_axis(kept, order, axis=1)


def leaves_out_seen(filter_seen: bool | Literal["auto"], data: TencentGRData) -> tuple[bool, float]:
    """Whether lists leave seen items out, as asked or as the newest interactions say; and how many of these repeat."""
    share = measure_repeats(data)
    return (share < REPEATS_ALLOWED if filter_seen == "auto" else filter_seen), share


def measure_repeats(data: TencentGRData) -> float:
    """Share of users' newest interactions (of a run: its valid targets) with an item that the same user had before."""
    if data.splits:
        newest = data.splits["valid"].stop - 1
    else:
        lengths = np.diff(data.sequences.offset)
        newest = data.sequences.offset[1:][lengths >= 2] - 1
    return float(mark_repeats(as_sequences(data))[newest].mean()) if len(newest) else 0.0


def find_seen(queries: TencentGRData, candidates: Candidates) -> SeenItems:
    """By creative: a candidate may stand in another row than the item of the history."""
    order = np.argsort(candidates.creative_id, kind="stable")
    names = candidates.creative_id[order]
    first, last = (np.searchsorted(names, queries.creative_id, side) for side in ("left", "right"))  # (R,) each
    item, offset = queries.sequences.item, queries.sequences.offset
    count = (last - first)[item]  # candidates of each interaction
    ends = np.concatenate([[0], np.cumsum(count)])
    within = np.arange(ends[-1]) - np.repeat(ends[:-1], count)
    return SeenItems(ends[offset], order[np.repeat(first[item], count) + within])
