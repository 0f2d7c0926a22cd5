"""How alike a user's state and an item are, written so that one inner product gives every kind of it.

d width, w widened width

Every kind here is a product <query(x), item(y)> of two vectors that may be wider than x and y. Training takes that
product, serving hands the same two vectors to an inner-product index: there is no second formula to fall behind.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

START = {"dot": 0.5, "cosine": 0.3, "scaled": 0.2, "bilinear": 0.1}  # weights of the adaptive mix before training
NAMES = {"dot": "alpha", "cosine": "beta", "scaled": "gamma", "bilinear": "delta"}  # what the log calls them
LINEAR = ("dot", "scaled", "bilinear")  # kinds whose item side is y itself
BILINEAR_STD = 0.1


class SimilarityCalculator:
    """The formulas alone, of states and items (..., d), one item each -> scores (...)."""

    @staticmethod
    def cosine_similarity(x: Tensor, y: Tensor) -> Tensor:
        """x.y / |x||y|"""
        return (F.normalize(x, dim=-1) * F.normalize(y, dim=-1)).sum(dim=-1)

    @staticmethod
    def scaled_dot_product(x: Tensor, y: Tensor) -> Tensor:
        """x.y / sqrt(d)"""
        return (x * y).sum(dim=-1) / x.shape[-1] ** 0.5

    @staticmethod
    def bilinear_similarity(x: Tensor, y: Tensor, weight_matrix: Tensor) -> Tensor:
        """(xW).y with W (d, d)"""
        return ((x @ weight_matrix) * y).sum(dim=-1)


class Similarity(nn.Module):
    """One of dot x.y, cosine x.y / |x||y|, scaled x.y / sqrt(d), bilinear (xW).y."""

    adaptive = False

    def __init__(self, width: int, kinds: tuple[str, ...] = ("dot",)):
        super().__init__()
        if unknown := [kind for kind in kinds if kind not in START]:
            raise ValueError(f"similarity '{unknown[0]}' is none of {', '.join(START)}")
        if not kinds or len(set(kinds)) < len(kinds) or (not self.adaptive and len(kinds) > 1):
            raise ValueError(f"similarity kinds {kinds}: several distinct ones for the adaptive mix, else exactly one")
        self.width, self.kinds = width, tuple(kinds)
        self.add_weights()
        self.bilinear = nn.Parameter(torch.randn(width, width) * BILINEAR_STD) if "bilinear" in kinds else None

    def add_weights(self) -> None:
        """What a mix learns beside the matrix; one kind alone learns nothing."""

    def weight(self, kind: str) -> Tensor | float:
        return 1.0

    def query(self, state: Tensor) -> Tensor:
        """States (..., d) -> (..., w): T [(alpha + gamma / sqrt(d)) x + delta xW, beta x / |x|]."""
        terms = {"dot": lambda x: x, "scaled": lambda x: x / self.width**0.5, "bilinear": lambda x: x @ self.bilinear}
        linear = [self.weight(kind) * terms[kind](state) for kind in self.kinds if kind in LINEAR]
        sides = [sum(linear[1:], linear[0])] if linear else []
        if "cosine" in self.kinds:
            sides.append(self.weight("cosine") * F.normalize(state, dim=-1))
        return torch.cat(sides, dim=-1)

    def item(self, vector: Tensor) -> Tensor:
        """Item vectors (..., d) -> (..., w): [y, y / |y|], only the sides that the kinds need."""
        sides = [vector] if set(self.kinds) & set(LINEAR) else []
        if "cosine" in self.kinds:
            sides.append(F.normalize(vector, dim=-1))
        return torch.cat(sides, dim=-1)

    def forward(self, state: Tensor, vector: Tensor) -> Tensor:
        """States and item vectors (..., d), one item each -> scores (...)."""
        return (self.query(state) * self.item(vector)).sum(dim=-1)

    def learned(self) -> dict[str, Tensor]:
        """The learned scalars by the names of the log, as they are now; empty when nothing is learned."""
        return {}


class AdaptiveSimilarity(Similarity):
    """T * (alpha dot + beta cosine + gamma scaled + delta bilinear) with learned weights and temperature T."""

    adaptive = True

    def __init__(self, hidden_dim: int, similarity_types: Sequence[str] = ("dot", "cosine", "scaled")):
        super().__init__(hidden_dim, tuple(similarity_types))

    def add_weights(self) -> None:
        for kind in self.kinds:
            self.register_parameter(NAMES[kind], nn.Parameter(torch.tensor(START[kind])))
        for kind in (
            kind for kind in START if kind not in self.kinds
        ):  # the weight of a kind that is not mixed in reads 0
            self.register_buffer(NAMES[kind], torch.tensor(0.0), persistent=False)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def weight(self, kind: str) -> Tensor:
        return getattr(self, NAMES[kind]) * self.temperature

    def learned(self) -> dict[str, Tensor]:
        named = {NAMES[kind]: getattr(self, NAMES[kind]) for kind in self.kinds} | {"temperature": self.temperature}
        return {name: value.detach().clone() for name, value in named.items()}
