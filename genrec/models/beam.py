"""Constrained beam search on a token tree: the prompt once, every beam a few more tokens of the same row.

B prompts, P prompt tokens, K beams, L levels, W most children of a trie node, V vocabulary, d width

At depth D a request holds K nodes of the trie. One pass over K tokens (its keys appended to the prompt's) gives the
scores of their children; the best K of the K x W children are the next beams. No cache is copied or reordered: a beam's
token sees the prompt, its own ancestors among the appended tokens, and itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from genrec.models.passes import Past, Runtime, read_tokens
from genrec.models.reading_time import reading_prompts
from genrec.models.trie import NEVER, Filter, Trie


@dataclass(frozen=True)
class SidVocabulary:
    """Where the SID tokens stand in the model's vocabulary."""

    token: Tensor  # (sum of sizes,) token id of every SID token, level by level
    first: tuple[int, ...]  # (L,) where each level begins in `token`
    sizes: tuple[int, ...]  # (L,) codes a level

    def to(self, device: torch.device) -> SidVocabulary:
        return SidVocabulary(self.token.to(device), self.first, self.sizes)

    def level(self, depth: int) -> Tensor:
        """(K_level,) token ids of a level."""
        return self.token[self.first[depth] : self.first[depth] + self.sizes[depth]]


@dataclass(frozen=True)
class Beams:
    node: Tensor  # (B, K) trie node
    score: Tensor  # (B, K) summed log-probability, NEVER where there is none
    token: Tensor  # (B, K) token id to read next
    parent: Tensor  # (B, K) place of the beam it grew from


@torch.inference_mode()
def beam_search(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    num_beams: int,
    normalization: str = "vocab",
    only: Filter | None = None,
    trees: bool = True,
) -> tuple[Tensor, Tensor]:
    """Leaves of the trie (B, K) best first and their scores (B, K); NEVER-scored places hold nothing.

    Same list and scores as `generate(num_beams=K)` under a constraint processor when normalization is "vocab" (full
    log-softmax); "trie" renormalises over the legal children. `only` leaves items out for this call.
    Without `trees`, for a model that cannot read them, every beam is a row of its own, read from its beginning.
    """
    cache, last, seen, length = read_prompts(model, prompts)
    nothing = torch.zeros_like(length)[:, None]  # (B, 1)
    root = Beams(node=nothing, score=nothing.float(), token=nothing, parent=nothing)
    beams = advance_beams(model, trie, sids, root, last[:, None], 0, num_beams, normalization, only)
    family = None  # (B, K, appended) which appended tokens are ancestors
    path = None  # (B, K, depth) tokens of each beam
    for depth in range(1, trie.num_levels):
        if trees:
            family = extend_ancestors(family, beams.parent)
            position = (length + depth - 1)[:, None].expand_as(beams.token)
            hidden = append_tokens(model, cache, beams.token, seen, family, position)
        else:
            path = extend_paths(path, beams)
            hidden = reread_paths(model, prompts, path)
        beams = advance_beams(model, trie, sids, beams, hidden, depth, num_beams, normalization, only)
    return beams.node, beams.score


def read_prompts(model: PreTrainedModel | Runtime, prompts: list[list[int]]) -> tuple[Past, Tensor, Tensor, Tensor]:
    """One pass over all prompts -> cache, hidden of their last tokens (B, d), keys that count (B, P), lengths (B,).

    Padded on the right, where a causal model never looks, so the pass needs no mask.
    """
    length = torch.tensor([len(prompt) for prompt in prompts], device=model.device)
    width = int(length.max())
    ids = torch.tensor([prompt + [0] * (width - len(prompt)) for prompt in prompts], device=model.device)
    with reading_prompts(partial(torch.cuda.synchronize, ids.device) if ids.is_cuda else None):
        hidden, cache = read_tokens(model, ids)  # (B, P, d)
    last = hidden[torch.arange(len(ids), device=ids.device), length - 1]
    return cache, last, torch.arange(width, device=ids.device)[None] < length[:, None], length


def extend_ancestors(family: Tensor | None, parent: Tensor) -> Tensor:
    """Ancestors among appended tokens of the beams' parents -> of the beams, themselves included: (B, K, more)."""
    count, beams = parent.shape
    self_ = torch.eye(beams, dtype=torch.bool, device=parent.device).expand(count, beams, beams)
    if family is None:
        return self_
    inherited = family.gather(1, parent[..., None].expand(-1, -1, family.shape[-1]))
    return torch.cat([inherited, self_], dim=-1)


def append_tokens(
    model: PreTrainedModel | Runtime, cache: Past, token: Tensor, seen: Tensor, family: Tensor, position: Tensor
) -> Tensor:
    """Read K more tokens a row, at positions (B, K) -> hidden (B, K, d); they join the cache for their own children."""
    beams = token.shape[1]
    mask = torch.cat([seen[:, None].expand(-1, beams, -1), family], dim=-1)[:, None]  # (B, 1, K, P + appended)
    return read_tokens(model, token, position, mask, cache)[0]


def extend_paths(path: Tensor | None, beams: Beams) -> Tensor:
    """(B, k, depth) tokens of the beams one level up -> (B, K, depth + 1) of these."""
    token = beams.token[..., None]
    if path is None:
        return token
    return torch.cat([path.gather(1, beams.parent[..., None].expand(-1, -1, path.shape[-1])), token], dim=-1)


def reread_paths(model: PreTrainedModel | Runtime, prompts: list[list[int]], path: Tensor) -> Tensor:
    """Hidden states (B, K, d) of the beams' last tokens, prompts and all read anew."""
    rows = [prompt + beam for prompt, beams in zip(prompts, path.tolist(), strict=True) for beam in beams]
    return read_prompts(model, rows)[1].view(*path.shape[:2], -1)


def advance_beams(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    beams: Beams,
    hidden: Tensor,
    depth: int,
    num_beams: int,
    normalization: str,
    only: Filter | None,
) -> Beams:
    """Beams at a depth and the hidden states of their last tokens (B, k, d) -> the best beams one level on (B, K)."""
    child, code, score = score_children(model, trie, sids, beams.node, hidden, depth, normalization, only)
    total = (beams.score[..., None] + score).clamp(min=NEVER).flatten(1)  # (B, k * W)
    best, where = total.topk(min(num_beams, total.shape[1]), dim=-1)
    node, code = child.flatten(1).gather(1, where), code.flatten(1).gather(1, where)
    token = sids.level(depth)[code.clamp(min=0)]
    return Beams(node, best, token, where // child.shape[-1])


def score_children(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    node: Tensor,
    hidden: Tensor,
    depth: int,
    normalization: str,
    only: Filter | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (B, k) and their hidden states (B, k, d) -> children, their codes and log-probabilities, (B, k, W) each.

    What nobody may get is no child. What a list may not hold has its share of the probability, for the others' order is
    p(item | not denied), which is proportional to p(item); it is only not listed.
    """
    child, real = trie.children(depth, node)
    if only is not None:
        real = real & (trie.count(depth + 1, child, only) > 0)
    code = trie.code[depth][child]  # -1 where the SID has ended
    score = child_scores(model.get_output_embeddings(), hidden, sids.level(depth), code, real, normalization)
    if only is not None and (only.denied is not None or only.listed is not None):
        score = score.masked_fill(trie.count_listed(depth + 1, child, only) == 0, NEVER)
    return child, code, score


def child_scores(
    head: torch.nn.Module, hidden: Tensor, tokens: Tensor, code: Tensor, real: Tensor, normalization: str
) -> Tensor:
    """Log-probability of each child (B, k, W); NEVER where there is none, 0 where the SID has ended."""
    if normalization == "vocab":
        logits = head(hidden).float()  # (B, k, V)
        level = logits[..., tokens] - logits.logsumexp(-1, keepdim=True)
    else:
        weight = head.weight[tokens]  # only the active level's rows
        level = (hidden @ weight.T).float()  # (B, k, K_level)
    return take_children(level, code, real, normalization)


def take_children(level: Tensor, code: Tensor, real: Tensor, normalization: str) -> Tensor:
    """Scores of a level's codes (B, k, K_level) -> log-probabilities of the children that have them, (B, k, W)."""
    score = level.gather(-1, code.clamp(min=0)).masked_fill(code < 0, 0.0)
    if normalization == "trie":
        score = score.masked_fill(~real, NEVER).log_softmax(-1)
    return score.masked_fill(~real, NEVER)
