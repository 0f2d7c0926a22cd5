"""Token trees: a shared prefix with many short branches, fed to a language model as one row.

B rows, S tokens a row, A answer tokens a row

Tokens lie in depth-first order, so the subtree of token j is the range j <= i < end[j], and token i sees j exactly
when it lies in j's subtree. One integer a token stands for the (S, S) mask until that is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

IGNORE = -100  # label of a place that is no answer token
NO_EVENT = -1  # of an answer that is no event of the data: an item's title, say
OPEN = -1  # end of a trunk token while the row still grows


class Branch(NamedTuple):
    """Tokens that follow trunk token `after` - 1: some to read (`tail`), then some to learn (`answer`)."""

    after: int  # how many trunk tokens the branch has read
    tail: list[int]
    answer: list[int]
    weight: float = 1.0  # of the answer's loss
    event: int = NO_EVENT  # that the answer names, in Sequences.item


@dataclass(frozen=True)
class TokenTree:
    """One row. `labels[a]` is to be predicted from the output at token `predictor[a]`."""

    ids: list[int]  # (S,)
    position: list[int]  # (S,)
    end: list[int]  # (S,)
    predictor: list[int]  # (A,)
    labels: list[int]  # (A,)
    weight: list[float]  # (A,) of each label's loss
    event: list[int]  # (A,) that each label's answer names, or NO_EVENT
    targets: int = 1  # answers of one or more labels


def grow_tree(trunk: Sequence[int], branches: Iterable[Branch]) -> TokenTree:
    """Trunk and branches -> tree. A branch may hang from any point of the trunk; branches do not see one another.

    The last token of an answer is only predicted, never read, so it is not in the row.
    """
    ids: list[int] = []
    position: list[int] = []
    end: list[int] = []
    predictor: list[int] = []
    labels: list[int] = []
    weight: list[float] = []
    event: list[int] = []
    read = 0  # trunk tokens laid down so far
    trunk_place = -1  # where the newest of them lies

    def lay(tokens: Sequence[int], first_position: int, stop: int) -> None:
        ids.extend(tokens)
        position.extend(range(first_position, first_position + len(tokens)))
        end.extend([stop] * len(tokens))

    branches = sorted(branches, key=lambda branch: branch.after)
    for branch in branches:
        if branch.after > read:
            lay(trunk[read : branch.after], read, OPEN)
            read, trunk_place = branch.after, len(ids) - 1
        tokens = [*branch.tail, *branch.answer[:-1]]
        places = [trunk_place, *range(len(ids), len(ids) + len(tokens))]  # of the trunk's last token, then the branch's
        predictor += places[len(branch.tail) :]
        labels += branch.answer
        weight += [branch.weight] * len(branch.answer)
        event += [branch.event] * len(branch.answer)
        lay(tokens, read, len(ids) + len(tokens))
    end = [len(ids) if stop == OPEN else stop for stop in end]
    return TokenTree(ids, position, end, predictor, labels, weight, event, len(branches))


def make_chain(
    pieces: Sequence[Sequence[int]], answered: Sequence[int], weights: Sequence[float], events: Sequence[int]
) -> TokenTree:
    """A row without branches: the pieces `answered` (from 1 on) are themselves the answers to what stands before."""
    stops = np.cumsum([len(piece) for piece in pieces])
    answers = [place for piece in answered for place in range(stops[piece - 1], stops[piece])]
    ids = [token for piece in pieces for token in piece]
    labels = [ids[place] for place in answers]
    weight = [float(weight) for piece, weight in zip(answered, weights, strict=True) for _ in pieces[piece]]
    event = [int(event) for piece, event in zip(answered, events, strict=True) for _ in pieces[piece]]
    del ids[answers[-1] :]  # the last answer token is only predicted
    predictor = [place - 1 for place in answers]
    end = [len(ids)] * len(ids)
    return TokenTree(ids, list(range(len(ids))), end, predictor, labels, weight, event, len(answered))


def join_trees(trees: Sequence[TokenTree], width: int) -> list[TokenTree]:
    """Rows that begin alike, the prompt's head say, as branches of one trunk while that has at most `width` tokens.

    The same answers are asked with the same tokens before them, so losses are equal, and what is shared is read once.
    """
    rows: list[list[TokenTree]] = []
    for tree in sorted(trees, key=lambda tree: tree.ids):
        if rows and joined_length([*rows[-1], tree]) <= width:
            rows[-1].append(tree)
        else:
            rows.append([tree])
    return [branch_trees(row, shared_length(row)) for row in rows]


def shared_length(trees: Sequence[TokenTree]) -> int:
    """How many first tokens the trees have in common, everything after being under them."""
    alike = len(os.path.commonprefix([tree.ids for tree in trees]))
    return min(sum(1 for _ in takewhile(len(tree.ids).__eq__, tree.end[:alike])) for tree in trees)


def joined_length(trees: Sequence[TokenTree]) -> int:
    """Tokens of the trees on one trunk; more than any row may have when they share nothing."""
    shared = shared_length(trees)
    return shared + sum(len(tree.ids) - shared for tree in trees) if shared else sys.maxsize


def branch_trees(trees: Sequence[TokenTree], shared: int) -> TokenTree:
    """One tree of several whose first `shared` tokens are the same."""
    ids, position = trees[0].ids[:shared], trees[0].position[:shared]
    end, predictor, labels, weight, event = [], [], [], [], []
    for tree in trees:
        shift = len(ids) - shared
        ids, position = ids + tree.ids[shared:], position + tree.position[shared:]
        end += [stop + shift for stop in tree.end[shared:]]
        predictor += [place if place < shared else place + shift for place in tree.predictor]
        labels += tree.labels
        weight += tree.weight
        event += tree.event
    targets = sum(tree.targets for tree in trees)
    return TokenTree(ids, position, [len(ids)] * shared + end, predictor, labels, weight, event, targets)


def visible_mask(end: Tensor) -> Tensor:
    """(B, S) subtree ends -> (B, 1, S, S) bool, row i may look at column j."""
    place = torch.arange(end.shape[1], device=end.device)
    earlier = place[None, :] <= place[:, None]  # (S, S) j <= i
    inside = place[None, :, None] < end[:, None, :]  # (B, S, S) i < end[j]
    return (earlier & inside)[:, None]


def collate_trees(trees: Sequence[dict[str, list]]) -> dict[str, Tensor]:
    """Trees as dicts of lists -> padded tensors; a padding token sees itself alone and nobody sees it.

    The first column of what belongs to answers is empty: transformers.Trainer counts the answers of a step from the
    second column on, for causal losses that shift.
    """
    width = max(len(tree["ids"]) for tree in trees)
    answers = max(len(tree["labels"]) for tree in trees)

    def padded(key: str, size: int, fill: float) -> Tensor:
        return torch.tensor([tree[key] + [fill] * (size - len(tree[key])) for tree in trees])

    batch = {
        "input_ids": padded("ids", width, 0),
        "predictor": pad(padded("predictor", answers, 0), (1, 0)),
        "labels": pad(padded("labels", answers, IGNORE), (1, 0), value=IGNORE),
        "weight": pad(padded("weight", answers, 0.0), (1, 0)),
        "event": pad(padded("event", answers, NO_EVENT), (1, 0), value=NO_EVENT),
    }
    if any(stop < len(tree["ids"]) for tree in trees for stop in tree["end"]):  # rows without branches need no mask
        ends = [tree["end"] + list(range(len(tree["end"]) + 1, width + 1)) for tree in trees]
        batch |= {"position_ids": padded("position", width, 0), "end": torch.tensor(ends)}
    return batch


@contextmanager
def head_at(model: nn.Module, row: Tensor, place: Tensor) -> Iterator[None]:
    """Within: the model's LM head sees only the hidden states (row[i], place[i]), so its logits are (len(row), V)."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, inputs: (inputs[0][row, place],))
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def sparse_lookups(model: nn.Module) -> Iterator[None]:
    """Within: an embedding that is the head's own table passes back the rows it looked up, no second whole table.

    For passes in which the head's product makes a dense gradient, to which autograd adds these rows.
    """
    embedding = model.get_input_embeddings()
    tied = isinstance(embedding, nn.Embedding) and embedding.weight is model.get_output_embeddings().weight
    if tied:
        embedding.sparse = True
    try:
        yield
    finally:
        if tied:
            embedding.sparse = False


def answer_logits(
    model: nn.Module, batch: dict[str, Tensor], head_owner: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (A', V) at the answer tokens of a collated batch, and their labels (A',); one pass, the head nowhere else.

    `head_owner` is the bare model when `model` is wrapped for several processes.
    """
    row, column = (batch["labels"] != IGNORE).nonzero(as_tuple=True)
    tree = (
        {"position_ids": batch["position_ids"], "attention_mask": visible_mask(batch["end"])} if "end" in batch else {}
    )
    owner = head_owner or model
    with head_at(owner, row, batch["predictor"][row, column]), sparse_lookups(owner):
        logits = model(input_ids=batch["input_ids"], use_cache=False, **tree).logits
    return logits, batch["labels"][row, column]


@torch.no_grad()
def takes_trees(model: nn.Module) -> bool:
    """Whether the model reads two branches of a tree as it reads them one by one: some refuse a 4-D mask or ignore it.

    Equal is a difference below a tenth of the spread of the logits; a token too many in sight makes far more.
    """
    first, second = Branch(2, [4], [5, 6]), Branch(3, [], [7, 8, 9])
    was_training = model.training
    model.eval()
    plain = torch.cat([logits_of(model, [1, 2], [first]), logits_of(model, [1, 2, 3], [second])])
    try:
        difference = (logits_of(model, [1, 2, 3], [first, second]) - plain).abs().max()
    except (TypeError, ValueError, RuntimeError, IndexError):  # what models that know no such mask say
        return False
    finally:
        model.train(was_training)
    return bool(difference < 0.1 * plain.std())


def logits_of(model: nn.Module, trunk: list[int], branches: list[Branch]) -> Tensor:
    """Logits (A, V) at the answers of one tree."""
    batch = collate_trees([vars(grow_tree(trunk, branches))])
    return answer_logits(model, {name: value.to(model.device) for name, value in batch.items()})[0].float()
