"""Building blocks of retrievers: towers that turn frozen vectors into item vectors, and experts that ask them.

B histories, T positions, P chosen positions, V ids (0 = padding), K experts, D frozen width, d width

An expert scores by cosine / TEMPERATURE. Its item vectors are a trained projection of frozen ones, plus a trained
correction of each item that begins at 0: the text says where an item starts, the data where it belongs.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from genrec.models.sasrec import without_padding
from UR4Rec.models.sasrec import FIRST_ID, TEMPERATURE

DECAYS = (0.0, 0.5, 0.9, 1.0)  # weight of an item against the one after it: the last item alone .. all alike


class Frozen(NamedTuple):
    """Vectors of a frozen encoder, row = id, and which rows have one."""

    vector: Tensor  # (V, D) float32
    present: Tensor  # (V,) bool


class Query(NamedTuple):
    """What the experts ask for at each position, and how much each of them counts there."""

    vector: Tensor  # (..., K, d), of length 1
    weight: Tensor  # (..., K), sums to 1, or is all 0 where no expert knows anything
    probability: Tensor  # (..., K), the weights before any expert was left out by top-k

    def at(self, chosen: Tensor | slice) -> Query:
        """The chosen positions, by (B, T) bool, by number or as a slice."""
        return Query(*(tensor[chosen] for tensor in self))


class Table(NamedTuple):
    """What queries are scored against."""

    keys: Tensor  # (V, K d), an expert's vectors 0 where it has none of the item
    present: Tensor  # (K, V) float, whether it has one


class ItemTower(nn.Module):
    """Frozen vectors -> item vectors (V, d); ids alone where `frozen` is None."""

    def __init__(self, num_items: int, frozen: Frozen | None, dim: int):
        super().__init__()
        self.project = nn.Linear(frozen.vector.shape[1], dim, bias=False) if frozen else None
        self.register_buffer("frozen", frozen.vector if frozen else None)
        self.register_buffer("present", frozen.present if frozen else torch.arange(num_items) > 0)
        self.correction = nn.Embedding(num_items, dim)
        nn.init.normal_(self.correction.weight, std=0.0 if frozen else 0.02)

    def forward(self) -> Tensor:
        if self.project is None:
            return self.correction.weight
        return self.project(self.frozen) + self.correction.weight


class HistoryExpert(nn.Module):
    """Asks for items like those of the history, the later ones weighing more."""

    def __init__(self, tower: nn.Module, dim: int, max_seq_len: int, dropout: float):
        """`tower` has forward() -> (V, d) and present (V,); what was seen and what is sought get one each, alike at
        first, so that like looks for like."""
        super().__init__()
        self.keys, self.seen = tower, copy.deepcopy(tower)
        self.mix = nn.Parameter(torch.zeros(len(DECAYS), dim))
        self.refine = mlp(dim, dropout)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("decayed", decay_matrices(max_seq_len), persistent=False)

    def forward(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Ids (B, T) -> queries (B, T, d) and whether any item of the history so far has a vector (B, T)."""
        present = self.seen.present[items] & (items > 0)  # (B, T)
        vectors = self.drop(self.seen()[items]) * present[..., None]  # (B, T, d)
        weights = self.decayed[:, -items.shape[1] :, -items.shape[1] :]  # (G, T, T)
        summed = torch.einsum("gts,bsd->btgd", weights, vectors)
        total = torch.einsum("gts,bs->btg", weights, present.float())
        means = summed / total.clamp(min=1e-6)[..., None]  # (B, T, G, d)
        pooled = (means * self.mix.softmax(dim=0)).sum(dim=2)
        return pooled + self.refine(pooled), present.cumsum(dim=1) > 0


class PreferenceExpert(nn.Module):
    """Asks for items whose text fits what a text says of the user."""

    def __init__(self, tower: nn.Module, preferences: Tensor, dim: int, dropout: float):
        """`preferences` (S, D), row 0 of which is nobody's; `tower` as in HistoryExpert."""
        super().__init__()
        self.keys = tower
        self.project = nn.Linear(preferences.shape[1], dim, bias=False)
        self.refine = mlp(dim, dropout)
        self.drop = nn.Dropout(dropout)
        self.register_buffer("preferences", preferences)

    def forward(self, snapshot: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `preferences` (B, T), 0 = none -> queries (B, T, d) and whether there is one (B, T)."""
        asked = self.drop(self.project(self.preferences))
        return (asked + self.refine(asked))[snapshot], snapshot > 0


class Retriever(nn.Module):
    """What all retrievers share: queries are scored against the experts' item vectors."""

    def __init__(self, num_items: int, dim: int, experts: dict[str, nn.Module]):
        super().__init__()
        self.dim = dim
        self.experts = nn.ModuleDict(experts)
        self.bias = nn.Parameter(torch.zeros(num_items))

    def forward(self, items: Tensor, snapshot: Tensor | None = None) -> Query:
        """Ids (B, T), left-padded with 0, and the text of the user that may be read at each position (B, T).

        Without a router every expert that knows something weighs the same.
        """
        vectors, available = self.ask(items, snapshot)
        weight = available / available.sum(dim=-1, keepdim=True).clamp(min=1)
        return Query(vectors, weight, weight)

    def ask(self, items: Tensor, snapshot: Tensor | None) -> tuple[Tensor, Tensor]:
        """Every expert's query (B, T, K, d), of length 1, and whether it has one (B, T, K)."""
        asked = [
            expert(snapshot if isinstance(expert, PreferenceExpert) else items) for expert in self.experts.values()
        ]
        vectors, available = (torch.stack(each, dim=2) for each in zip(*asked, strict=True))
        return F.normalize(vectors, dim=-1), available

    def keys(self) -> tuple[Tensor, Tensor]:
        """Item vectors of every expert (K, V, d), of length 1, and which items have one (K, V)."""
        towers = [expert.keys for expert in self.experts.values()]
        vectors = F.normalize(torch.stack([tower() for tower in towers]), dim=-1)
        return vectors, torch.stack([tower.present for tower in towers])

    def table(self) -> Table:
        keys, present = self.keys()
        return Table((keys * present[..., None]).transpose(0, 1).flatten(1), present.float())

    def score(self, query: Query, table: Table | None = None) -> Tensor:
        """score(i) = sum_k w_k a_ki cos(q_k, y_ki) / (TEMPERATURE sum_k w_k a_ki) + bias_i; (P, K, d) -> (P, V).

        a_ki says whether expert k knows item i: an expert that does not is left out, and the others share its weight.
        An item that no weighing expert knows keeps its bias alone.
        """
        table = table or self.table()
        weighted = (query.vector * query.weight[..., None]).flatten(-2)  # (P, K d)
        share = query.weight @ table.present  # (P, V)
        cosine = (weighted @ table.keys.T) / share.clamp(min=1e-6)
        return without_padding(cosine * (share > 1e-6) / TEMPERATURE + self.bias, FIRST_ID)

    def user_vector(self, query: Query) -> Tensor:
        """One vector for what all experts ask, of length 1; (P, K, d) -> (P, d)."""
        return F.normalize((query.vector * query.weight[..., None]).sum(dim=-2), dim=-1)

    def item_vectors(self, items: Tensor) -> Tensor:
        """Ids (P,) -> mean over the experts that know them, of length 1 (P, d)."""
        keys, present = self.keys()
        return F.normalize((keys * present[..., None]).sum(dim=0)[items], dim=-1)

    def disagreement(self, items: Tensor) -> Tensor:
        """Mean squared distance between the vectors that two experts have for one item; ids (P,) -> (), 0 without."""
        keys, present = self.keys()
        vectors, both = keys[:, items], present[:, items]  # (K, P, d), (K, P)
        first, second = torch.triu_indices(len(vectors), len(vectors), offset=1)
        distance = (vectors[first] - vectors[second]).square().sum(dim=-1)  # (pairs, P)
        counted = both[first] & both[second]
        return (distance * counted).sum() / counted.sum().clamp(min=1)


def mlp(dim: int, dropout: float) -> nn.Sequential:
    """d -> d; the last layer begins at 0, so that what it refines begins unchanged."""
    layers = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
    nn.init.zeros_(layers[-1].weight)
    nn.init.zeros_(layers[-1].bias)
    return layers


def decay_matrices(length: int) -> Tensor:
    """(G, T, T): weight of position s for position t, gamma^(t - s), 0 for the future."""
    age = torch.arange(length)[:, None] - torch.arange(length)  # (T, T)
    powers = torch.tensor(DECAYS)[:, None, None] ** age.clamp(min=0).float()
    return powers * (age >= 0)
