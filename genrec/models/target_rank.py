"""The rank of a given item, beyond any list: how many items score above it, counted by best-first search.

B prompts, A of them still searched, L levels

A child never scores above its parent, so no prefix that scores below the item hides one that is above it, and what is
read is those prefixes alone. Where a budget of reads ends first, the rank is at least what was counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import PreTrainedModel

from genrec.models.beam import NEVER, SidVocabulary, append_tokens, read_prompts, score_children
from genrec.models.frontier import WIDTH, Leaves, Space, begin_search, items_under
from genrec.models.passes import Past, Runtime
from genrec.models.trie import Filter, Trie


@dataclass(frozen=True)
class Ranks:
    """Where each prompt's item stands among all that may be listed; of equal scores the lowest number comes first."""

    rank: Tensor  # (B,) from 1; 0 where the item may not be listed
    exact: Tensor  # (B,) bool; elsewhere the rank is at least this
    score: Tensor  # (B,) the item's, NEVER where it may not be listed
    reads: Tensor  # (B,) prefixes that were read


@torch.inference_mode()
def rank_targets(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    target: Tensor,
    normalization: str = "vocab",
    only: Filter | None = None,
    budget: int = 1000,
    width: int = WIDTH,
) -> Ranks:
    """The rank of each prompt's item of `target` (B,); a pass reads at most `width` prefixes a prompt, all `budget`."""
    read, space = read_prompts(model, prompts), Space(model, trie, sids, normalization, only, k=1)
    nodes = trie.nodes_to(target)
    leaf, score = nodes[-1], score_leaf(space, read, nodes)
    score = score.masked_fill(~may_be_listed(space, target), NEVER)
    floor = torch.where(score > NEVER / 2, score, torch.inf)
    frontier, new = begin_search(space, read, budget, floor)
    found = Ranks(count_same_leaf(space, leaf, target), torch.zeros_like(leaf, dtype=torch.bool), score, 0 * leaf)
    while True:
        row = frontier.row
        found.rank[row] += count_above(frontier.space, new, floor, leaf[row], target[row])
        frontier.prune(floor)
        found.exact[row], found.reads[row] = frontier.bound() < NEVER / 2, frontier.reads
        going = (~frontier.ended()).nonzero()[:, 0]
        if not len(going):
            return replace(found, rank=found.rank * (score > NEVER / 2))
        if len(going) < len(row):
            frontier.keep_rows(going)
            floor = floor[going]
        new = frontier.read(frontier.choose(width), floor)


def score_leaf(space: Space, read: tuple[Past, Tensor, Tensor, Tensor], nodes: list[Tensor]) -> Tensor:
    """(B,) scores of one leaf a prompt, its codes read one after another; the cache is left as it was.

    `nodes` [D] (B,) is the way to it, root first.
    """
    trie, (cache, last, seen, length) = space.trie, read
    codes = [code[node].clamp(min=0) for code, node in zip(trie.code, nodes[1:], strict=True)]
    hidden = last[:, None]  # (B, L, d) in the end
    if trie.num_levels > 1:
        token = torch.stack([space.sids.level(depth)[code] for depth, code in enumerate(codes[:-1])], dim=1)
        steps = token.shape[1]
        before = torch.ones(steps, steps, dtype=torch.bool, device=token.device).tril().expand(len(token), -1, -1)
        position = length[:, None] + torch.arange(steps, device=token.device)
        hidden = torch.cat([hidden, append_tokens(space.model, cache, token, seen, before, position)], dim=1)
        cache.crop(-steps)
    total = hidden.new_zeros(len(hidden), dtype=torch.float32)
    for depth in range(trie.num_levels):
        here, state = nodes[depth][:, None], hidden[:, depth : depth + 1]
        child, _, score = score_children(
            space.model, trie, space.sids, here, state, depth, space.normalization, space.only
        )  # (B, 1, W) each
        taken = (child == nodes[depth + 1][:, None, None]) & trie.children(depth, here)[1]
        total = total + score.masked_fill(~taken, NEVER).amax((1, 2))
    return total.clamp(min=NEVER)


def may_be_listed(space: Space, item: Tensor) -> Tensor:
    """(B,) bool of items (B,)."""
    if space.only is None:
        return torch.ones_like(item, dtype=torch.bool)
    return space.only.lists(space.trie.place[item][:, None])[:, 0]


def count_same_leaf(space: Space, leaf: Tensor, target: Tensor) -> Tensor:
    """(B,) place, from 1, of each target among the items of its leaf."""
    places, listed = items_under(space, leaf[:, None])
    return 1 + (listed & (space.trie.item[places] < target[:, None, None])).sum((1, 2))


def count_above(space: Space, found: Leaves, score: Tensor, leaf: Tensor, target: Tensor) -> Tensor:
    """(A,) items of finished leaves that come before targets (A,) of these scores and leaves."""
    places, listed = items_under(space, found.leaf)  # (A, n, items of a leaf)
    other = (found.score > NEVER / 2) & (found.leaf != leaf[:, None])
    higher, equal = other & (found.score > score[:, None]), other & (found.score == score[:, None])
    first = space.trie.item[places] < target[:, None, None]
    return (listed & (higher[..., None] | equal[..., None] & first)).sum((1, 2))
