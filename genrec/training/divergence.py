"""How far two passes of a model disagree: what R-Drop adds to the loss.

A answers, V scored tokens or items
"""

from __future__ import annotations

from torch import Tensor

from genrec.models.trie import NEVER


def symmetric_divergence(first: Tensor, second: Tensor, legal: Tensor | None = None) -> Tensor:
    """(KL(p | q) + KL(q | p)) / 2 of the policies p, q of two logits, (A, V) -> (A,); R-Drop, arXiv 2106.14448."""
    p, q = log_policy(first, legal), log_policy(second, legal)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2


def log_policy(logits: Tensor, legal: Tensor | None) -> Tensor:
    """log softmax over the legal tokens, (A, V) -> (A, V); what is not legal has no mass."""
    return (logits if legal is None else logits.masked_fill(~legal, NEVER)).log_softmax(-1)
