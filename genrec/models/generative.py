"""A language model that recommends: prompts in, ranked items out, by constrained beam search over the catalogue.

E examples, k cut-off, K beams
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec.config import Evaluation
from genrec.data.lists import items_of_leaves, order_longest_first
from genrec.data.prepared import Prepared
from genrec.data.prompts import Encoder
from genrec.data.sequences import Examples
from genrec.data.shop import Shop
from genrec.data.tasks import Texts, make_texts
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.metrics import Recommendations, TargetRanks
from genrec.models.beam import NEVER, beam_search, score_children
from genrec.models.card import (
    Card,
    check_card,
    load_card,
    load_own_index,
    load_own_texts,
    prompts_of_evaluation,
)
from genrec.models.cold_items import ColdItems, load_cold_items
from genrec.models.exact import rank_exactly, tokens_within
from genrec.models.frontier import frontier_search
from genrec.models.language import load_pretrained, sid_vocabulary
from genrec.models.loading import count_weights
from genrec.models.passes import Runtime, read_tokens
from genrec.models.sid_prompts import SidPrompts, SidTokens
from genrec.models.target_rank import Ranks, rank_targets
from genrec.models.token_tree import takes_trees
from genrec.models.trie import Filter, allow_items, build_trie, deny_items, list_items
from genrec.runtime.device import pick_device, pick_dtype
from genrec.store import RunStore


@dataclass(frozen=True)
class Decoding:
    """How ranked lists are made."""

    num_beams: int
    batch_size: int = 16
    normalization: str = "vocab"
    decoding: str = "beam"  # or "frontier"
    frontier_budget: int = 1000  # prefixes of a prompt that a frontier may read
    exact: bool = False  # score every item instead of searching by beams
    exact_memory: float = 1.0  # GiB that a pass of it may take

    @property
    def proves(self) -> bool:
        """Whether lists say how far they are proven."""
        return self.decoding == "frontier" and not self.exact


class Answers(NamedTuple):
    """Ranked leaves of one batch."""

    leaf: torch.Tensor  # (B, K)
    score: torch.Tensor  # (B, K)
    bound: torch.Tensor | None = None  # (B,) of a frontier: no item that is not listed scores above it


@dataclass(frozen=True)
class Allowed:
    """What may be recommended to anyone, counted once for all batches."""

    items: np.ndarray  # (N,) bool
    only: Filter


class GenerativeModel:
    """A language model, its tokenizer and the SIDs it answers in."""

    def __init__(
        self, model: PreTrainedModel | Runtime, tokenizer: PreTrainedTokenizerBase, texts: Texts, cutoff_len: int
    ):
        self.model = model
        self.texts = texts
        self.trees = not isinstance(model, nn.Module) or takes_trees(model)
        self.trie = build_trie(texts.index).to(model.device)
        sids = sid_vocabulary(tokenizer, texts.index)
        self.sids = sids.to(model.device)
        self.sid_prompts = SidPrompts(texts, SidTokens(texts.index, sids), Encoder(tokenizer), cutoff_len)
        self.under = self.trie.under[-1].cpu().numpy()  # items of leaf i are item[under[i]:under[i + 1]]
        self.item = self.trie.item.cpu().numpy()

    def prompts(self, examples: Examples) -> list[list[int]]:
        """Token ids of each prompt."""
        return self.sid_prompts.make(examples.history, examples.user)

    def recommend(
        self, examples: Examples, k: int, decoding: Decoding, allowed: Allowed | None = None
    ) -> Recommendations:
        """The best k items of each example; `allowed` leaves items out for all, `excluded` for each row."""
        prompts = self.prompts(examples)
        item = np.full((len(prompts), k), -1, dtype=np.int32)
        score = np.full((len(prompts), k), -np.inf, dtype=np.float32)
        bound = np.full(len(prompts), -np.inf, dtype=np.float32) if decoding.proves else None
        order = order_longest_first(prompts)
        self.model.eval()
        for start in range(0, len(order), decoding.batch_size):
            rows = order[start : start + decoding.batch_size]
            batch, excluded = [prompts[row] for row in rows], examples.take(rows).excluded
            denied = np.full((len(rows), 0), -1) if excluded is None else excluded.items()  # (B, P)
            leaves, scores, bounds = self.search(batch, denied, k, decoding, allowed and allowed.only)
            if bool(torch.isnan(scores if bounds is None else bounds).any()):
                raise ArtifactError("the language model gives scores that are no numbers; train it anew with --clean")
            lists = zip(rows, leaves.cpu().numpy(), scores.float().cpu().numpy(), denied, strict=True)
            for row, leaf, value, without in lists:
                item[row], score[row] = self.items_of(leaf, value, k, allowed and allowed.items, without)
            if bound is not None and bounds is not None:
                bound[rows] = bounds.masked_fill(bounds < NEVER / 2, -torch.inf).cpu().numpy()
        return Recommendations(item, score, bound)

    def allow(self, items: np.ndarray) -> Allowed:
        """(N,) bool, what anyone may get, counted once for all batches."""
        return Allowed(items, allow_items(self.trie, torch.from_numpy(items).to(self.trie.item.device)))

    def search(
        self, prompts: list[list[int]], denied: np.ndarray, k: int, decoding: Decoding, only: Filter | None
    ) -> Answers:
        """Leaves and scores of one batch, (B, num_beams), or (B, k) of a frontier or an exact ranking."""
        if denied.shape[1]:
            only = deny_items(self.trie, only, torch.from_numpy(denied).to(self.model.device))
        asked = (self.model, self.trie, self.sids, prompts)
        if not (decoding.exact or decoding.proves):
            return Answers(*beam_search(*asked, decoding.num_beams, decoding.normalization, only, self.trees))
        what, way = ("exact ranking", "ranking") if decoding.exact else ("a frontier", "decoding")
        self.require_trees(what, f"use --evaluation.{way} beam")
        if decoding.exact:
            tokens = tokens_within(int(decoding.exact_memory * 2**30), self.model, self.trie, prompts)
            return Answers(*rank_exactly(*asked, k, decoding.normalization, only, tokens))
        found = frontier_search(*asked, k, decoding.normalization, only, decoding.frontier_budget)
        return Answers(found.leaf, found.score, found.bound)

    def require_trees(self, what: str, instead: str) -> None:
        if not self.trees:
            raise ArtifactError(
                f"a model of type {self.model.config.model_type} does not take a 4-D attention mask, "
                f"which {what} rests on; {instead}"
            )

    def rank(self, examples: Examples, items: np.ndarray, decoding: Decoding, only: Filter | None) -> Ranks:
        """Where one item of each example (E,) stands among all; `excluded` as in `recommend`. One batch."""
        self.require_trees("the rank of an item", "look for it in longer lists")
        self.model.eval()
        if examples.excluded is not None:
            denied = torch.from_numpy(examples.excluded.items()).to(self.model.device)
            only = deny_items(self.trie, only, denied)
        target = torch.from_numpy(items.astype(np.int64)).to(self.model.device)
        asked = (self.model, self.trie, self.sids, self.prompts(examples), target, decoding.normalization, only)
        ranks = rank_targets(*asked, budget=decoding.frontier_budget)
        if bool(torch.isnan(ranks.score).any()):
            raise ArtifactError("the language model gives scores that are no numbers; train it anew with --clean")
        return ranks

    @torch.inference_mode()
    def score_levels(self, prompt: list[int], item: int, normalization: str, only: Filter | None) -> np.ndarray:
        """(L,) log-probability of each code of an item, its codes before it read."""
        trie, device = self.trie, self.model.device
        nodes = [int(node) for node in trie.nodes_to(torch.tensor(item, device=device))]
        codes = [int(trie.code[depth][node]) for depth, node in enumerate(nodes[1:])]
        tokens = [int(self.sids.level(depth)[max(code, 0)]) for depth, code in enumerate(codes)]
        ids = torch.tensor([prompt + tokens[:-1]], device=device)
        self.model.eval()
        hidden = read_tokens(self.model, ids)[0][:, len(prompt) - 1 :]  # (1, L, d)
        scores = []
        for depth in range(trie.num_levels):
            here = torch.tensor([[nodes[depth]]], device=device)
            state = hidden[:, depth : depth + 1]
            child, _, score = score_children(
                self.model, trie, self.sids, here, state, depth, normalization, only
            )  # (1, 1, W)
            scores.append(float(score[child == nodes[depth + 1]].max()))
        return np.array(scores)

    def items_of(
        self, leaf: np.ndarray, score: np.ndarray, k: int, allowed: np.ndarray | None, denied: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Leaves (K,) of one example -> its k items and scores, ties by item number; -1 and -inf past the last."""
        listed = score > NEVER / 2
        left_out = denied if allowed is None else np.concatenate([denied, np.flatnonzero(~allowed)])
        return items_of_leaves(leaf[listed], score[listed], self.under, self.item, k, left_out)


@dataclass(frozen=True, eq=False)
class GenerativeRecommender:
    """A GenerativeModel with the settings of one evaluation, behind the face all families share."""

    model: GenerativeModel
    decoding: Decoding
    allowed: Allowed | None = None
    cold_items: ColdItems | None = None

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        lists = self.model.recommend(examples, k, self.decoding, self.allowed)
        if self.cold_items is None:
            return lists
        return self.cold_items.mix(lists, examples, self.allowed and self.allowed.items)

    def widen(self, k: int) -> GenerativeRecommender:
        """The same with at least k beams, so that k items can be found."""
        return replace(self, decoding=replace(self.decoding, num_beams=max(self.decoding.num_beams, k)))

    def exactly(self) -> GenerativeRecommender:
        """The same with every item scored."""
        return replace(self, decoding=replace(self.decoding, exact=True))

    def list_only(self, items: np.ndarray) -> GenerativeRecommender:
        """The same where lists hold nothing but some items, (N,) bool; scores stay as they are."""
        allowed, trie = self.allowed, self.model.trie
        only = list_items(trie, allowed and allowed.only, torch.from_numpy(items).to(trie.item.device))
        items = items if allowed is None else items & allowed.items
        return replace(self, allowed=Allowed(items, only))

    def rank(self, examples: Examples, items: np.ndarray) -> Ranks:
        """Where one item of each example (E,) stands, as far as `frontier_budget` goes. One batch."""
        self.refuse_mixture("the rank of an item")
        return self.model.rank(examples, items, self.decoding, self.allowed and self.allowed.only)

    def rank_targets(self, examples: Examples) -> TargetRanks:
        """The same of each example's target, in batches of prompts of like length."""
        rank, exact = np.zeros(len(examples), dtype=np.int64), np.zeros(len(examples), dtype=bool)
        order, size = order_longest_first(self.model.prompts(examples)), self.decoding.batch_size
        for rows in (order[start : start + size] for start in range(0, len(order), size)):
            batch = examples.take(rows)
            found = self.rank(batch, batch.target)
            rank[rows], exact[rows] = found.rank.cpu().numpy(), found.exact.cpu().numpy()
        return TargetRanks(rank, exact)

    def score_levels(self, examples: Examples, item: int) -> np.ndarray:
        """(L,) log-probability of each code of an item after the one row of `examples`, taught the codes before it.

        Under the settings of the lists, so their sum is the score that a beam of this item has; 0 where its SID has
        ended.
        """
        self.refuse_mixture("what is explained")
        only = self.allowed and self.allowed.only
        return self.model.score_levels(self.model.prompts(examples)[0], item, self.decoding.normalization, only)

    def refuse_mixture(self, what: str) -> None:
        if self.cold_items is not None:
            raise ConfigError(
                f"{what} is the model's own, and these lists hold cold items by their texts too "
                f"(cold_share {self.cold_items.share}); ask with cold_share 0"
            )


def load_generative(
    model_dir: Path, store: RunStore, data: Prepared, settings: Evaluation, device_name: str, exact: bool = False
) -> GenerativeRecommender:
    """A model directory -> something that recommends under the settings of `evaluate`."""
    card = load_card(model_dir)
    check_card(model_dir, card, store, prompts_of_evaluation(card))
    index, allowed = load_own_index(model_dir, store), None
    if settings.index == "sids_grown":
        grown = store.grown(index)
        index, allowed = grown.index, grown.allowed
    texts = make_texts(data, index, card.source, card.profile, card.wording)
    recommender = make_recommender(model_dir, texts, card.cutoff_len, settings, device_name, exact, allowed)
    if not settings.cold_share:
        return recommender
    return replace(recommender, cold_items=load_cold_items(store, len(index), data.train_count, settings.cold_share))


def load_alone(
    model_dir: Path, card: Card, shop: Shop, settings: Evaluation, device_name: str, exact: bool = False
) -> GenerativeRecommender:
    """The same without the run, by what the directory says of the shop; the card's files were checked."""
    texts = load_own_texts(model_dir, card, shop)
    return make_recommender(model_dir, texts, card.cutoff_len, settings, device_name, exact)


def make_recommender(
    model_dir: Path,
    texts: Texts,
    cutoff_len: int,
    settings: Evaluation,
    device_name: str,
    exact: bool,
    allowed: np.ndarray | None = None,
) -> GenerativeRecommender:
    device = pick_device(device_name)
    dtype = pick_dtype(settings.dtype, device, count_weights(model_dir))
    model, tokenizer = load_pretrained(str(model_dir), dtype)
    generative = GenerativeModel(model.to(device), tokenizer, texts, cutoff_len)
    only = None if allowed is None else generative.allow(allowed)
    return GenerativeRecommender(generative, make_decoding(settings, exact), only)


def make_decoding(settings: Evaluation, exact: bool) -> Decoding:
    knobs = ("num_beams", "batch_size", "normalization", "exact_memory", "decoding", "frontier_budget")
    return Decoding(exact=exact, **{name: getattr(settings, name) for name in knobs})
