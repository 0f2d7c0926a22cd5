"""UR4Rec: SASRec over ids and a retriever over texts and images, fused by a learned, bounded gate.

B histories, T positions, P chosen positions, V ids (0 = padding), K experts, d width

    log p(i) = (1 - g) log p_sasrec(i) + g log p_retriever(i) + const,   0 < g < 1

Both are normalised over the whole catalogue before they meet, so neither can drown the other by its scale and an
item's score does not depend on which candidates stand beside it. The gate sees what both make of the history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from UR4Rec.data.content import Content
from UR4Rec.data.features import ItemFeatures
from UR4Rec.device import find_device
from UR4Rec.models.multimodal_retriever import MultimodalRetriever
from UR4Rec.models.preferences import Preferences, newest_texts
from UR4Rec.models.retriever import Frozen, Query, Retriever, Table
from UR4Rec.models.retriever_moe import EXPERTS, MoERetriever
from UR4Rec.models.sasrec import build_sasrec, check_ids
from UR4Rec.models.text_retriever import TextRetriever

SCORERS = ("sasrec", "retriever", "fused")
RETRIEVERS = ("moe", "text", "multimodal")


class Scores(NamedTuple):
    """Log-probabilities over all ids, (P, V) each; what was not asked for is None."""

    sasrec: Tensor | None = None
    retriever: Tensor | None = None
    fused: Tensor | None = None
    gate: Tensor | None = None  # (P,)


class RetrieverSettings(NamedTuple):
    """How a retriever is built, whatever vectors it is given."""

    name: str
    experts: tuple[str, ...]
    top_k: int
    shape: dict[str, Any]
    initial_gate: float


class HistoryStates(NamedTuple):
    """What SASRec and the retriever make of histories at P positions; None where no scorer needs it."""

    states: Tensor | None  # (P, d) of SASRec
    query: Query | None  # (P, K, ...) of the retriever

    def split(self, size: int) -> Iterator[HistoryStates]:
        """The same in runs of `size` positions."""
        P = len(self.states if self.query is None else self.query.weight)
        for begin in range(0, P, size):
            run = slice(begin, begin + size)
            states = None if self.states is None else self.states[run]
            yield HistoryStates(states, None if self.query is None else self.query.at(run))


class UR4RecV2(nn.Module):
    def __init__(
        self,
        num_items: int,
        sasrec_hidden_dim: int = 256,
        text_embedding_dim: int = 384,
        retriever_output_dim: int = 256,
        device: str | torch.device = "cpu",
        features: ItemFeatures | None = None,
        preferences: Preferences | None = None,
        retriever: str = "moe",
        experts: Collection[str] = EXPERTS,
        top_k: int = 0,
        sasrec_num_blocks: int = 2,
        sasrec_num_heads: int = 4,
        max_seq_len: int = 50,
        dropout: float = 0.3,
        initial_gate: float = 0.5,
    ):
        """`num_items` counts ids, the padding 0 included: len(item_metadata) + 1.

        Without `features` the moe retriever waits for what the first loader brings (`take_content`); until then, and
        without `experts`, it knows items by id alone. `text_embedding_dim` is the width of the texts.
        """
        super().__init__()
        self.num_items, self.max_seq_len, self.text_embedding_dim = num_items, max_seq_len, text_embedding_dim
        where = find_device(device)
        self.sasrec = build_sasrec(
            num_items, sasrec_hidden_dim, sasrec_num_blocks, sasrec_num_heads, max_seq_len, dropout
        )
        shape = {"dim": retriever_output_dim, "max_seq_len": max_seq_len, "dropout": dropout}
        self.retriever_settings = RetrieverSettings(retriever, tuple(experts), top_k, shape, initial_gate)
        self.missing: dict[str, str] = {}  # expert: why there is none
        self.awaits_content = features is None and retriever == "moe" and len(self.retriever_settings.experts) > 0
        self.build_retriever(features, preferences)
        self.to(where)

    def build_retriever(self, features: ItemFeatures | None, preferences: Preferences | None) -> None:
        """Retriever and gate anew, with the experts whose vectors are given."""
        check_features(self.num_items, self.text_embedding_dim, features, preferences)
        settings = self.retriever_settings._replace(**({"top_k": 0} if self.awaits_content else {}))
        self.retriever = build_retriever(settings, self.num_items, features, preferences)
        width = self.sasrec.shape.hidden_size
        self.fusion = Fusion(width, self.retriever.dim, len(self.retriever.experts), settings.initial_gate)
        read = preferences if "preference" in self.retriever.experts else None
        self.register_buffer("preference_row", torch.from_numpy(read.row) if read else None)
        self.register_buffer("preference_end", torch.from_numpy(read.end) if read else None)

    def take_content(self, content: Content) -> None:
        """Give the retriever what a collection has; before it has learned anything, for it begins anew."""
        self.missing = {name: why for name, why in content.missing.items() if name in self.retriever_settings.experts}
        self.awaits_content = False
        if content.features is not None:
            self.build_retriever(content.features, content.preferences)
            self.to(self.device)

    @property
    def device(self) -> torch.device:
        return self.sasrec.bias.device

    def describe(self) -> str:
        """What the retriever knows, in a line."""
        experts = list(self.retriever.experts)
        said = f"retriever: {len(experts)} expert{'s' if len(experts) > 1 else ''} ({', '.join(experts)})"
        if experts == ["ids"]:
            given = "" if self.missing else "no features or no experts given, so "
            said = f"retriever: {given}it knows items by id alone, no text"
        return "; ".join([said, *(f"no {name}: {why}" for name, why in self.missing.items())])

    def forward(
        self, input_seq: Tensor, user_index: Tensor | None = None, history_length: Tensor | None = None
    ) -> Tensor:
        """Ids (B, T), left-padded with 0 -> fused log-probabilities of what comes next (B, V).

        A model with texts of users needs `user_index` (B,) and `history_length` (B,), the user's events so far.
        """
        last = torch.zeros_like(input_seq, dtype=torch.bool)
        last[:, -1] = True
        states = self.encode(input_seq, last, user_index, history_length, SCORERS)
        return self.score(states, SCORERS).fused

    def encode(
        self,
        input_seq: Tensor,
        chosen: Tensor,
        user_index: Tensor | None,
        history_length: Tensor | None,
        scorers: Collection[str],
    ) -> HistoryStates:
        """Histories -> states at the chosen positions, (B, T) bool with P set; only what `scorers` need."""
        check_ids(input_seq, self.num_items)
        states = query = None
        if "sasrec" in scorers or "fused" in scorers:
            states = self.sasrec(input_seq)[chosen]
        if "retriever" in scorers or "fused" in scorers:
            query = self.retriever(input_seq, self.snapshots(input_seq, user_index, history_length)).at(chosen)
        return HistoryStates(states, query)

    def score(self, history: HistoryStates, scorers: Collection[str], table: Table | None = None) -> Scores:
        """Log-probabilities of every id. `table` is retriever.table(), for callers that score run by run."""
        states, query = history
        sasrec = None if states is None else self.sasrec.score(states).log_softmax(dim=-1)
        retriever = None if query is None else self.retriever.score(query, table).log_softmax(dim=-1)
        if "fused" not in scorers:
            return Scores(sasrec, retriever)
        gate = self.fusion(states, self.retriever.user_vector(query), query.weight)  # (P,)
        return Scores(sasrec, retriever, fuse(sasrec, retriever, gate), gate)

    def snapshots(self, input_seq: Tensor, user_index: Tensor | None, history_length: Tensor | None) -> Tensor | None:
        """The text of the user that may be read at each position, (B, T); None without texts of users."""
        if self.preference_row is None:
            return None
        if user_index is None or history_length is None:
            raise ValueError("this model reads texts of users; it needs user_index and history_length of each row")
        from_end = torch.arange(input_seq.shape[1] - 1, -1, -1, device=input_seq.device)
        events = history_length[:, None] - from_end  # (B, T) of the user, up to each position
        return newest_texts(self.preference_row, self.preference_end, user_index, events)


class Fusion(nn.Module):
    """The gate g, from what both make of the history; for everyone `initial_gate` at first."""

    def __init__(self, sasrec_dim: int, retriever_dim: int, num_experts: int, initial_gate: float):
        super().__init__()
        if not 0 < initial_gate < 1:
            raise ValueError(f"initial_gate is {initial_gate}, it must lie between 0 and 1")
        self.norm = nn.LayerNorm(sasrec_dim)
        self.gate = nn.Linear(sasrec_dim + retriever_dim + num_experts, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, torch.logit(torch.tensor(initial_gate)).item())

    def forward(self, states: Tensor, user_vector: Tensor, weight: Tensor) -> Tensor:
        """(P, d), (P, d'), (P, K) -> g (P,), 0 where no expert knows anything."""
        gate = self.gate(torch.cat([self.norm(states), user_vector, weight], dim=-1)).sigmoid()[:, 0]
        return gate * (weight.sum(dim=-1) > 0)


def fuse(sasrec: Tensor, retriever: Tensor, gate: Tensor) -> Tensor:
    """The formula at the top: (P, V) log-probabilities twice, (P,) -> (P, V) log-probabilities."""
    return torch.lerp(sasrec, retriever, gate[:, None]).log_softmax(dim=-1)


def build_retriever(
    settings: RetrieverSettings, num_items: int, features: ItemFeatures | None, preferences: Preferences | None
) -> Retriever:
    name, shape = settings.name, settings.shape
    if name not in RETRIEVERS:
        raise ValueError(f"no retriever '{name}'; there are: {', '.join(RETRIEVERS)}")
    text = frozen(features.text, features.has_text) if features else None
    image = frozen(features.image, features.has_image) if features and features.image is not None else None
    users = torch.from_numpy(preferences.vector) if preferences else None
    if name == "moe":
        return MoERetriever(num_items, text, users, image, experts=settings.experts, top_k=settings.top_k, **shape)
    if text is None or (name == "multimodal" and image is None):
        raise ValueError(f"the {name} retriever needs features with {'text' if name == 'text' else 'text and image'}")
    if name == "text":
        return TextRetriever(num_items, text, users, **shape)
    return MultimodalRetriever(num_items, text, image, **shape)


def frozen(vector: np.ndarray, present: np.ndarray) -> Frozen:
    return Frozen(torch.from_numpy(vector), torch.from_numpy(present))


def check_features(
    num_items: int, text_embedding_dim: int, features: ItemFeatures | None, preferences: Preferences | None
) -> None:
    if features is None:
        return
    if features.text.shape != (num_items, text_embedding_dim):
        raise ValueError(
            f"texts have shape {features.text.shape}, the model expects ({num_items}, {text_embedding_dim}); "
            "num_items is len(item_metadata) + 1, text_embedding_dim the encoder's width"
        )
    if features.image is not None and len(features.image) != num_items:
        raise ValueError(f"{len(features.image)} rows of images, the model has {num_items} ids")
    if preferences is not None and preferences.vector.shape[1] != text_embedding_dim:
        raise ValueError(
            f"texts of users have width {preferences.vector.shape[1]}, texts of items {text_embedding_dim}"
        )
