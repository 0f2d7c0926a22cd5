"""The TencentGR model: item and user towers over their features, a causal transformer over the tokens they make.

B sequences, T tokens, R rows, N items, d width, F features of a kind, A values of an array feature

A token is an item or a user profile. Features lie in tables on the device and are looked up by row; a batch holds
row numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from genrec.models.backbone import Backbone, BackboneShape
from tencentgr.features import ITEM, USER, FeatureSchema, FeatureTable
from tencentgr.fusion import CrossLayer, Gate
from tencentgr.similarity import AdaptiveSimilarity, Similarity

ACTIONS = 3  # unknown, exposure, click
DAY = math.log1p(86_400)  # the gap of a day


@dataclass(frozen=True)
class TencentGRShape:
    """What decides the weights, beside the features."""

    hidden_size: int = 64
    num_layers: int = 2
    num_heads: int = 2
    dropout: float = 0.2
    max_history: int = 101
    norm_first: bool = False
    rotary: bool = False
    gradient_checkpointing: bool = False
    user_id: bool = False  # a vector for each user id, beside the profile features
    action_type: bool = False  # what the user did with the item (exposure, click) is part of the token
    time_features: bool = False  # hour, weekday and the time since the token before
    similarity: tuple[str, ...] = ("dot",)
    adaptive: bool = False
    fusion: str = "concat"  # of feature blocks: side by side, or each weighed by a gate
    cross_layers: int = 0  # of DCN-v2, between the features and the last map of a tower


class Features(NamedTuple):
    """Rows of a feature table on the device."""

    ids: Tensor  # (R,)
    sparse: Tensor  # (R, F)
    array: Tensor  # (R, F, A)
    continual: Tensor  # (R, F)
    emb: dict[str, Tensor]  # {mm id: (R, width)}
    semantic: Tensor  # (R, F)


class DeviceTable(nn.Module):
    """A feature table as buffers: it moves with the model and is not saved with it."""

    def __init__(self, table: FeatureTable):
        super().__init__()
        semantic = table.sparse[:, :0] if table.semantic is None else table.semantic
        columns = {"ids": table.ids, "sparse": table.sparse, "array": table.array, "semantic": semantic}
        for name, values in columns.items():
            self.register_buffer(name, torch.from_numpy(np.array(values, np.int32)), persistent=False)
        self.register_buffer("continual", torch.from_numpy(np.array(table.continual, np.float32)), persistent=False)
        self.emb_names = tuple(table.emb)
        for name, values in table.emb.items():
            self.register_buffer(f"emb_{name}", torch.from_numpy(np.array(values, np.float32)), persistent=False)

    def __len__(self) -> int:
        return len(self.ids)

    def forward(self, rows: Tensor) -> Features:
        emb = {name: getattr(self, f"emb_{name}")[rows] for name in self.emb_names}
        whole = self.ids, self.sparse, self.array, self.continual, self.semantic
        ids, sparse, array, continual, semantic = (column[rows] for column in whole)
        return Features(ids, sparse, array, continual, emb, semantic)


class FieldEmbeddings(nn.Module):
    """One embedding table a feature, all in one tensor: value v of feature f is row start[f] + v, value 0 is row 0."""

    def __init__(self, sizes: list[int], width: int):
        super().__init__()
        self.sizes = sizes
        start = torch.tensor([0, *sizes[:-1]]).cumsum(0)[: len(sizes)]
        self.register_buffer("start", start, persistent=False)
        self.table = nn.Embedding(1 + sum(sizes), width, padding_idx=0)

    def initialise(self) -> None:
        """Xavier-normal a feature, as if each had a table of its own; row 0 stays zero."""
        with torch.no_grad():
            self.table.weight.zero_()
            for begin, size in zip(self.start.tolist(), self.sizes, strict=True):
                xavier_normal(self.table.weight[begin + 1 : begin + 1 + size], size + 1)

    def forward(self, values: Tensor) -> Tensor:
        """(R, F) -> (R, F, d)"""
        return self.table(torch.where(values > 0, values + self.start, 0))


class Tower(nn.Module):
    """relu(Linear([id | sparse | sum of array | semantic | continual | Linear(multimodal)])), (R,) rows -> (R, d); what
    stands in brackets may be gated and crossed (tencentgr.fusion)."""

    def __init__(
        self,
        schema: FeatureSchema,
        side: str,
        hidden: int,
        with_id: bool = True,
        fusion: str = "concat",
        cross_layers: int = 0,
    ):
        super().__init__()
        sparse, array = getattr(schema, f"{side}_sparse"), getattr(schema, f"{side}_array")
        continual, num_ids = getattr(schema, f"{side}_continual"), getattr(schema, f"num_{side}s")
        emb, semantic = (schema.item_emb, schema.semantic) if side == "item" else ({}, ())
        self.id = nn.Embedding(num_ids + 1, hidden, padding_idx=0) if with_id else None
        sizes = list(sparse.values()), list(array.values()), list(semantic)
        self.sparse, self.array, self.semantic = (FieldEmbeddings(each, hidden) if each else None for each in sizes)
        self.emb = nn.ModuleDict({name: nn.Linear(width, hidden) for name, width in emb.items()})
        self.width = hidden * (len(sparse) + with_id + len(array) + len(semantic)) + len(continual) + hidden * len(emb)
        self.out = nn.Linear(self.width, hidden) if self.width else None
        wide = self.width - len(continual)
        self.gate = Gate(wide, wide // hidden) if fusion == "gated" and wide else None
        self.cross = nn.ModuleList(CrossLayer(self.width, hidden) for _ in range(cross_layers if self.width else 0))

    def forward(self, features: Features) -> Tensor:
        blocks = [] if self.id is None else [self.id(features.ids)]
        if self.sparse is not None:
            blocks.append(self.sparse(features.sparse).flatten(1))
        if self.array is not None:
            blocks.append(self.sum_values(features.array).flatten(1))
        if self.semantic is not None:
            blocks.append(self.semantic(features.semantic).flatten(1))
        vectors = [linear(features.emb[name]) for name, linear in self.emb.items()]
        if self.gate is not None:
            width = self.out.out_features
            parts = [part for block in (*blocks, *vectors) for part in block.split(width, dim=1)]
            blocks, vectors = self.gate(parts), []
        first = crossed = torch.cat([*blocks, features.continual, *vectors], dim=1)
        for layer in self.cross:
            crossed = layer(first, crossed)
        return torch.relu(self.out(crossed))

    def sum_values(self, values: Tensor) -> Tensor:
        """(R, F, A) -> (R, F, d): the sum over a feature's values; padding adds zero."""
        R, F, A = values.shape
        return self.array(values.transpose(1, 2).reshape(R * A, F)).view(R, A, F, -1).sum(dim=1)


class TencentGR(nn.Module):
    def __init__(self, shape: TencentGRShape, schema: FeatureSchema):
        super().__init__()
        self.shape, self.schema = shape, schema
        d = shape.hidden_size
        joined = {"fusion": shape.fusion, "cross_layers": shape.cross_layers}
        self.item_tower = Tower(schema, "item", d, **joined)
        self.user_tower = Tower(schema, "user", d, with_id=shape.user_id, **joined)
        self.position = None if shape.rotary else nn.Embedding(shape.max_history + 2, d, padding_idx=0)
        self.action = nn.Embedding(ACTIONS, d, padding_idx=0) if shape.action_type else None
        self.times = Times(d) if shape.time_features else None
        self.drop = nn.Dropout(shape.dropout)
        backbone = BackboneShape(
            d,
            shape.num_layers,
            shape.num_heads,
            shape.dropout,
            shape.norm_first,
            shape.rotary,
            shape.gradient_checkpointing,
        )
        self.backbone = Backbone(backbone)
        initialise(self)
        self.similarity = (AdaptiveSimilarity if shape.adaptive else Similarity)(d, shape.similarity)
        self.items: DeviceTable | None = None
        self.users: DeviceTable | None = None

    def use(self, items: FeatureTable, users: FeatureTable) -> TencentGR:
        """Look features up in these tables from now on."""
        device = next(self.parameters()).device
        self.items, self.users = DeviceTable(items).to(device), DeviceTable(users).to(device)
        return self

    @property
    def adaptive_similarity(self) -> AdaptiveSimilarity:
        """The learned mix, whose alpha, beta, gamma and temperature are numbers; a model of one kind has none."""
        if not isinstance(self.similarity, AdaptiveSimilarity):
            raise AttributeError("this model scores by one similarity; --use_adaptive_similarity trains a mix")
        return self.similarity

    def item_vectors(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """Item rows of any shapes (...) -> vectors (..., d) each; every distinct item goes through the tower once."""
        distinct, place = torch.unique(torch.cat([block.flatten() for block in rows]), return_inverse=True)
        vectors = self.item_tower(self.items(distinct)) * (distinct > 0)[:, None]  # padding is the zero vector
        sizes = [block.numel() for block in rows]
        return tuple(vectors[p].view(*block.shape, -1) for p, block in zip(place.split(sizes), rows, strict=True))

    def encode(self, batch: dict[str, Tensor], item_vectors: Tensor) -> Tensor:
        """Tokens of a batch, left-padded, with the vectors of their items (B, T, d) -> states (B, T, d)."""
        kind = batch["token_type"]
        x = item_vectors * self.shape.hidden_size**0.5
        is_user = kind == USER
        if self.user_tower.out is not None:
            profile = self.user_tower(self.users(batch["seq"][is_user])) * self.shape.hidden_size**0.5
            x = x.masked_scatter(is_user[..., None], profile.to(x.dtype))
        real = kind > 0
        if self.position is not None:
            last = self.shape.max_history + 2  # the newest token has the same position however much padding is cut off
            x = x + self.position(torch.arange(last - kind.shape[1], last, device=kind.device) * real)
        if self.action is not None:
            x = x + self.action(batch["action_type"])
        if self.times is not None:
            x = x + self.times(batch)
        return self.backbone(self.drop(x) * real[..., None], real)

    def forward(self, batch: dict[str, Tensor], negatives: Tensor) -> tuple[Tensor, Tensor]:
        """Batch and items (B, T, K) -> scores of the next item (B, T) and of the negatives (B, T, K)."""
        tokens, positive, negative = self.item_vectors(item_rows(batch), batch["pos"], negatives)
        query = self.similarity.query(self.encode(batch, tokens))  # (B, T, w)
        item = self.similarity.item
        return (query * item(positive)).sum(-1), torch.einsum("btw,btkw->btk", query, item(negative))


class Times(nn.Module):
    """Hour, weekday and gap of each token -> (B, T, d); the gap is log(1 + seconds since the interaction before), as a
    share of a day's: unscaled it is the longest part of a token, the same for all, and states look alike."""

    def __init__(self, width: int):
        super().__init__()
        self.hour, self.weekday = nn.Embedding(25, width, padding_idx=0), nn.Embedding(8, width, padding_idx=0)
        self.since = nn.Linear(1, width, bias=False)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.hour(batch["hour"]) + self.weekday(batch["weekday"]) + self.since(batch["gap"][..., None] / DAY)


def item_rows(batch: dict[str, Tensor]) -> Tensor:
    """(B, T) item rows of the tokens, 0 where a token is no item."""
    return torch.where(batch["token_type"] == ITEM, batch["seq"], 0)


def initialise(model: nn.Module) -> None:
    """Xavier-normal for every matrix, zeros for padding rows and for user ids: a user that was never trained on is
    then the same as an unknown one."""
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            nn.init.xavier_normal_(parameter)
    for module in model.modules():
        if isinstance(module, FieldEmbeddings):
            module.initialise()
        elif isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
    if model.user_tower.id is not None:
        nn.init.zeros_(model.user_tower.id.weight)


def xavier_normal(weight: Tensor, rows: int) -> None:
    nn.init.normal_(weight, std=(2 / (rows + weight.shape[1])) ** 0.5)
