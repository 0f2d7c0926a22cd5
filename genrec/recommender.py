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

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import polars as pl

from genrec import artifacts
from genrec.artifacts import read_manifest
from genrec.config import Evaluation
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
from genrec.data.shop import Shop, load_shop
from genrec.data.titles import TitleMatch, find_titles
from genrec.errors import ArtifactError, ConfigError, suggest
from genrec.models.card import Card, check_files, load_card
from genrec.models.exported import GRAPHS, ExportedRecommender, check_backend, load_export, load_exported
from genrec.models.families import FAMILIES, Request, Searching, Widening, find_family
from genrec.models.families import Recommender as Family
from genrec.models.hub import fetch_model, is_hub_name
from genrec.models.popular import fit_popular
from genrec.pipeline import FAMILY_READS, command_of, keep_word
from genrec.plugins import BASELINE, is_plugin, offered_names
from genrec.run_choice import is_run
from genrec.runtime.training_record import is_unchanged
from genrec.sids import SidIndex, load_index
from genrec.store import RunStore, list_sids
from genrec.verify import verify_files

if TYPE_CHECKING:
    from genrec.data.prepared import Prepared
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
BATCHES = 8  # that are ranked between two frames: as many rows as evaluation ranks at once
LANGUAGE_MODELS = ("rl", "sft")  # what is taken of a run, the first that helped


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


# Loading


def load(
    place: str | Path,
    model: str | None = None,
    device: str = "auto",
    ranking: Literal["beam", "exact"] = "beam",
    backend: str | None = None,
    **decoding: Any,
) -> Recommender:
    """A run, a model directory, an export or a name of the hub -> Recommender.

    `model`: any family that evaluation scores (sft, rl, sasrec, item_knn, ...); of a run it is rl where RL helped, else
    sft. `ranking` exact scores every item. `backend`: torch, or of an export (of a run that has one too) onnx,
    onnx-int8 or onnx-int4, which by beams need neither torch nor transformers; an export that names none is answered by
    onnx. `decoding`: decoding (beam or frontier), num_beams, frontier_budget, batch_size, normalization, index,
    exact_memory, dtype; what is not given is as the run was evaluated, else as the model was taught. ArtifactError
    names what is missing.
    """
    directory = Path(place)
    if backend not in (None, *BACKENDS):
        raise ConfigError(f"no backend '{backend}'{suggest(str(backend), BACKENDS)}; there are: {', '.join(BACKENDS)}")
    if unknown := sorted(set(decoding) - set(DECODING)):
        raise ConfigError(
            f"load takes no '{unknown[0]}'{suggest(unknown[0], DECODING)}; it takes {', '.join(DECODING)}"
        )
    if ranking not in ("beam", "exact"):
        raise ConfigError(f"ranking must be beam or exact, found {ranking!r}")
    if is_run(directory):
        if backend in GRAPHS:
            return load_export_of_run(directory, model, backend, ranking, decoding)
        return load_run(directory, model, device, ranking, decoding)
    if not directory.exists() and is_hub_name(str(place)):
        directory = fetch_model(str(place))
    elif not directory.exists():
        raise ArtifactError(f"{place} is not there; name a run, a model directory, or a model of the hub, OWNER/NAME")
    if not (directory / artifacts.CARD).exists() and not (directory / "config.json").exists():
        raise ArtifactError(
            f"{directory} is neither a run (no stage's artifact is in it) nor a model directory (no {artifacts.CARD})"
        )
    if model is not None:
        raise ConfigError(f"{place} is one model, of which model={model!r} says nothing; leave it out, or name the run")
    if backend is None:
        backend = "onnx" if (directory / artifacts.EXPORT).exists() else "torch"
    return load_directory(directory, device, ranking, decoding, backend)


BACKENDS = ("torch", *GRAPHS)
DECODING = ("decoding", "num_beams", "frontier_budget", "batch_size", "normalization", "index", "exact_memory", "dtype")
ROW_SETTINGS = (
    *("decoding", "num_beams", "frontier_budget", "normalization", "index", "dtype"),
    *("ensemble_with", "ensemble_weight", "recent_share"),
)


WEIGHTS = (".safetensors", "config.json")


def check_weights(directory: Path, backend: str) -> None:
    """Of a copy from a run, whose manifest knows more than the card: its weights are those that were trained."""
    own = check_backend(directory, load_export(directory), backend) if backend in GRAPHS else ()
    if manifest := artifacts.read_manifest(directory):
        files = manifest.files.items()
        weights = {name: entry for name, entry in files if name in own or (not own and name.endswith(WEIGHTS))}
        verify_files(directory, weights, command_of(manifest.stage))


def load_directory(
    directory: Path, device: str, ranking: str, decoding: dict[str, Any], backend: str = "torch"
) -> Recommender:
    """A model directory or an export by itself."""
    card = load_card(directory)
    check_files(directory, card)
    check_weights(directory, backend)
    shop = load_shop(directory)
    if decoding.get("index") == "sids_grown":
        raise ConfigError(f"{directory} is a model without its run, and knows no new items; name the run")
    settings = make_settings({"normalization": card.normalization} | decoding)
    if backend in GRAPHS:
        if settings.dtype is not None:
            raise ConfigError(f"dtype {settings.dtype} is for backend torch; {backend} computes in its own numbers")
        name, family = load_export(directory).stage, load_graph(directory, card, shop, settings, backend, ranking)
        index = load_index(directory / artifacts.SID_INDEX)
    else:
        require_weights(directory)
        require_torch(directory)
        from genrec.models.generative import load_alone

        name, family = "sft", load_alone(directory, card, shop, settings, device, ranking == "exact")
        index = family.model.texts.index
    block, count = BATCHES * settings.batch_size, shop.train_count
    return Recommender(name, directory, family, shop.catalog, count, card.max_history, block, index)


def load_graph(
    directory: Path, card: Card, shop: Shop, settings: Evaluation, backend: str, ranking: str
) -> ExportedRecommender | GenerativeRecommender:
    """By beams in numpy; a frontier and exact ranking search in torch."""
    if ranking == settings.decoding == "beam":
        return load_exported(directory, card, shop, settings, backend)
    from genrec.models.onnx_decoder import load_searched

    return load_searched(directory, card, shop, settings, backend, ranking == "exact")


def require_weights(directory: Path) -> None:
    """An export without bfloat16 weights has nothing that torch could read."""
    if (directory / artifacts.EXPORT).exists() and "bfloat16" not in load_export(directory).files:
        raise ConfigError(
            f"{directory} has no weights for backend torch; it has {', '.join(load_export(directory).files)}"
        )


def require_torch(place: Path) -> None:
    """An install for exports alone has none."""
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(
            f"{place} is computed by torch, which is not installed; name a backend of an export ({', '.join(GRAPHS)}), "
            "or install genrec with all that it needs"
        )


def load_export_of_run(
    run: Path, model: str | None, backend: str, ranking: str, decoding: dict[str, Any]
) -> Recommender:
    """What `genrec export` made of a run, with the run's users; lists are made as the run's table was."""
    store = RunStore(run)
    directory = store.path("export")
    store.manifest("export")
    export = load_export(directory)
    if model not in (None, export.stage):
        raise ConfigError(f"{directory} was made of {export.stage}, found model '{model}'; leave it out")
    card = load_card(directory)
    row = f"{export.stage}_exact" if ranking == "exact" else export.stage
    shop = load_directory(directory, "cpu", ranking, settings_of_run(run, row, card) | decoding, backend)
    data = store.prepared()
    return replace(shop, place=run, sequences=data.sequences, max_history=data.max_history)


def load_run(run: Path, model: str | None, device: str, ranking: str, decoding: dict[str, Any]) -> Recommender:
    store = RunStore(run)
    name = choose_model(store) if model is None else model
    exact = f"{name}_exact"
    name = exact if ranking == "exact" and exact in FAMILIES else name
    if name not in (known := [*FAMILIES, *offered_names(BASELINE)]) and not is_plugin(name):
        raise ConfigError(f"no model '{name}'{suggest(name, known)}; there are: {', '.join(known)}; or module:function")
    reads = FAMILY_READS[name]
    for stage in (read for read in reads if read != "sids"):
        store.manifest(stage)
    card = None
    if "sids" in reads:
        require_torch(run)
        card = load_card(store.path(language_stage(name)))
    store = replace(store, sids=choose_sids(store, card))
    settings = make_settings(settings_of_run(run, name, card) | decoding)
    data = store.prepared()
    family = find_family(name)(Request(store, data, settings, device))
    return gather(store, name, family, data, settings)


def gather(store: RunStore, name: str, family: Family, data: Prepared, settings: Evaluation) -> Recommender:
    shop, index, allowed = data, None, None
    if store.sids:
        store.manifest("sids")
        index = store.index()
    if settings.index == "sids_grown" and index is not None:
        grown = store.grown(index)
        shop, index, allowed = store.with_new_items(data), grown.index, grown.allowed
    block = BATCHES * settings.batch_size
    catalog, count = shop.catalog, shop.train_count
    return Recommender(
        name, store.directory, family, catalog, count, data.max_history, block, index, data.sequences, allowed
    )


def language_stage(name: str) -> str:
    return "rl" if name.startswith("rl") else "sft"


def choose_model(store: RunStore) -> str:
    """rl where RL was kept, else sft."""
    trained = [name for name in LANGUAGE_MODELS if read_manifest(store.path(name))]
    if "rl" in trained and not ("sft" in trained and is_unchanged(store.path("rl"))):
        return "rl"
    if trained:
        return trained[-1]
    raise ArtifactError(
        f"{store.directory} has no language model yet; run first: {command_of('sft')} (with your other flags), or take "
        "what needs none: model item_knn, last_item or popular"
    )


def choose_sids(store: RunStore, card: Card | None) -> str:
    """The semantic IDs that the model answers in; of a model without any, those of the run where it has one kind."""
    names = list_sids(store.directory)
    if card is None:
        return names[0] if len(names) == 1 else ""
    manifests = {name: read_manifest(store.directory / "sids" / name) for name in names}
    fitting = [name for name, manifest in manifests.items() if manifest and manifest.fingerprint == card.sids]
    if not fitting:
        there = ", ".join(f"{name} {manifest.fingerprint}" for name, manifest in manifests.items() if manifest)
        raise ArtifactError(
            f"the model of {store.directory} was trained with sids {card.sids}, the run has {there or 'none'}; "
            f"train it anew: {command_of('sft')} --clean"
        )
    return fitting[0]


def settings_of_run(run: Path, name: str, card: Card | None) -> dict[str, Any]:
    """How the run's table ranked this model; where it has no such row, as the model was taught."""
    taught = {"normalization": card.normalization} if card else {}
    manifest = read_manifest(run / "evaluation" / keep_word(name))
    if manifest is None:
        return taught
    keys = {f"evaluation.{key}": key for key in ROW_SETTINGS}
    return taught | {short: manifest.config[key] for key, short in keys.items() if key in manifest.config}


def make_settings(values: dict[str, Any]) -> Evaluation:
    from genrec.config_checks import explain_errors

    with explain_errors(Evaluation):
        return Evaluation.model_validate(values)
