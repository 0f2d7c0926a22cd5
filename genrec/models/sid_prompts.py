"""Prompts and answers in semantic IDs as token ids, looked up by item number: no text is made or tokenised.

N items, L levels, E examples, H history
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genrec.data.prompts import Encoder
from genrec.data.tasks import RECOMMEND, Texts
from genrec.sids import NONE, SidIndex

if TYPE_CHECKING:
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


class SidPrompts:
    """The prompts that evaluation and serving ask, equal token by token to those made from their text."""

    def __init__(self, texts: Texts, tokens: SidTokens, encoder: Encoder, cutoff_len: int):
        self.texts = texts
        self.tokens = tokens
        self.encoder = encoder
        self.cutoff_len = cutoff_len
        self.head = encoder.piece(texts.prompt(RECOMMEND, np.zeros(0, np.int64)).head)

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
