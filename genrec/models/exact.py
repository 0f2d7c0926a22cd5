"""Exact ranking: every item scored through the trie, so that no beam can lose one.

B prompts, P prompt tokens, S tree tokens of a chunk, L levels, W most children of a node, d width

The nodes of depth 1..L-1 are the tokens of one tree that hangs from the prompt. It is read in chunks of whole depth-1
subtrees; the prompt's cache is cut back after each, so memory follows the chunk and not the catalogue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from genrec.models.beam import NEVER, SidVocabulary, read_prompts, score_children
from genrec.models.frontier import frontier_search
from genrec.models.passes import Past, Runtime, read_tokens
from genrec.models.trie import Filter, Trie

# Prefixes of a prompt that a frontier may read first: with less it is slower than reading all, with more it is lost.
FEWEST_READS, MOST_READS = 64, 4000


@dataclass(frozen=True)
class Chunk:
    """Nodes [start[D], stop[D]) of each depth D = 1..L under a run of depth-1 nodes."""

    start: list[int]
    stop: list[int]

    @property
    def tokens(self) -> int:
        """Nodes that are read: all depths but the last, whose nodes are only scored."""
        return sum(self.stop[:-1]) - sum(self.start[:-1])


@torch.inference_mode()
def rank_exactly(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    k: int,
    normalization: str,
    only: Filter | None,
    token_budget: int,
) -> tuple[Tensor, Tensor]:
    """The lists of `exact_search`: proven by a frontier, and where a quarter of the trie proves none by scoring all."""
    budget = min(sum(map(len, trie.code[:-1])) // 4, MOST_READS)
    if budget < FEWEST_READS:
        return exact_search(model, trie, sids, prompts, k, normalization, only, token_budget)
    found = frontier_search(model, trie, sids, prompts, k, normalization, only, budget)
    rest = (~found.exact).nonzero()[:, 0]
    if len(rest):
        batch = [prompts[row] for row in rest.tolist()]
        of_rest = None if only is None else only.rows(rest)
        leaf, score = exact_search(model, trie, sids, batch, k, normalization, of_rest, token_budget)
        found.leaf[rest], found.score[rest] = leaf, score
    return found.leaf, found.score


@torch.inference_mode()
def exact_search(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    k: int,
    normalization: str = "vocab",
    only: Filter | None = None,
    token_budget: int = 4096,
) -> tuple[Tensor, Tensor]:
    """The best k leaves (B, k) and scores (B, k) of each prompt, as `beam_search` with endless beams would give.

    `token_budget` is how many tree tokens, over all prompts, one forward pass may hold.
    """
    cache, last, seen, length = read_prompts(model, prompts)
    scores = last.new_full((len(prompts), len(trie.code[-1])), NEVER, dtype=torch.float32)  # (B, leaves)
    root = torch.zeros(len(prompts), 1, dtype=torch.long, device=last.device)
    _, _, first = score_children(model, trie, sids, root, last[:, None], 0, normalization, only)
    first = first[:, 0]  # (B, W)
    if trie.num_levels == 1:
        _, real = trie.children(0, root[0, 0])
        scores = first[:, real]
    for chunk in chunks(trie, max(token_budget // len(prompts), 1)):
        reached = first[:, chunk.start[0] : chunk.stop[0]]  # (B, nodes of depth 1)
        hidden = read_chunk(model, trie, sids, cache, chunk, seen, length)
        cache.crop(-chunk.tokens)
        for depth in range(1, trie.num_levels):
            nodes = torch.arange(chunk.start[depth - 1], chunk.stop[depth - 1], device=last.device)
            here = nodes.expand(len(prompts), -1)  # (B, nodes)
            _, _, grown = score_children(model, trie, sids, here, hidden[depth - 1], depth, normalization, only)
            _, real = trie.children(depth, nodes)  # (nodes, W)
            reached = (reached[..., None] + grown)[:, real]  # (B, nodes of the next depth), in their order
        scores[:, chunk.start[-1] : chunk.stop[-1]] = reached
    best = scores.clamp(min=NEVER).topk(min(k, scores.shape[1]), dim=-1)
    return best.indices, best.values


def tokens_within(memory: int, model: PreTrainedModel | Runtime, trie: Trie, prompts: list[list[int]]) -> int:
    """Tree tokens, over all prompts, that one pass may hold in `memory` bytes beside the model and the prompts' cache.

    A token costs a = its logits, children, cache and the widest layer; a pair of a token and what it may see costs c
    (the mask as given and as added to scores). S tokens a prompt: a S + c S (P + S) = memory / B.
    """
    config, size = model.config.get_text_config(), model.dtype.itemsize
    cache = 2 * config.num_hidden_layers * config.hidden_size
    widest = 6 * config.hidden_size + 3 * config.intermediate_size
    a = 2 * 4 * config.vocab_size + 32 * max(trie.width) + size * (cache + widest)
    c = 1 + 2 * size
    b = a + c * max(map(len, prompts))
    share = memory / len(prompts)
    return len(prompts) * max(int((math.sqrt(b * b + 4 * c * share) - b) / (2 * c)), 1)


def chunks(trie: Trie, size: int) -> list[Chunk]:
    """Runs of depth-1 subtrees with at most `size` tokens to read (a larger one stands alone); none of one level."""
    joined: list[Chunk] = []
    if trie.num_levels == 1:
        return joined
    for node in range(len(trie.code[0])):
        one = subtree(trie, node, node + 1)
        grown = Chunk(joined[-1].start, one.stop) if joined else one
        if joined and grown.tokens <= size:
            joined[-1] = grown
        else:
            joined.append(one)
    return joined


def subtree(trie: Trie, start: int, stop: int) -> Chunk:
    starts, stops = [start], [stop]
    for first in trie.first[1:]:
        starts.append(int(first[starts[-1]]))
        stops.append(int(first[stops[-1]]))
    return Chunk(starts, stops)


def read_chunk(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    cache: Past,
    chunk: Chunk,
    seen: Tensor,
    length: Tensor,
) -> list[Tensor]:
    """One pass over a chunk's nodes of depth 1..L-1 -> hidden states per depth, (B, nodes, d) each."""
    device, batch = seen.device, len(seen)
    ids, depth, low, high = [], [], [], []
    bounds = [(chunk.start[d], chunk.stop[d]) for d in range(trie.num_levels - 1)]
    for level, (start, stop) in enumerate(bounds):
        nodes = torch.arange(start, stop, device=device)
        ids.append(sids.level(level)[trie.code[level][nodes].clamp(min=0)])
        depth.append(torch.full_like(nodes, level))
        low.append(trie.under[level + 1][nodes])
        high.append(trie.under[level + 1][nodes + 1])
    token, level, low, high = (torch.cat(parts) for parts in (ids, depth, low, high))  # (S,) each
    inside = (low[None] <= low[:, None]) & (low[:, None] < high[None])  # (S, S) j's items hold i's first item
    family = inside & (level[None] < level[:, None]) | torch.eye(len(token), dtype=torch.bool, device=device)
    mask = torch.cat([seen[:, None].expand(-1, len(token), -1), family.expand(batch, -1, -1)], dim=-1)[:, None]
    hidden, _ = read_tokens(model, token.expand(batch, -1), length[:, None] + level, mask, cache)
    return list(hidden.split([stop - start for start, stop in bounds], dim=1))
