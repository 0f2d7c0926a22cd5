"""Prompts and answers as token ids. What stands there in semantic IDs is looked up by item number: no text is made.

N items, L levels, E examples, H history
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec.data.prompts import Encoder, join_pieces
from genrec.data.tasks import RECOMMEND, Task, Texts
from genrec.sids import NONE, SidIndex

if TYPE_CHECKING:  # prompts of an export are made where there is no torch
    from transformers import PreTrainedTokenizerBase

    from genrec.models.array_beam import SidIds
    from genrec.models.beam import SidVocabulary


class SidTokens:
    """The token ids of every item's SID. A SID token is one token of the vocabulary (`sid_vocabulary` sees to it)."""

    def __init__(self, index: SidIndex, sids: SidVocabulary | SidIds):
        token = np.asarray(sids.token)[np.maximum(index.codes, 0) + index.first_token()]
        self.token = np.where(index.codes == NONE, NONE, token)  # (N, L), NONE where a SID has ended
        self.length = (self.token != NONE).sum(axis=1)  # (N,)

    def of(self, item: int) -> list[int]:
        return self.token[item, : self.length[item]].tolist()


class TaskPrompts:
    """Prompts and answers of any task, a row at a time; texts are tokenised once."""

    def __init__(self, texts: Texts, tokenizer: PreTrainedTokenizerBase):
        from genrec.models.language import sid_vocabulary

        self.texts = texts
        self.encoder = Encoder(tokenizer)
        self.tokens = SidTokens(texts.index, sid_vocabulary(tokenizer, texts.index))

    def head(self, task: Task) -> list[int]:
        return self.encoder.piece(self.texts.head(task))

    def part(self, task: Task, item: int) -> list[int]:
        return self.tokens.of(item) if task.gives_sids else self.encoder.piece(self.texts.part(task, item))

    def tail(self, task: Task, items: np.ndarray, user: int) -> list[int]:
        return self.encoder.piece(self.texts.tail(task, items, user))

    def answer(self, task: Task, item: int) -> list[int]:
        """Without an end; `item` is the number of a text where that is wanted."""
        return self.tokens.of(item) if task.wanted == "sid" else self.encoder.piece(self.texts.answer(task, item))

    def prompt(self, task: Task, items: np.ndarray, limit: int, user: int = -1, text: int = -1) -> list[int]:
        """`Texts.prompt` of the same arguments as at most `limit` token ids."""
        parts = [self.part(task, int(item)) for item in items if item >= 0]
        parts += map(self.encoder.piece, self.texts.words_on_user(task, text, bool(parts)))
        return join_pieces(self.head(task), parts, self.tail(task, items, user), limit)


class SidPrompts:
    """The prompts that evaluation and serving ask, many at a time, equal token by token to those of their text."""

    def __init__(self, texts: Texts, tokens: SidTokens, encoder: Encoder, cutoff_len: int):
        self.texts = texts
        self.tokens = tokens
        self.encoder = encoder
        self.cutoff_len = cutoff_len
        self.head = encoder.piece(texts.head(RECOMMEND))

    def make(self, history: np.ndarray, user: np.ndarray) -> list[list[int]]:
        """Histories (E, H), -1 = none, and users (E,) -> token ids of each prompt, at most cutoff_len."""
        tails = self.tails(history, user)
        room = self.cutoff_len - len(self.head) - np.array([len(tail) for tail in tails])  # (E,)
        kept = self.keep_newest(history, np.maximum(room, 0))
        token = self.tokens.token[np.where(kept, history, 0)]  # (E, H, L)
        real = kept[..., None] & (token != NONE)
        flat, ends = token[real].tolist(), np.cumsum(real.sum(axis=(1, 2))).tolist()
        begins, most = [0, *ends[:-1]], np.maximum(room, 0).tolist()
        return [
            self.head + flat[begin : min(end, begin + limit)] + tail
            for begin, end, limit, tail in zip(begins, ends, most, tails, strict=True)
        ]

    def tails(self, history: np.ndarray, user: np.ndarray) -> list[list[int]]:
        """What follows the history; only a profile makes it another one for each user."""
        if self.texts.profile is None:
            return [self.encoder.piece(self.texts.tail(RECOMMEND, history[:0], -1))] * len(history)
        rows = zip(history, user.tolist(), strict=True)
        return [self.encoder.tokenize(self.texts.tail(RECOMMEND, items, number)) for items, number in rows]

    def keep_newest(self, history: np.ndarray, room: np.ndarray) -> np.ndarray:
        """(E, H) which items are asked with: the newest whose SIDs fit into `room` (E,) tokens, at least one."""
        there = history >= 0
        length = np.where(there, self.tokens.length[np.maximum(history, 0)], 0)
        from_here = length[:, ::-1].cumsum(axis=1)[:, ::-1]  # tokens of an item and all newer ones
        newest = there & (there[:, ::-1].cumsum(axis=1)[:, ::-1] == 1)
        return there & ((from_here <= room[:, None]) | newest)
