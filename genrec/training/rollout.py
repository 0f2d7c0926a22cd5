"""Groups of answers to prompts: the best beams, or items sampled without replacement. No answer leaves the catalogue.

B prompts, G answers a prompt, C >= G candidates, N items, L levels, W most children of a trie node
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from genrec.config import Rl
from genrec.errors import ArtifactError
from genrec.models.beam import (
    NEVER,
    SidVocabulary,
    append_tokens,
    beam_search,
    extend_ancestors,
    read_prompts,
    score_children,
)
from genrec.models.trie import Trie, build_trie
from genrec.sids import NONE, SidIndex

MORE = 1.5  # candidates an answer that dynamic sampling looks at


@dataclass(frozen=True)
class Answers:
    """The catalogue as what a model may answer."""

    index: SidIndex
    trie: Trie
    sids: SidVocabulary

    @cached_property
    def leaf(self) -> np.ndarray:
        """(N,) leaf of each item."""
        under = self.trie.under[-1].cpu().numpy()
        leaf = np.empty(len(self.index), dtype=np.int64)
        leaf[self.trie.item.cpu().numpy()] = np.repeat(np.arange(len(under) - 1), np.diff(under))
        return leaf

    @cached_property
    def first_item(self) -> np.ndarray:
        """(leaves,) one item of each leaf; the only one, unless colliding SIDs were kept."""
        return self.trie.item[self.trie.under[-1][:-1]].cpu().numpy()

    @cached_property
    def token(self) -> np.ndarray:
        """(N, L) token ids, NONE past the end of a shorter SID."""
        token, first = self.sids.token.cpu().numpy(), np.array(self.sids.first)
        return np.where(self.index.codes == NONE, NONE, token[np.maximum(self.index.codes, 0) + first])

    def tokens(self, item: int) -> list[int]:
        return [int(token) for token in self.token[item] if token != NONE]


def make_answers(index: SidIndex, sids: SidVocabulary, device: torch.device, group: int) -> Answers:
    """Raises where the catalogue has fewer distinct answers than a group needs."""
    answers = Answers(index, build_trie(index).to(device), sids.to(device))
    if group > len(answers.first_item):
        raise ArtifactError(
            f"rl.num_generations is {group}, but the catalogue has only {len(answers.first_item)} distinct answers"
        )
    return answers


def roll_out(
    model: PreTrainedModel,
    answers: Answers,
    prompts: list[list[int]],
    target: np.ndarray,
    settings: Rl,
    generator: torch.Generator,
) -> np.ndarray:
    """Items (B, G) for each prompt, the likeliest first. `target` (B,) decides only where a setting says so."""
    group = settings.num_generations
    count = min(int(group * MORE), len(answers.first_item)) if settings.dynamic_sampling else group
    if settings.beam_search:
        answer = beam_search(model, answers.trie, answers.sids, prompts, count, settings.normalization)
    else:
        answer = sample_search(model, answers.trie, answers.sids, prompts, count, settings.temperature, generator)
    leaf, score = (values.cpu().numpy() for values in answer)
    target_leaf = answers.leaf[target]
    leaf = reduce_group(leaf, score, target_leaf, group)
    if settings.add_gt:
        absent = ~(leaf == target_leaf[:, None]).any(axis=1)
        leaf[absent, -1] = target_leaf[absent]
    return np.where(leaf == target_leaf[:, None], target[:, None], answers.first_item[leaf])


def reduce_group(leaf: np.ndarray, score: np.ndarray, target_leaf: np.ndarray, group: int) -> np.ndarray:
    """Candidates (B, C) in the order found -> G of them, likeliest first; the target is kept wherever it stood."""
    row, late = np.nonzero(leaf[:, group:] == target_leaf[:, None])
    place = np.tile(np.arange(group), (len(leaf), 1))
    place[row, -1] = group + late
    leaf, score = np.take_along_axis(leaf, place, axis=1), np.take_along_axis(score, place, axis=1)
    return np.take_along_axis(leaf, np.argsort(-score, axis=1, kind="stable"), axis=1)


@torch.inference_mode()
def sample_search(
    model: PreTrainedModel,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    count: int,
    temperature: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Leaves (B, C) drawn without replacement and their log-probabilities at temperature 1, in the order drawn.

    Stochastic beam search (arXiv 1903.06059): a node carries its log-probability phi plus a Gumbel variable; children
    are drawn so that the largest equals their parent's, and the largest C of the last level are an exact sample.
    """
    cache, last, seen, length = read_prompts(model, prompts)
    node = torch.zeros(len(prompts), 1, dtype=torch.long, device=last.device)
    logp = phi = noisy = node.float()  # (B, 1)
    hidden, family = last[:, None], None
    for depth in range(trie.num_levels):
        child, code, score = score_children(model, trie, sids, node, hidden, depth, "trie", None)  # (B, k, W)
        tempered = (score / temperature).log_softmax(-1).masked_fill(score <= NEVER / 2, NEVER)
        grown = (phi[..., None] + tempered).clamp(min=NEVER)
        drawn = (
            shift_below(noisy, grown + draw_gumbel(grown, generator)).masked_fill(grown <= NEVER / 2, NEVER).flatten(1)
        )
        noisy, where = drawn.topk(min(count, drawn.shape[1]), dim=-1)
        logp, phi, node, code = (
            values.flatten(1).gather(1, where) for values in ((logp[..., None] + score), grown, child, code)
        )
        if depth + 1 < trie.num_levels:
            family = extend_ancestors(family, where // child.shape[-1])
            token = sids.level(depth)[code.clamp(min=0)]
            hidden = append_tokens(model, cache, token, seen, family, (length + depth)[:, None].expand_as(token))
    return node, logp.clamp(min=NEVER)


def draw_gumbel(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of a tensor's shape."""
    uniform = torch.rand(like.shape, generator=generator, device=like.device).clamp(min=torch.finfo(like.dtype).tiny)
    return -torch.log(-torch.log(uniform))


def shift_below(parent: Tensor, child: Tensor) -> Tensor:
    """Gumbel values of children (..., W), shifted so that their largest is their parent's (...)."""
    behind = child - child.amax(-1, keepdim=True)  # <= 0
    gap = torch.where(behind > -0.693, torch.log(-torch.expm1(behind)), torch.log1p(-behind.exp()))
    shift = parent[..., None] - child + gap
    return parent[..., None] - shift.relu() - torch.log1p((-shift.abs()).exp())
