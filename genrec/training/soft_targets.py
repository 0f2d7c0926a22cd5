"""Targets of SFT softened by a teacher: at each node on the way to the true item, its distribution over the children.

    q(child | true prefix) = teacher's probability below the child / teacher's probability below the node

Nothing of it is cut: what is kept of a target are the few numbers at the nodes of its own path, in a file without a
name that is mapped, not read. A node below which the teacher has no mass keeps the one-hot target.

E events (targets), N items, L levels, A answer tokens, M numbers of them, V vocabulary
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genrec.data.sequences import Examples, Sequences, Split, cut_examples
from genrec.data.thinning import Thinned
from genrec.models.beam import SidVocabulary
from genrec.models.teachers import Teacher
from genrec.models.trie import Trie
from genrec.training.answer_loss import TEXT, Softened, find_levels

BLOCK = 256  # targets that a teacher is asked about at once
LEAST = 1e-12  # of the teacher's mass below a node; with less it says nothing of the children


@dataclass(frozen=True)
class Paths:
    """The nodes on the way to each item: where their children stand among all nodes of a depth, and their tokens."""

    begin: np.ndarray  # (L, N) first child of the node, at depth + 1
    width: np.ndarray  # (L, N) how many children
    taken: np.ndarray  # (L, N) which of them leads to the item
    shift: np.ndarray  # (L + 1, N) where a level's numbers stand among all of an item
    token: np.ndarray  # of each node, depth after depth
    depth: np.ndarray  # (L,) where the tokens of the nodes of depth l + 1 begin

    @property
    def length(self) -> np.ndarray:
        """(N,) numbers of each item."""
        return self.shift[-1]


def find_paths(trie: Trie, sids: SidVocabulary) -> Paths:
    items = torch.arange(len(trie.item))
    node = torch.stack(trie.nodes_to(items)).numpy()  # (L + 1, N)
    first = [children.numpy() for children in trie.first]
    begin = np.stack([first[depth][node[depth]] for depth in range(trie.num_levels)])
    stop = np.stack([first[depth][node[depth] + 1] for depth in range(trie.num_levels)])
    width = stop - begin
    shift = np.concatenate([np.zeros((1, len(items)), dtype=np.int64), np.cumsum(width, axis=0)])
    token = [
        sids.level(level).cpu().numpy()[code.clamp(min=0).numpy()] for level, code in enumerate(trie.code)
    ]  # a level that a shorter SID lacks is asked of no answer
    size = np.array([len(tokens) for tokens in token])
    return Paths(begin, width, node[1:] - begin, shift, np.concatenate(token), np.cumsum(size) - size)


def weigh_nodes(probability: np.ndarray, trie: Trie) -> list[np.ndarray]:
    """(E, N) -> [l] (E, n_{l+1}) mass below every node of a level, each the sum of its children's."""
    first = trie.under[-1], *reversed(trie.first[1:])  # of the items, then of the nodes, from the last level up
    masses = [probability[:, trie.item.numpy()]]
    for children in first:
        masses.append(np.add.reduceat(masses[-1], children.numpy()[:-1], axis=1))
    return masses[:0:-1]


def soften_paths(probability: np.ndarray, item: np.ndarray, trie: Trie, paths: Paths) -> np.ndarray:
    """(E, N) and true items (E,) -> their numbers one after the other, level by level within an item."""
    first = np.cumsum(paths.length[item]) - paths.length[item]  # (E,)
    softened = np.empty(int(paths.length[item].sum()), dtype=np.float32)
    for level, mass in enumerate(weigh_nodes(probability, trie)):
        width = paths.width[level, item]
        row, start = np.repeat(np.arange(len(item)), width), np.cumsum(width) - width
        within = np.arange(len(row)) - start[row]
        below = mass[row, paths.begin[level, item][row] + within]
        whole = np.add.reduceat(below, start)[row]
        hard = within == paths.taken[level, item][row]
        known = whole > LEAST
        target = np.where(known, below / np.where(known, whole, 1.0), hard)
        softened[(first + paths.shift[level, item])[row] + within] = target
    return softened


@dataclass(frozen=True)
class SoftTargets:
    """Answer tokens and the events that they name -> what the teacher says may stand in their place."""

    weight: float
    item: np.ndarray  # (T,) of each event
    begin: np.ndarray  # (T,) where the numbers of an event stand in `probability`
    probability: np.ndarray  # float32, of all events that are targets
    paths: Paths
    level: np.ndarray  # (V,) of each token, or TEXT

    def __call__(self, labels: Tensor, event: Tensor) -> Softened:
        """(A,) labels and events, negative where the answer is no event."""
        label, named = labels.cpu().numpy(), event.cpu().numpy()
        level = self.level[label]
        known = (named >= 0) & (level != TEXT)
        depth, event_of = level[known], named[known]
        item = self.item[event_of]
        width = self.paths.width[depth, item]
        answer = np.repeat(np.arange(len(width)), width)  # (M,)
        child = np.arange(len(answer)) - (np.cumsum(width) - width)[answer]
        token = self.paths.token[(self.paths.depth[depth] + self.paths.begin[depth, item])[answer] + child]
        probability = self.probability[(self.begin[event_of] + self.paths.shift[depth, item])[answer] + child]
        row = np.flatnonzero(known)[answer]
        arrays = (torch.from_numpy(array).to(labels.device) for array in (known, row, token, probability))
        return Softened(self.weight, *arrays)


def make_soft_targets(
    teacher: Teacher,
    weight: float,
    sequences: Sequences,
    train: Split,
    max_history: int,
    trie: Trie,
    sids: SidVocabulary,
    vocabulary: int,
    directory: Path,
    thinned: Thinned | None = None,
) -> SoftTargets:
    """Asks the teacher once about every train target, with all the history that an evaluation would give it.

    With thinned copies it is asked about windows, as rows of `pack windows` without overlap read them: all places of a
    window at once.

    It may name what the user had before: what lies beyond the history the model cannot know, so it could not learn to
    leave that out. Lists leave it out all the same, where evaluation.filter_seen says so.
    """
    paths, item = find_paths(trie, sids), thinned.sequences.item if thinned else sequences.item
    ends = np.sort(thinned.train.end if thinned else train.end)
    length = paths.length[item[ends]]
    begin = np.full(len(item), -1, dtype=np.int64)
    begin[ends] = np.cumsum(length) - length
    probability = map_nameless(directory, int(length.sum()))
    if thinned:
        blocks = ask_in_windows(teacher, thinned, max_history)
    else:
        blocks = ask_in_blocks(teacher, cut_examples(sequences, train, max_history), train.end)
    for answer, end in blocks:
        softened = soften_paths(answer, item[end], trie, paths)
        size = paths.length[item[end]]
        within = np.arange(len(softened)) - np.repeat(np.cumsum(size) - size, size)
        probability[np.repeat(begin[end], size) + within] = softened
    level = find_levels(sids, vocabulary).cpu().numpy()
    return SoftTargets(weight, item, begin, probability, paths, level)


def ask_in_blocks(teacher: Teacher, examples: Examples, end: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Probabilities (b, N) and the targets' events (b,), in the order of the events."""
    order = np.argsort(end, kind="stable")
    for first in range(0, len(end), BLOCK):
        rows = order[first : first + BLOCK]
        yield teacher(examples.take(rows)), end[rows]


def ask_in_windows(teacher: Teacher, thinned: Thinned, max_history: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same of users and their copies, whose events are cut into windows of `max_history`."""
    event, copy = cut_windows(thinned.sequences.offset, max_history)  # (W, max_history), (W,)
    asked = np.zeros(len(thinned.sequences.item) + 1, dtype=bool)
    asked[thinned.train.end] = True
    for first in range(0, len(event), max(BLOCK // max_history, 1)):
        block = slice(first, first + max(BLOCK // max_history, 1))
        item = np.where(event[block] >= 0, thinned.sequences.item[event[block]], -1)
        answer = teacher.of_windows(item, thinned.owner[copy[block]])  # (b, max_history, N)
        last = thinned.sequences.offset[copy[block] + 1][:, None]
        wanted = (event[block] >= 0) & (event[block] + 1 < last) & asked[event[block] + 1]
        yield answer[wanted], (event[block] + 1)[wanted]


def cut_windows(offset: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Events of all users, `length` a row, padded on the right with -1, and whose they are."""
    begin, stop = offset[:-1], offset[1:]
    windows = np.maximum(-(-(stop - begin - 1) // length), 0)  # the last event is read by none
    user = np.repeat(np.arange(len(begin)), windows)
    place = np.arange(len(user)) - np.repeat(np.cumsum(windows) - windows, windows)
    event = (begin[user] + length * place)[:, None] + np.arange(length)
    return np.where(event < stop[user][:, None], event, -1), user


def map_nameless(directory: Path, length: int) -> np.ndarray:
    """(length,) float32 in a file that is gone with the process, however it ends."""
    with tempfile.TemporaryFile(dir=directory) as file:
        file.truncate(4 * max(length, 1))
        return np.memmap(file, dtype=np.float32, mode="r+", shape=(max(length, 1),))
