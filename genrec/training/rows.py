"""The rows of SFT: what its tasks ask, as token trees, and how trees become a batch.

E examples, H history
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import datasets
import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from genrec.config import Sft
from genrec.data.sequences import Examples, Sequences, Split, cut_examples
from genrec.data.tasks import Task, Texts, draw_copies, draw_row_numbers, find_task, repeat_rows, take_row
from genrec.data.thinning import Thinned
from genrec.errors import ArtifactError
from genrec.models.sid_prompts import TaskPrompts
from genrec.models.token_tree import NO_EVENT, Branch, TokenTree, collate_trees, grow_tree, join_trees, make_chain

TREE = tuple(field.name for field in fields(TokenTree))


class RowBuilder:
    """Task rows -> token trees."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: Texts, cutoff_len: int):
        self.texts = texts
        self.prompts = TaskPrompts(texts, tokenizer)
        self.eos = tokenizer.eos_token_id
        self.cutoff_len = cutoff_len

    def answer(self, task: Task, item: int) -> list[int]:
        """A SID has a fixed number of tokens and needs no end; a text ends with EOS."""
        ids = self.prompts.answer(task, item)
        return ids if task.wanted == "sid" else [*ids, self.eos][: self.cutoff_len // 2]

    def row(
        self,
        task: Task,
        items: np.ndarray,
        target: int,
        weight: float = 1.0,
        user: int = -1,
        text: int = -1,
        event: int = NO_EVENT,
    ) -> TokenTree:
        """One prompt, one answer; `event` is that of the target where the answer names a user's next item."""
        answer = self.answer(task, target)
        prompt = self.prompts.prompt(task, items, self.cutoff_len - len(answer), user, text)
        return grow_tree(prompt, [Branch(len(prompt), [], answer, float(weight), int(event))])

    def user(
        self, task: Task, items: np.ndarray, places: np.ndarray, weights: np.ndarray, user: int, events: np.ndarray
    ) -> TokenTree:
        """One trunk of items that holds for each asked place p >= 1 the prompt of items[:p] and the answer items[p].

        `weights` and `events` are those of the asked places.
        """
        asked = items[: places[-1] + 1]
        pieces = [self.prompts.head(task), *(self.prompts.part(task, int(item)) for item in asked)]
        if not self.texts.tail(task, asked[:0], -1):
            return make_chain(pieces, places + 1, weights, events)
        length = np.cumsum([len(piece) for piece in pieces])  # length[p]: head and p items
        branches = [
            Branch(
                int(length[place]),
                self.tail(task, items[:place], user),
                self.answer(task, int(items[place])),
                weight,
                event,
            )
            for place, weight, event in zip(places, weights.tolist(), events.tolist(), strict=True)
        ]
        return grow_tree([token for piece in pieces for token in piece], branches)

    def tail(self, task: Task, items: np.ndarray, user: int) -> list[int]:
        return self.prompts.tail(task, items, user)

    def room(self, task: Task, history: np.ndarray, user: int) -> int:
        """Items whose SIDs fit beside head, tail and answer of a prompt about `history`."""
        fixed = len(self.prompts.head(task)) + len(self.tail(task, history, user))
        levels = self.texts.index.num_levels
        if (items := (self.cutoff_len - fixed - levels) // levels) < 1:
            raise ArtifactError(
                f"sft.cutoff_len {self.cutoff_len} leaves no room for one item beside the {fixed} tokens of a prompt "
                f"and the {levels} of an answer; it needs {fixed + 2 * levels}"
            )
        return items


def make_rows(
    builder: RowBuilder,
    sequences: Sequences,
    train: Split,
    weight: np.ndarray,
    max_history: int,
    settings: Sft,
    seed: int,
    items: np.ndarray | None = None,
    thinned: Thinned | None = None,
) -> Iterator[TokenTree]:
    """All rows of all tasks with a positive share; weight (T,) is that of each event as a target.

    Tasks about items ask for those of `items` (N,) bool, for all where it is None. Packed rows are of `thinned` where
    there is such.
    """
    rng = np.random.default_rng(seed)
    cut = cut_examples(sequences, train, max_history)
    for name, share in settings.tasks.items():
        task = find_task(name)
        if name == "sid_to_sid" and settings.pack != "none":
            packing = max_history, settings.pack, settings.overlap
            for copy in repeat_rows(len(train), share, rng):
                yield from packed_rows(builder, task, sequences, train.take(copy), weight, *packing)
            if thinned:
                copies = thinned.copies(len(sequences))
                yield from packed_rows(
                    builder, task, thinned.sequences, copies, thinned.weight, *packing, thinned.owner
                )
        elif task.of_preference:
            yield from preference_rows(builder, task, share, cut, train, weight, rng)
        else:
            for row in draw_row_numbers(task, share, cut.target, builder.texts.catalog, rng, items):
                of_user = (weight[train.end[row]], int(train.user[row])) if task.from_history else ()
                event = train.end[row] if task.asks_next else NO_EVENT
                yield builder.row(task, *take_row(task, cut, row), *of_user, event=event)


def preference_rows(
    builder: RowBuilder,
    task: Task,
    share: float,
    cut: Examples,
    train: Split,
    weight: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[TokenTree]:
    """Targets after a text about their user, the newest one that knows nothing of them; others have no row."""
    text = builder.texts.preferences.newest(train)
    with_text = np.flatnonzero(text >= 0)
    for row in with_text[draw_copies(len(with_text), share, rng)]:
        items = cut.history[row] if "history" in task.given else np.zeros(0, np.int64)
        target = text[row] if task.wanted == "preference" else cut.target[row]
        event = train.end[row] if task.asks_next else NO_EVENT
        of_user = (weight[train.end[row]], int(train.user[row]), int(text[row]))
        yield builder.row(task, items, int(target), *of_user, event)


def packed_rows(
    builder: RowBuilder,
    task: Task,
    sequences: Sequences,
    train: Split,
    weight: np.ndarray,
    max_history: int,
    pack: str,
    overlap: float = 0.5,
    owner: np.ndarray | None = None,
) -> Iterator[TokenTree]:
    """Each user's targets on shared trunks; those whose history is cut get rows of their own, or windows.

    `owner` says whose copy each user is; None: the users are themselves.
    """
    item, ordered = sequences.item, train.take(np.lexsort([train.end, train.user]))
    for rows in np.split(np.arange(len(train)), np.flatnonzero(np.diff(ordered.user)) + 1):
        copy = int(ordered.user[rows[0]])
        user = copy if owner is None else int(owner[copy])
        group, first = ordered.end[rows], sequences.offset[copy]
        begin = np.maximum(group - max_history, first)  # of each target's history
        room = np.array([builder.room(task, item[a:b], user) for a, b in zip(begin, group, strict=True)])
        limit = np.minimum(room, max_history)
        whole = group - first <= limit
        if whole.any():
            ends = group[whole]
            yield builder.user(task, item[first : ends[-1] + 1], ends - first, weight[ends], user, ends)
        if pack == "exact":
            for a, end in zip(begin[~whole], group[~whole], strict=True):
                yield builder.row(task, item[a:end], int(item[end]), weight[end], user, event=end)
        elif not whole.all():
            longest = int(limit[~whole].min())
            stride = max(longest - math.ceil(longest * overlap), 1)
            yield from window_rows(builder, task, item, group[~whole], weight, longest, stride, user)


def window_rows(
    builder: RowBuilder,
    task: Task,
    item: np.ndarray,
    ends: np.ndarray,
    weight: np.ndarray,
    limit: int,
    stride: int,
    user: int,
) -> Iterator[TokenTree]:
    """Targets in runs of `stride` events, on a trunk of theirs that holds `limit` items before its last target."""
    run = (ends - ends[0]) // stride
    for group in np.split(ends, np.flatnonzero(np.diff(run)) + 1):
        begin = ends[0] + stride * ((group[0] - ends[0]) // stride) - (limit - stride + 1)
        yield builder.user(task, item[begin : group[-1] + 1], group - begin, weight[group], user, group)


def to_dataset(trees: Iterator[TokenTree]) -> datasets.Dataset:
    """Columns of a TokenTree and `length`, by which the Trainer groups rows."""
    columns: dict[str, list] = {name: [] for name in TREE}
    for tree in trees:
        for name, column in columns.items():
            column.append(getattr(tree, name))
    return datasets.Dataset.from_dict({**columns, "length": [len(ids) for ids in columns["ids"]]})


class Collator:
    """Dataset rows -> a batch; rows that begin alike are joined up to `width` tokens, so prompt heads are read once."""

    def __init__(self, width: int):
        self.width = width

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        trees = [TokenTree(**{name: row[name] for name in TREE}) for row in rows]
        return collate_trees([vars(tree) for tree in join_trees(trees, self.width)])
