"""Recommendations in a shop's own words: ids or frames of events in, a frame of items out.

    import genrec
    shop = genrec.load("outputs/quickstart")                     a run, a model directory, or a name of the hub
    shop.recommend([["50", "172", "181"]], k=5)                  one history of item ids
    shop.recommend(users=["196", "22"])                          users of the run, by all that they had
    shop.recommend(frame, deny=["50"])                           events: user, item, and time where there is one
    shop.explain(["50", "172"], "181")                           code by code
    shop.rank(["50", "172"], "181")                              its place among all items

N items, E users, k items a list, L levels
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from genrec.data.catalog import Catalog
from genrec.data.frames import is_frame, to_polars
from genrec.data.histories import (
    Histories,
    Ids,
    exclude,
    make_ids,
    ranges,
    read_frame,
    read_ids,
    read_lists,
    read_numbers,
)
from genrec.data.meanings import describe_codes
from genrec.data.sequences import Sequences
from genrec.data.titles import TitleMatch, find_titles
from genrec.errors import ConfigError
from genrec.models.exported import ExportedRecommender
from genrec.models.families import Recommender as Family
from genrec.models.families import Searching, Widening
from genrec.models.popular import fit_popular
from genrec.sids import SidIndex

if TYPE_CHECKING:
    from genrec.models.generative import GenerativeRecommender

EMPTY = pl.DataFrame(  # what lists look like
    schema={
        "user": pl.String,
        "rank": pl.Int32,
        "item_id": pl.String,
        "title": pl.String,
        "score": pl.Float32,
        "sid": pl.String,
        "cold": pl.Boolean,
    }
)
PROVEN = EMPTY.with_columns(pl.lit(None, pl.Boolean).alias("exact"), pl.lit(None, pl.Float32).alias("bound"))


class Rank(NamedTuple):
    """The place of an item."""

    rank: int | None  # from 1; None where it may not be listed
    exact: bool  # else the rank is at least this
    score: float | None  # log-probability of its code path, as in lists


class Ranked(NamedTuple):
    """Lists of E users."""

    item: np.ndarray  # (E, k) int32, -1 past the last
    score: np.ndarray  # (E, k) float32
    cold: np.ndarray  # (E,) bool, no history
    bound: np.ndarray  # (E,) float32, what an item that is not listed may score, where a frontier left that open


@dataclass(frozen=True, repr=False)
class Recommender:
    """A model made ready, with the shop it speaks of. Made by `genrec.load`."""

    model: str  # the family, as evaluation calls it
    place: Path  # where it was loaded from
    family: Family
    catalog: Catalog
    train_count: np.ndarray  # (N,)
    max_history: int | None
    block: int  # rows that are ranked at once
    index: SidIndex | None = None
    sequences: Sequences | None = None  # the users of a run
    allowed: np.ndarray | None = None  # (N,) bool, False for retired items

    def __repr__(self) -> str:
        users = f", {len(self.sequences.user_id):,} users" if self.sequences else ""
        return f"Recommender('{self.model}' of {self.place}: {len(self.catalog):,} items{users})"

    def recommend(
        self,
        histories: Any = None,
        k: int = 10,
        exclude_seen: bool = True,
        deny: Iterable[Any] | None = None,
        allow: Iterable[str] | None = None,
        users: Iterable[str] | None = None,
        numbers: Sequence[Sequence[int]] | None = None,
        skip_unknown: bool = False,
    ) -> pl.DataFrame:
        """The best k items of each user: user, rank from 1, item_id, title, score, sid, cold.

        `histories`: lists of item ids, oldest first, or a frame of events (polars, pandas, Arrow) with user, item and
        perhaps time. `users` alone: users of the run, by their whole past; beside lists, their names. `numbers`: lists
        of row numbers of the catalogue in place of ids. `deny`: ids for no one, or a list a user. `allow`: ids that
        alone may be listed. `exclude_seen` leaves out all that a user had, however long ago. A user without a history
        gets the popular list, and `cold` says so. The score is the model's own: of language models the log-probability
        of the item's code path, of a cold user's items their share of the training events. With `decoding` frontier two
        columns more: `exact`, whether no other item scores higher, and `bound`, else the most that one might score.

        ConfigError names ids that are unknown, and the nearest; `skip_unknown` passes over unknown items of histories.
        """
        rows = self.read_histories(histories, users, numbers, skip_unknown)
        blocks = list(self.recommend_blocks(rows, k, exclude_seen, deny, allow))
        return pl.concat([self.empty, *blocks])

    @property
    def empty(self) -> pl.DataFrame:
        """What its lists look like."""
        return PROVEN if self.searches_in_torch and self.language_model().decoding.proves else EMPTY

    def recommend_blocks(
        self,
        rows: Histories,
        k: int = 10,
        exclude_seen: bool = True,
        deny: Iterable[Any] | None = None,
        allow: Iterable[str] | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The same for any number of users, a block of them at a time."""
        if k < 1:
            raise ConfigError(f"k must be at least 1, found {k}")
        denied = self.read_denied(deny, len(rows))
        closed = self.read_closed(allow)
        family = self.widen(k, closed)
        for start in range(0, len(rows), self.block):
            stop = min(start + self.block, len(rows))
            block = rows.take(start, stop)
            without = [denied_of(denied, row) for row in range(start, stop)]
            if exclude_seen:
                for row, items in enumerate(without):
                    items.append(block.item[block.offset[row] : block.offset[row + 1]])
            lists = [np.concatenate([*items, closed[:0]]) for items in without]
            yield self.recommend_block(family, block, k, lists, closed)

    def recommend_block(
        self, family: Family, block: Histories, k: int, without: list[np.ndarray], closed: np.ndarray
    ) -> pl.DataFrame:
        ranked = self.rank_block(family, block, k, without, closed)
        return self.frame(block, *ranked)

    def rank_block(
        self, family: Family, block: Histories, k: int, without: list[np.ndarray], closed: np.ndarray
    ) -> Ranked:
        """Lists of E users, which hold no item of `closed` and, each, none of its `without` (item numbers).

        `family` is `widen(k, closed)`.
        """
        cold = np.diff(block.offset) == 0  # (E,)
        item, score = np.full((len(block), k), -1, dtype=np.int32), np.full((len(block), k), -np.inf, dtype=np.float32)
        bound = np.full(len(block), -np.inf, dtype=np.float32)  # a popular list is what it says
        retired = [] if self.allowed is None else [np.flatnonzero(~self.allowed)]
        here = [] if self.searches_in_torch else [closed]
        for rows, ranker, more in ((~cold, family, here), (cold, fit_popular(self.train_count), [closed, *retired])):
            if not rows.any():
                continue
            numbers = np.flatnonzero(rows)
            lists = [np.concatenate([without[row], *more]) for row in numbers]
            excluded = exclude(lists) if any(map(len, lists)) else None
            examples = block.select(numbers).examples(self.max_history, excluded)
            found = ranker.recommend(examples, k)
            item[numbers], score[numbers] = found.item, found.score
            if found.bound is not None:
                bound[numbers] = found.bound
        return Ranked(item, score, cold, bound)

    def score_all(self, block: Histories, without: list[np.ndarray], closed: np.ndarray) -> np.ndarray:
        """(E, N) scores of all items, as `rank_block` scores what it lists; -inf for what may not be listed.

        A language model's are exact, at the cost of scoring the whole catalogue.
        """
        count = len(self.catalog)
        family = self.widen(count, closed)
        if isinstance(family, Searching):
            family = family.exactly()
        ranked = self.rank_block(family, block, count, without, closed)
        scores = np.full((len(block), count), -np.inf)
        row, place = np.nonzero(ranked.item >= 0)
        scores[row, ranked.item[row, place]] = ranked.score[row, place]
        return scores

    def frame(
        self, block: Histories, item: np.ndarray, score: np.ndarray, cold: np.ndarray, bound: np.ndarray
    ) -> pl.DataFrame:
        """Lists (E, k) as rows of a frame."""
        row, place = np.nonzero(item >= 0)
        number = item[row, place].astype(np.int64)
        texts = (block.name[row], self.catalog.item_id[number], self.catalog.title[number], self.sid_texts[number])
        user, item_id, title, sid = (text.tolist() for text in texts)
        columns = (user, place + 1, item_id, title, score[row, place], sid, cold[row])
        lists = pl.DataFrame(dict(zip(EMPTY.columns, columns, strict=True)), schema=EMPTY.schema)
        if "exact" not in self.empty.columns:
            return lists
        exact = np.isneginf(bound)
        open_ = pl.Series(np.where(exact, 0, bound)[row], dtype=pl.Float32)
        return lists.with_columns(exact=pl.Series(exact[row])).with_columns(
            bound=pl.when(pl.col("exact")).then(None).otherwise(open_)
        )

    @cached_property
    def sid_texts(self) -> np.ndarray:
        """(N,) "<a_12><b_3>"; None where the run has no SIDs."""
        texts = np.full(len(self.catalog), None, dtype=object)
        if self.index is not None:
            texts[:] = [self.index.text(item) for item in range(len(self.catalog))]
        return texts

    def widen(self, k: int, closed: np.ndarray) -> Family:
        """The family, able to list k items beside the `closed` ones.

        A language model ranks as many items as it has beams; in torch closed items are counted once, not row by row.
        """
        if self.searches_in_torch:
            model = self.language_model().widen(k)
            return model.list_only(~np.isin(np.arange(len(self.catalog)), closed)) if len(closed) else model
        return self.family.widen(k) if isinstance(self.family, Widening) else self.family

    # Ids

    @cached_property
    def items(self) -> Ids:
        return make_ids("item", self.catalog.item_id, str(self.place))

    @cached_property
    def users(self) -> Ids | None:
        return make_ids("user", self.sequences.user_id, str(self.place)) if self.sequences else None

    def read_histories(
        self,
        histories: Any = None,
        users: Iterable[str] | None = None,
        numbers: Sequence[Sequence[int]] | None = None,
        skip_unknown: bool = False,
    ) -> Histories:
        """What `recommend` takes, as item numbers."""
        if isinstance(users, str):
            raise ConfigError(f"users must be a list of ids, found the string {users!r}; write [{users!r}]")
        if (histories is not None) + (numbers is not None) > 1:
            raise ConfigError("histories and numbers exclude each other; pass one of them")
        if numbers is not None:
            return read_numbers(numbers, len(self.catalog), users)
        if histories is None:
            return self.find_users(users)
        frame = to_polars(histories, "histories") if is_frame(histories) else None
        if frame is None:
            return read_lists(check_lists(histories), self.items, users, skip_unknown)
        if users is not None:
            raise ConfigError("a frame names its users itself; leave `users` out, or filter the frame")
        return read_frame(frame, self.items, skip_unknown)

    def find_users(self, users: Iterable[str] | None) -> Histories:
        """Users of the run, by all that they had."""
        if users is None:
            raise ConfigError("whom for? pass histories (lists of item ids, or a frame of events), or users of the run")
        if self.users is None or self.sequences is None:
            raise ConfigError(f"{self.place} is a model without its run, and knows no users; pass their histories")
        names = read_ids(users, "users")
        number = self.users.require(names)
        begin, end = self.sequences.offset[number], self.sequences.offset[number + 1]
        item = self.sequences.item[ranges(begin, end - begin)].astype(np.int32)
        offset = np.concatenate([[0], np.cumsum(end - begin)]).astype(np.int64)
        return Histories(names.to_numpy().astype(object), item, offset, number.astype(np.int32))

    def all_users(self) -> Histories:
        if self.sequences is None:
            raise ConfigError(f"{self.place} is a model without its run, and knows no users; pass their histories")
        number = np.arange(len(self.sequences), dtype=np.int32)
        names = self.sequences.user_id.astype(object)
        return Histories(names, self.sequences.item, self.sequences.offset, number)

    def read_denied(self, deny: Iterable[Any] | None, rows: int) -> list[np.ndarray]:
        """Numbers that nobody gets, as one array, or an array a row."""
        if deny is None:
            return []
        words = list(refuse_string(deny, "deny"))
        if all(isinstance(word, str) for word in words):
            return [self.items.require(read_ids(words, "deny"))]
        if len(words) != rows:
            raise ConfigError(f"deny has lists for {len(words)} users, there are {rows}; one a user, or one flat list")
        return [self.items.require(read_ids(refuse_string(row, "deny"), "deny")) for row in words]

    def read_closed(self, allow: Iterable[str] | None) -> np.ndarray:
        """Numbers of the items that are not among the allowed ones."""
        if allow is None:
            return np.zeros(0, dtype=np.int32)
        numbers = self.items.require(read_ids(refuse_string(allow, "allow"), "allow"))
        if not len(numbers):
            raise ConfigError("allow holds no item, so nothing could be listed; leave it out to allow all")
        return np.setdiff1d(np.arange(len(self.catalog), dtype=np.int32), numbers)

    def find_titles(self, titles: Iterable[str]) -> list[TitleMatch]:
        """The item of each title, or of the nearest one."""
        return find_titles(list(refuse_string(titles, "titles")), self.catalog.title, self.train_count)

    # Why

    def rank(self, history: Iterable[str], item: str, exclude_seen: bool = True) -> Rank:
        """Where an item stands among all that this history (ids, oldest first) may get, beyond any list.

        All that scores above it is read, at most `frontier_budget` prefixes: where that ends first the rank is at least
        what was counted, and `exact` is False.
        """
        model = self.language_model()
        number = self.items.require(read_ids([item], "item"))[:1]
        row = read_lists([refuse_string(history, "history")], self.items, None, skip=False)
        excluded = exclude([row.item]) if exclude_seen and len(row.item) else None
        found = model.rank(row.examples(self.max_history, excluded), number)
        if not int(found.rank[0]):
            return Rank(None, True, None)
        return Rank(int(found.rank[0]), bool(found.exact[0]), float(found.score[0]))

    @property
    def is_language_model(self) -> bool:
        return self.model in ("sft", "rl", "sft_exact", "rl_exact")

    @property
    def searches_in_torch(self) -> bool:
        """A language model whose lists do not come from an export by beams."""
        return self.is_language_model and not isinstance(self.family, ExportedRecommender)

    def language_model(self) -> GenerativeRecommender:
        if isinstance(self.family, ExportedRecommender):
            raise ConfigError(
                f"explain needs backend torch, ranking exact or a frontier; {self.place} is answered without torch"
            )
        from genrec.models.generative import GenerativeRecommender

        if not isinstance(self.family, GenerativeRecommender):
            raise ConfigError(f"'{self.model}' has no semantic IDs to explain; load a language model (sft, rl)")
        return self.family

    def explain(self, history: Iterable[str], item: str) -> pl.DataFrame:
        """Why an item after a history (ids, oldest first): level, code, probability, items, words, categories.

        `probability` is that of the code after those before it, under the normalization of the lists; their product is
        exp of the item's score. `items` counts the items whose path begins so, `words` and `categories` are the
        commonest among these that are rarer elsewhere.
        """
        model, index = self.language_model(), self.index
        assert index is not None, "a language model has semantic IDs"
        number = int(self.items.require(read_ids([item], "item"))[0])
        row = read_lists([refuse_string(history, "history")], self.items, None, skip=False)
        levels = model.score_levels(row.examples(self.max_history, None), number)
        length = int((index.codes[number] >= 0).sum())
        meaning = describe_codes(self.catalog, index, number)
        return meaning.with_columns(probability=pl.Series(np.exp(levels[:length]), dtype=pl.Float64)).select(
            "level", "code", "probability", "items", "words", "categories"
        )


def denied_of(denied: list[np.ndarray], row: int) -> list[np.ndarray]:
    """One list for all, or that of the row; a list of the caller's own."""
    return list(denied) if len(denied) < 2 else [denied[row]]


def check_lists(histories: Any) -> Sequence[Any]:
    if isinstance(histories, str | dict) or not isinstance(histories, Iterable):
        raise ConfigError(
            f"histories must be lists of item ids, one a user, or a frame of events; found {type(histories).__name__}"
        )
    lists = list(histories)
    if lists and isinstance(lists[0], str):
        raise ConfigError(f"histories must be a list a user; of one user write [[{lists[0]!r}, ...]]")
    return lists


def refuse_string(ids: Iterable[Any], name: str) -> Iterable[Any]:
    if isinstance(ids, str):
        raise ConfigError(f"{name} must be a list of strings, found the string {ids!r:.60}; write [{ids!r:.60}]")
    return ids
