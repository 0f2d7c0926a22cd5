"""A language model that recommends: prompts in, ranked items out, by constrained beam search over the catalogue.

E examples, k cut-off, K beams
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genrec.artifacts import ITEMS, SID_INDEX
from genrec.config import Evaluation
from genrec.data.lists import list_items, order_longest_first
from genrec.data.prepared import Prepared
from genrec.data.prompts import Encoder
from genrec.data.sequences import Examples
from genrec.data.shop import Shop
from genrec.data.tasks import Texts, make_texts
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import Recommendations
from genrec.models.beam import NEVER, beam_search, score_children
from genrec.models.card import Card, check_card, check_prompts, load_card, load_own_index, prompts_of_evaluation
from genrec.models.exact import exact_search, tokens_within
from genrec.models.language import load_pretrained, sid_vocabulary
from genrec.models.loading import count_weights
from genrec.models.passes import Runtime, read_tokens
from genrec.models.sid_prompts import SidPrompts, SidTokens
from genrec.models.token_tree import takes_trees
from genrec.models.trie import Filter, build_trie, make_filter
from genrec.runtime.device import pick_device, pick_dtype
from genrec.sids import load_index
from genrec.store import RunStore


@dataclass(frozen=True)
class Decoding:
    """How ranked lists are made."""

    num_beams: int
    batch_size: int = 16
    normalization: str = "vocab"
    exact: bool = False  # score every item instead of searching by beams
    exact_memory: float = 1.0  # GiB that a pass of it may take


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
        self, examples: Examples, k: int, decoding: Decoding, allowed: np.ndarray | None = None
    ) -> Recommendations:
        """The best k items of each example; `allowed` (N,) bool leaves items out for all, `excluded` for each row."""
        prompts = self.prompts(examples)
        item = np.full((len(prompts), k), -1, dtype=np.int32)
        score = np.full((len(prompts), k), -np.inf, dtype=np.float32)
        order = order_longest_first(prompts)
        self.model.eval()
        for start in range(0, len(order), decoding.batch_size):
            rows = order[start : start + decoding.batch_size]
            batch, excluded = [prompts[row] for row in rows], examples.take(rows).excluded
            denied = np.full((len(rows), 0), -1) if excluded is None else excluded.items()  # (B, P)
            leaves, scores = self.search(batch, denied, k, decoding, allowed)
            if bool(torch.isnan(scores).any()):
                raise ArtifactError("the language model gives scores that are no numbers; train it anew with --clean")
            lists = zip(rows, leaves.cpu().numpy(), scores.float().cpu().numpy(), denied, strict=True)
            for row, leaf, value, without in lists:
                item[row], score[row] = self.items_of(leaf, value, k, allowed, without)
        return Recommendations(item, score)

    def search(
        self, prompts: list[list[int]], denied: np.ndarray, k: int, decoding: Decoding, allowed: np.ndarray | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Leaves and scores of one batch, (B, num_beams), or (B, k) of an exact ranking."""
        device = self.model.device
        only = make_filter(
            self.trie,
            None if allowed is None else torch.from_numpy(allowed).to(device),
            torch.from_numpy(denied).to(device) if denied.shape[1] else None,
        )
        if decoding.exact and not self.trees:
            raise ArtifactError(
                f"a model of type {self.model.config.model_type} does not take a 4-D attention mask, "
                "which exact ranking rests on; use --evaluation.ranking beam"
            )
        if decoding.exact:
            budget = tokens_within(int(decoding.exact_memory * 2**30), self.model, self.trie, prompts)
            return exact_search(self.model, self.trie, self.sids, prompts, k, decoding.normalization, only, budget)
        return beam_search(
            self.model,
            self.trie,
            self.sids,
            prompts,
            decoding.num_beams,
            decoding.normalization,
            only,
            self.trees,
        )

    @torch.inference_mode()
    def score_levels(self, prompt: list[int], item: int, normalization: str, only: Filter | None) -> np.ndarray:
        """(L,) log-probability of each code of an item, its codes before it read."""
        trie, device = self.trie, self.model.device
        place = int(torch.argsort(trie.item)[item])
        nodes = [int(torch.searchsorted(under, place, right=True)) - 1 for under in trie.under]  # a depth, root first
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
        return list_items(leaf[listed], score[listed], self.under, self.item, k, left_out)


class GenerativeRecommender:
    """A GenerativeModel with the settings of one evaluation, behind the face all families share."""

    def __init__(self, model: GenerativeModel, decoding: Decoding, allowed: np.ndarray | None = None):
        self.model = model
        self.decoding = decoding
        self.allowed = allowed

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        return self.model.recommend(examples, k, self.decoding, self.allowed)

    def widen(self, k: int) -> GenerativeRecommender:
        """The same with at least k beams, so that k items can be found."""
        decoding = replace(self.decoding, num_beams=max(self.decoding.num_beams, k))
        return GenerativeRecommender(self.model, decoding, self.allowed)

    def score_levels(self, examples: Examples, item: int) -> np.ndarray:
        """(L,) log-probability of each code of an item after the one row of `examples`, taught the codes before it.

        Under the settings of the lists, so their sum is the score that a beam of this item has; 0 where its SID has
        ended.
        """
        only = None
        if self.allowed is not None:
            only = make_filter(self.model.trie, torch.from_numpy(self.allowed).to(self.model.model.device), None)
        return self.model.score_levels(self.model.prompts(examples)[0], item, self.decoding.normalization, only)


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
    return make_recommender(model_dir, texts, card.cutoff_len, settings, device_name, exact, allowed)


def load_alone(
    model_dir: Path, card: Card, shop: Shop, settings: Evaluation, device_name: str, exact: bool = False
) -> GenerativeRecommender:
    """The same without the run, by what the directory says of the shop; the card's files were checked."""
    check_prompts(model_dir, card)
    index = load_index(model_dir / SID_INDEX)
    if len(index) != len(shop.catalog):
        raise ArtifactError(
            f"{model_dir}: {SID_INDEX} is of {len(index):,} items, {ITEMS} of {len(shop.catalog):,}; get both again"
        )
    profile = shop.profile(list(card.profile))
    texts = Texts(shop.catalog, index, card.source, profile, given_wording=card.wording)
    return make_recommender(model_dir, texts, card.cutoff_len, settings, device_name, exact, None)


def make_recommender(
    model_dir: Path,
    texts: Texts,
    cutoff_len: int,
    settings: Evaluation,
    device_name: str,
    exact: bool,
    allowed: np.ndarray | None,
) -> GenerativeRecommender:
    device = pick_device(device_name)
    dtype = pick_dtype(settings.dtype, device, count_weights(model_dir))
    model, tokenizer = load_pretrained(str(model_dir), dtype)
    generative = GenerativeModel(model.to(device), tokenizer, texts, cutoff_len)
    return GenerativeRecommender(generative, make_decoding(settings, exact), allowed)


def make_decoding(settings: Evaluation, exact: bool) -> Decoding:
    knobs = ("num_beams", "batch_size", "normalization", "exact_memory")
    return Decoding(exact=exact, **{name: getattr(settings, name) for name in knobs})
