"""How likely each item is as the answer to a prompt, for training: a prompt is read once for all its G answers.

B prompts, P prompt tokens, G answers a prompt, L levels, S = P + G (L - 1) tokens a row, W most children of a trie node

A row holds the prompt (padded on the left) and the first L - 1 tokens of each answer as a branch; branches do not see
one another. The LM head is never run over a row: the scores of one level's children are taken from the hidden states
of the tokens before it, and normalised by the function that does so in beam search.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrec.errors import ArtifactError
from genrec.models.beam import NEVER, SidVocabulary, take_children
from genrec.models.token_tree import sparse_lookups, visible_mask
from genrec.models.trie import Trie


class AnswerScores(NamedTuple):
    """Of every answer token, (B, G, L) each; past the end of a shorter SID they mean nothing."""

    logp: Tensor
    entropy: Tensor  # nats, over the legal children
    mass: Tensor  # probability of all legal children together: 1 under "trie", less where "vocab" leaks


def answer_scores(
    model: nn.Module,
    owner: nn.Module,
    trie: Trie,
    sids: SidVocabulary,
    prompt: Tensor,
    real: Tensor,
    answer: Tensor,
    normalization: str,
) -> AnswerScores:
    """Scores of answer tokens (B, G, L) after prompts (B, P), `real` (B, P) bool being what is no left padding.

    `owner` is the bare model where `model` is wrapped for several processes. Raises on an answer that is no item.
    """
    with sparse_lookups(owner) if normalization == "vocab" else nullcontext():
        hidden = row_states(model, owner, *group_rows(prompt, real, answer))  # (B, S, d)
    (B, G, L), node = answer.shape, torch.zeros(len(prompt), 1, dtype=torch.long, device=prompt.device)
    levels = []
    for depth, codes in enumerate(code_scores(owner, sids, hidden[:, prompt.shape[1] - 1 :], G, L, normalization)):
        child, legal = trie.children(depth, node)
        code = trie.code[depth][child]  # (B, 1 or G, W)
        score = take_children(codes, code, legal, normalization)
        where = find_places(find_codes(sids, depth, answer[..., depth]), code, score)  # (B, G)
        levels.append(level_scores(score, where))
        node = child.expand(B, G, -1).gather(-1, where[..., None])[..., 0]
    return AnswerScores(*(torch.stack(values, dim=-1) for values in zip(*levels, strict=True)))


def code_scores(
    owner: nn.Module, sids: SidVocabulary, hidden: Tensor, G: int, L: int, normalization: str
) -> Iterator[Tensor]:
    """States of the last prompt token and the branches (B, 1 + G (L - 1), d) -> level by level the scores of its codes.

    (B, 1, K_level), then (B, G, K_level). The head's weight is touched once: each time costs a gradient.
    """
    if normalization == "vocab":
        logits = owner.get_output_embeddings()(hidden).float()
        every = logits[..., sids.token] - logits.logsumexp(-1, keepdim=True)  # (B, 1 + G (L - 1), codes of all levels)
    else:
        rows = head_rows(owner, sids.token)  # (codes of all levels, d)
    for depth in range(L):
        places = slice(0, 1) if depth == 0 else slice(depth, None, L - 1)
        codes = slice(sids.first[depth], sids.first[depth] + sids.sizes[depth])
        if normalization == "vocab":
            yield every[:, places, codes]
        else:
            yield (hidden[:, places] @ rows[codes].T).float()


def head_rows(owner: nn.Module, token: Tensor) -> Tensor:
    """Rows of the head's weight, (n,) -> (n, d).

    Where that is the embedding's own, their gradient is sparse, and autograd adds it in place to the dense one of the
    prompt's lookups: one gradient of the vocabulary's size is made, not two.
    """
    weight = owner.get_output_embeddings().weight
    return F.embedding(token, weight, sparse=weight is owner.get_input_embeddings().weight)


def group_rows(prompt: Tensor, real: Tensor, answer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, positions and subtree ends (see token_tree) of one row a prompt, (B, S) each."""
    (B, P), (_, G, L) = prompt.shape, answer.shape
    branches = torch.arange(G * (L - 1), device=prompt.device)
    place = torch.arange(P, device=prompt.device)
    stop = P + (branches // max(L - 1, 1) + 1) * (L - 1)  # a branch token is seen to the end of its branch
    position = (real.long().cumsum(-1) - 1).clamp(min=0)
    ids = torch.cat([prompt, answer[..., :-1].flatten(1)], dim=1)
    positions = torch.cat([position, position[:, -1:] + 1 + branches % max(L - 1, 1)], dim=1)
    end = torch.cat([torch.where(real, P + len(branches), place + 1), stop.expand(B, -1)], dim=1)
    return ids, positions, end


def row_states(model: nn.Module, owner: nn.Module, ids: Tensor, positions: Tensor, end: Tensor) -> Tensor:
    """Hidden states (B, S, d) that the LM head would read, through the model's own forward."""
    with without_head(owner) as kept:
        model(input_ids=ids, position_ids=positions, attention_mask=visible_mask(end), use_cache=False)
    return kept[0]


@contextmanager
def without_head(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within: a forward ends before the LM head, which sees no token; the list holds what it would have read."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        kept.append(inputs[0])
        return (inputs[0][:, :0],)

    hook = model.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


def find_codes(sids: SidVocabulary, depth: int, token: Tensor) -> Tensor:
    """Token ids (B, G) -> their codes at a level, -1 for any token that is none of its codes."""
    tokens = sids.level(depth)
    match = token[..., None] == tokens  # (B, G, K_level)
    return torch.where(match.any(-1), match.int().argmax(-1), -1)


def find_places(answer: Tensor, code: Tensor, score: Tensor) -> Tensor:
    """Where among the children (B, 1 or G, W) the child of code `answer` (B, G) stands: (B, G)."""
    match = (answer[..., None] == code) & (score > NEVER / 2)
    if not match.any(-1).all():
        raise ArtifactError(
            "an answer is no semantic ID of the catalogue; the model directory belongs to another index"
        )
    return match.int().argmax(-1)


def level_scores(score: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Children's log-probabilities (B, 1 or G, W) and the child taken (B, G) -> its log-probability, entropy, mass."""
    legal = score.log_softmax(-1)
    entropy = -(legal.exp() * legal).sum(-1).expand_as(where)
    mass = score.detach().logsumexp(-1).exp().expand_as(where)
    return score.expand(*where.shape, -1).gather(-1, where[..., None])[..., 0], entropy, mass
