"""Semantic IDs as features: a column a level, and on request a column for each longer prefix.

A level column holds code + 1, so code 0 is not the 0 of a missing item, and every level has its own embedding table.
A prefix column numbers the distinct beginnings of a length (coarse to fine), in the order the file names them first, so
items added at the end of the file leave the numbers of the others as they are.

M creatives of the file, R rows asked for, L levels
"""

from __future__ import annotations

import numpy as np


def semantic_columns(
    codes: dict[str, list[int]], creatives: np.ndarray, prefixes: bool
) -> tuple[np.ndarray, tuple[int, ...]]:
    """{creative: codes}, creatives (R,) -> ((R, C) int32 with 0 where missing, size of each column)."""
    columns = level_columns(np.array(list(codes.values()), dtype=np.int64), prefixes)  # (M, C)
    row_of = {creative: row for row, creative in enumerate(codes)}
    places = np.array([row_of.get(creative, len(codes)) for creative in creatives.tolist()], dtype=np.int64)
    with_missing = np.vstack([columns, np.zeros_like(columns[:1])])
    return with_missing[places], sizes_of(columns)


def level_columns(codes: np.ndarray, prefixes: bool) -> np.ndarray:
    """(M, L) codes, -1 where a short ID has none -> (M, C) int32."""
    longer = [prefix_numbers(codes[:, :length]) for length in range(2, codes.shape[1] + 1)] if prefixes else []
    return np.column_stack([codes + 1, *longer]).astype(np.int32)


def sizes_of(columns: np.ndarray) -> tuple[int, ...]:
    return tuple(int(size) for size in columns.max(axis=0))


def prefix_numbers(prefix: np.ndarray) -> np.ndarray:
    """(M, l) -> (M,) number of each distinct row, from 1 in order of first appearance."""
    _, first, group = np.unique(prefix, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    return rank[group.ravel()]
