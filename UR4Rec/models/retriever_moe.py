"""The mixture of experts: preference, description and image, weighed for each user by a router.

B histories, T positions, V ids (0 = padding), K experts, S texts of users, d width
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from UR4Rec.models.retriever import Frozen, HistoryExpert, ItemTower, Query, Retriever
from UR4Rec.models.text_retriever import text_experts

EXPERTS = ("preference", "description", "image")


class MoERetriever(Retriever):
    """Of `experts` those for which there are vectors: text -> description, texts of users and text -> preference,
    image -> image. Where none remains, one expert knows items by id alone.
    """

    def __init__(
        self,
        num_items: int,
        text: Frozen | None = None,
        preferences: Tensor | None = None,
        image: Frozen | None = None,
        dim: int = 256,
        max_seq_len: int = 50,
        dropout: float = 0.3,
        top_k: int = 0,
        experts: Collection[str] = EXPERTS,
    ):
        """`top_k` experts a user answer, the others are silent; 0 lets all answer (soft routing)."""
        if preferences is not None and text is None:
            raise ValueError("texts of users are compared with texts of items, and there are none; give text too")
        if unknown := set(experts) - set(EXPERTS):
            raise ValueError(f"no expert '{unknown.pop()}'; there are: {', '.join(EXPERTS)}")
        chosen = text_experts(num_items, text, preferences, dim, max_seq_len, dropout)
        if image is not None:
            chosen["image"] = HistoryExpert(ItemTower(num_items, image, dim), dim, max_seq_len, dropout)
        chosen = {name: expert for name, expert in chosen.items() if name in experts}
        if not chosen:
            chosen["ids"] = HistoryExpert(ItemTower(num_items, None, dim), dim, max_seq_len, dropout)
        if not 0 <= top_k <= len(chosen):
            raise ValueError(f"top_k is {top_k}, there are {len(chosen)} experts ({', '.join(chosen)})")
        super().__init__(num_items, dim, chosen)
        self.router = Router(len(chosen), dim, top_k)

    def forward(self, items: Tensor, snapshot: Tensor | None = None) -> Query:
        vectors, available = self.ask(items, snapshot)
        return Query(vectors, *self.router(vectors, available))


class Router(nn.Module):
    """Weights of the experts from what they ask for; all alike at first."""

    def __init__(self, num_experts: int, dim: int, top_k: int):
        super().__init__()
        self.top_k = top_k
        self.layers = nn.Sequential(nn.Linear(num_experts * (dim + 1), dim), nn.GELU(), nn.Linear(dim, num_experts))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, vectors: Tensor, available: Tensor) -> tuple[Tensor, Tensor]:
        """(..., K, d), (..., K) bool -> weights after and before top-k, both (..., K); 0 where not available."""
        heard = vectors * available[..., None]
        logits = self.layers(torch.cat([heard.flatten(-2), available.float()], dim=-1))  # (..., K)
        probability = masked_softmax(logits, available)
        if not self.top_k:
            return probability, probability
        chosen = torch.zeros_like(available).scatter(-1, probability.topk(self.top_k, dim=-1).indices, True)
        return masked_softmax(logits, available & chosen), probability


def masked_softmax(logits: Tensor, allowed: Tensor) -> Tensor:
    """Softmax over what is allowed, (..., K); all 0 where nothing is."""
    weights = logits.masked_fill(~allowed, -torch.inf).masked_fill(~allowed.any(dim=-1, keepdim=True), 0.0)
    return weights.softmax(dim=-1) * allowed


def load_balance_loss(query: Query) -> Tensor:
    """K sum_k f_k p_k, f_k the share of weight that expert k has and p_k its mean probability (arXiv 2101.03961).

    1 when all experts are used alike, K when one is used alone; f carries no gradient.
    """
    share = query.weight.detach().flatten(0, -2).mean(dim=0)  # (K,)
    probability = query.probability.flatten(0, -2).mean(dim=0)
    return len(share) * (share * probability).sum()
