"""The loss of answer tokens: over all tokens, or over those that the catalogue allows in their place.

A answer tokens, W most children of a trie node, M children of all the answers' nodes, V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from genrec.models.beam import SidVocabulary
from genrec.models.trie import Trie
from genrec.training.divergence import log_policy

TEXT = -1  # level of a token that is no SID token


@dataclass(frozen=True)
class Softened:
    """Of answer tokens the distribution that a teacher gives what may stand in their place, and its share w."""

    weight: float  # w
    known: Tensor  # (A,) bool, whether a teacher says anything of it
    row: Tensor  # (M,) the answer token that may be
    token: Tensor  # (M,) this one
    probability: Tensor  # (M,) with this; they sum to 1 for each known answer

    def mix(self, logp: Tensor, taken: Tensor) -> Tensor:
        """(1 - w) log p(label) + w sum of q log p over the teacher's tokens; (A, V), (A,) -> (A,)."""
        asked = logp.flatten().index_select(0, self.row * logp.shape[1] + self.token)
        expected = torch.zeros_like(taken).index_add(0, self.row, self.probability * asked)
        return torch.where(self.known, (1 - self.weight) * taken + self.weight * expected, taken)


def answer_loss(
    logits: Tensor, labels: Tensor, legal: Tensor | None, smoothing: float, soft: Softened | None = None
) -> Tensor:
    """-(1 - s) log p(label) - s mean of log p over the legal tokens, (A, V), (A,) -> (A,).

    p is the softmax over the legal tokens (A, V), over all tokens where `legal` is None. With `soft` log p(label) is
    mixed with the teacher's cross-entropy: the target is (1 - s) ((1 - w) one-hot + w q) + s uniform.
    """
    if legal is None and soft is None:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    logp = log_policy(logits, legal)
    taken = logp.gather(-1, labels[:, None])[:, 0]
    if soft is not None:
        taken = soft.mix(logp, taken)
    if not smoothing:
        return -taken
    spread = logp.mean(-1) if legal is None else logp.masked_fill(~legal, 0.0).sum(-1) / legal.sum(-1)
    return -((1 - smoothing) * taken + smoothing * spread)


@dataclass(frozen=True)
class Legal:
    """Which tokens may stand in the place of a label: the trie's children after its SID so far, any after text."""

    trie: Trie
    sids: SidVocabulary
    level: Tensor  # (V,) level of each token of the vocabulary, or TEXT

    def __call__(self, labels: Tensor) -> Tensor:
        """(A,) labels, each SID's tokens one after the other -> (A, V) bool."""
        legal = torch.ones(len(labels), len(self.level), dtype=torch.bool, device=labels.device)
        reached = torch.zeros_like(labels)  # trie node after each label
        for depth in range(self.trie.num_levels):
            at = (self.level[labels] == depth).nonzero()[:, 0]
            node = reached[at - 1] if depth else torch.zeros_like(at)
            child, real = self.trie.children(depth, node)  # (a, W)
            token = self.sids.level(depth)[self.trie.code[depth][child].clamp(min=0)]
            legal[at] = torch.zeros_like(legal[at]).scatter_reduce(1, token, real, "amax")
            taken = (real & (token == labels[at, None])).int().argmax(-1, keepdim=True)
            reached[at] = child.gather(1, taken)[:, 0]
        return legal


def make_legal(trie: Trie, sids: SidVocabulary, vocabulary: int) -> Legal:
    return Legal(trie, sids, find_levels(sids, vocabulary))


def find_levels(sids: SidVocabulary, vocabulary: int) -> Tensor:
    """(V,) level of each token of the vocabulary, or TEXT."""
    level = torch.full((vocabulary,), TEXT, device=sids.token.device)
    for depth in range(len(sids.sizes)):
        level[sids.level(depth)] = depth
    return level
