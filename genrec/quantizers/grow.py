"""A catalogue that grows: new items get SIDs from the frozen codebooks, old ones keep theirs byte for byte.

A model trained on the old SIDs can therefore decode the new ones without training: their tokens are all known to it.

N old items, M new items, L levels, d width of z
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrec.artifacts import ArtifactError
from genrec.quantizers.collisions import reassign
from genrec.quantizers.residual import Quantized, decode
from genrec.sids import NONE, SidIndex, make_index

POOR = 99  # a new item is poorly placed when its error is beyond this percentile of the old items' errors


@dataclass(frozen=True)
class Grown:
    index: SidIndex  # (N + M) rows, the first N as they were
    moved: np.ndarray  # (M,) bool: the nearest SID was taken
    error: np.ndarray  # (M,) float32 |x - x^|^2
    poor: np.ndarray  # (M,) bool


def grow(index: SidIndex, new: Quantized, old_error: np.ndarray) -> Grown:
    """`new` holds the codes (M, L) that the frozen codebooks give; `old_error` (N,) is what old items live with."""
    depth = len(new.codebooks)
    codes = reassign(new, taken=index.codes[:, :depth].astype(np.int64))  # (M, L)
    rows = np.full((len(codes), index.num_levels), NONE, dtype=np.int64)
    rows[:, :depth] = codes
    whole = np.concatenate([index.codes, rows.astype(index.codes.dtype)])
    grown = make_index(whole, index.sizes, allow_collisions=True)  # old rows may repeat where collisions were kept
    if not (grown.codes[: len(index)] == index.codes).all():
        raise ArtifactError("a semantic ID of an old item changed; this is a defect, nothing was written")
    error = row_error(new, codes)
    return Grown(grown, (codes != new.codes).any(axis=1), error, error > np.percentile(old_error, POOR))


def row_error(quantized: Quantized, codes: np.ndarray) -> np.ndarray:
    """|x - x^|^2 of each row: (n, L) -> (n,)."""
    found = quantized.reconstruct(decode(codes, quantized.codebooks))
    return ((quantized.inputs - found) ** 2).sum(axis=1)
