"""Beam search in numpy, for exports that are answered without torch: the lists of `genrec.models.beam`.

B prompts, P prompt tokens, K beams, L levels, W most children of a trie node, V vocabulary, d width
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genrec.models.onnx_graph import Graph
from genrec.models.ranges import Ranges
from genrec.models.reading_time import reading_prompts

NEVER = np.float32(-1e30)  # score of a place that holds no beam


@dataclass(frozen=True)
class SidIds:
    """Where the SID tokens stand in the vocabulary."""

    token: np.ndarray  # (sum of sizes,) token id of every SID token, level by level
    first: tuple[int, ...]  # (L,) where each level begins in `token`
    sizes: tuple[int, ...]  # (L,) codes a level

    def level(self, depth: int) -> np.ndarray:
        """(K_level,) token ids of a level."""
        return self.token[self.first[depth] : self.first[depth] + self.sizes[depth]]


@dataclass(frozen=True)
class Search:
    """What stays the same from one batch to the next."""

    graph: Graph
    head: np.ndarray  # (V, d) float32, rows of the output layer
    ranges: Ranges
    sids: SidIds
    num_beams: int
    normalization: str  # vocab | trie


@dataclass(frozen=True)
class Open:
    """Which items may be listed, in code order."""

    denied: tuple[np.ndarray, ...]  # a row each: ascending places of the items that row b may not get

    def left(self, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        """Ranges of places (B, ...) -> how many of them row b may get."""
        edges = zip(self.denied, start, stop, strict=True)
        taken = [np.searchsorted(row, b) - np.searchsorted(row, a) for row, a, b in edges]
        return stop - start - np.stack(taken)


@dataclass(frozen=True)
class Beams:
    node: np.ndarray  # (B, K) trie node
    score: np.ndarray  # (B, K) float32 summed log-probability, NEVER where there is none
    token: np.ndarray  # (B, K) token id to read next
    parent: np.ndarray  # (B, K) place of the beam it grew from


def array_beam_search(
    search: Search, prompts: list[list[int]], only: Open | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves of the trie (B, K) best first and their scores (B, K); NEVER-scored places hold nothing."""
    length = np.array([len(prompt) for prompt in prompts])
    width = int(length.max())
    ids = np.array([prompt + [0] * (width - len(prompt)) for prompt in prompts], dtype=np.int64)
    with reading_prompts():
        hidden, past = search.graph.read(ids, None, None, None)
    seen = np.arange(width)[None] < length[:, None]  # (B, P)
    nothing = np.zeros((len(ids), 1), dtype=np.int64)
    root = Beams(nothing, nothing.astype(np.float32), nothing, nothing)
    last = hidden[np.arange(len(ids)), length - 1][:, None]  # (B, 1, d)
    beams, family = advance_beams(search, root, last, 0, only), None
    for depth in range(1, search.ranges.num_levels):
        count = beams.token.shape[1]
        family = extend_ancestors(family, beams.parent)
        mask = np.concatenate([np.repeat(seen[:, None], count, axis=1), family], axis=-1)[:, None]
        position = np.repeat((length + depth - 1)[:, None], count, axis=1)
        hidden, past = search.graph.read(beams.token, position, mask, past)
        beams = advance_beams(search, beams, hidden, depth, only)
    return beams.node, beams.score


def extend_ancestors(family: np.ndarray | None, parent: np.ndarray) -> np.ndarray:
    """Ancestors among appended tokens of the beams' parents -> of the beams, themselves included: (B, K, more)."""
    count, beams = parent.shape
    self_ = np.broadcast_to(np.eye(beams, dtype=bool), (count, beams, beams))
    if family is None:
        return self_
    return np.concatenate([np.take_along_axis(family, parent[..., None], axis=1), self_], axis=-1)


def advance_beams(search: Search, beams: Beams, hidden: np.ndarray, depth: int, only: Open | None) -> Beams:
    """Beams at a depth and the hidden states of their last tokens (B, k, d) -> the best beams one level on (B, K)."""
    ranges = search.ranges
    child, real = ranges.children(depth, beams.node)  # (B, k, W)
    code = ranges.code[depth][child]  # -1 where the SID has ended
    score = child_scores(search, hidden, search.sids.level(depth), code, real)
    if only is not None:
        under = ranges.under[depth + 1]
        score = np.where(only.left(under[child], under[child + 1]) == 0, NEVER, score)
    total = np.maximum(beams.score[..., None] + score, NEVER).reshape(len(score), -1)
    where = take_best(total, search.num_beams)
    flat = [np.take_along_axis(array.reshape(len(score), -1), where, axis=1) for array in (child, code, total)]
    token = search.sids.level(depth)[np.maximum(flat[1], 0)]
    return Beams(flat[0], flat[2], token, where // child.shape[-1])


def child_scores(
    search: Search, hidden: np.ndarray, tokens: np.ndarray, code: np.ndarray, real: np.ndarray
) -> np.ndarray:
    """Log-probability of each child (B, k, W); NEVER where there is none, 0 where the SID has ended."""
    by_trie = search.normalization == "trie"
    logits = hidden @ (search.head[tokens] if by_trie else search.head).T  # (B, k, K_level or V)
    if not by_trie:
        logits = logits[..., tokens] - log_sum_exp(logits)
    score = np.where(code < 0, np.float32(0), np.take_along_axis(logits, np.maximum(code, 0), axis=-1))
    if by_trie:
        score = np.where(real, score, NEVER)
        score = score - log_sum_exp(score)
    return np.where(real, score, NEVER)


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """(..., n) -> (..., 1)."""
    top = values.max(axis=-1, keepdims=True)
    return top + np.log(np.exp(values - top).sum(axis=-1, keepdims=True))


def take_best(score: np.ndarray, count: int) -> np.ndarray:
    """(B, n) -> places (B, min(count, n)) of the highest, best first."""
    if count < score.shape[1]:
        places = np.argpartition(-score, count - 1, axis=1)[:, :count]
    else:
        places = np.broadcast_to(np.arange(score.shape[1]), score.shape)
    order = np.argsort(-np.take_along_axis(score, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)
